//! Volumes that can be used only on one node: the one on which the first pod of their claim was placed. Elsewhere
//! a volume follows its server, and there is no object of it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::objects::{claim_of, is_leaving};
use super::world::World;

/// The label of nodes by which a volume names its own.
const HOST_LABEL: &str = "kubernetes.io/hostname";

impl World {
    /// Returns true if a server's pod can run on a node, as far as its volume is concerned. It can't run at all while
    /// its claim is missing, or is being deleted.
    pub(super) fn can_use_volume_on(&self, server: &str, node: &str) -> bool {
        if !self.form.is_local {
            return true;
        }
        let claim = self.objects.get("persistentvolumeclaims", &claim_of(server));
        claim.is_some_and(|claim| !is_leaving(claim)) && self.host_of(server).is_none_or(|host| host == node)
    }

    /// Returns the node of a server's volume, if it has one that is bound to a node.
    pub(super) fn host_of(&self, server: &str) -> Option<&str> {
        let claim = self.objects.get("persistentvolumeclaims", &claim_of(server))?;
        let volume = self.objects.get("persistentvolumes", claim["spec"]["volumeName"].as_str()?)?;
        let terms = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"];
        terms[0]["matchExpressions"][0]["values"][0].as_str()
    }

    /// Makes the volume of a server's claim on the node on which its pod is placed, if it has none yet.
    pub(super) fn bind_volume(&mut self, server: &str, node: &str) {
        let name = claim_of(server);
        let claim = self.objects.get("persistentvolumeclaims", &name).filter(|_| self.form.is_local);
        let unbound = claim.filter(|claim| claim["spec"]["volumeName"].is_null());
        let Some(uid) = unbound.and_then(|claim| claim["metadata"]["uid"].as_str()) else { return };
        let volume = format!("pvc-{uid}");
        let host = json!({ "key": HOST_LABEL, "operator": "In", "values": [node] });
        let object = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": volume },
            "spec": {
                "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [host] }] } },
                "persistentVolumeReclaimPolicy": "Delete",
            },
        });
        self.objects.store("persistentvolumes", &volume, object);
        self.objects.change("persistentvolumeclaims", &name, |claim| {
            let size = claim["spec"]["resources"]["requests"]["storage"].clone();
            claim["spec"]["volumeName"] = json!(volume);
            claim["status"] = json!({ "phase": "Bound", "capacity": { "storage": size } });
        });
    }

    /// Removes the volume of a claim that is gone, unless it is to be kept.
    pub(super) fn release_volume(&mut self, claim: &Value) {
        let Some(volume) = claim["spec"]["volumeName"].as_str() else { return };
        if !self.is_kept(claim) {
            self.objects.remove("persistentvolumes", volume);
        }
    }

    /// Returns true if the volume of a claim outlives it, or isn't there.
    pub(super) fn is_kept(&self, claim: &Value) -> bool {
        let volume = claim["spec"]["volumeName"].as_str();
        let volume = volume.and_then(|volume| self.objects.get("persistentvolumes", volume));
        volume.is_none_or(|volume| volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain")
    }

    /// Loses the data of all volumes that are bound to a node, which is gone.
    pub(super) fn lose_volumes_of(&mut self, node: &str) {
        let on_node = self.disks.keys().filter(|server| self.host_of(server) == Some(node));
        for server in on_node.cloned().collect::<Vec<String>>() {
            self.disks.remove(&server);
        }
    }

    /// Returns the pods that can't be placed, since the nodes of their volumes are lost or gone.
    pub(super) fn stranded_pods(&self) -> Vec<Arc<str>> {
        let pods = self.objects.kind("pods").iter().filter(|(_, pod)| pod["spec"]["nodeName"].is_null());
        let is_lost = |node: &str| self.nodes.get(node).is_none_or(|node| node.is_lost(self.now));
        let stranded = pods.filter(|(name, _)| self.host_of(name).is_some_and(is_lost));
        stranded.map(|(name, _)| Arc::clone(name)).collect()
    }
}
