//! The controllers of Kubernetes: pods and claims of StatefulSets, and the state of Deployments.

use rand::RngExt as _;
use serde_json::{Value, json};

use super::objects::{NAMESPACE, claim_of, is_leaving, place, server, server_of};
use super::world::World;

impl World {
    pub(super) fn run_controllers(&mut self) {
        for name in self.objects.names("statefulsets") {
            self.run_set(&name);
        }
        self.collect();
        for name in self.objects.names("persistentvolumeclaims") {
            self.run_claim(&name);
        }
        for name in self.objects.names("deployments") {
            self.run_deployment(&name);
        }
    }

    /// Makes the pods that are missing, takes over those that no set owns, and deletes those that are too many.
    /// None is replaced.
    fn run_set(&mut self, name: &str) {
        let Some(set) = self.objects.get("statefulsets", name).cloned() else { return };
        // A controller lags.
        if self.rng.random_bool(0.5) {
            return;
        }
        let wanted = set["spec"]["replicas"].as_u64().unwrap_or(1) as u32;
        for ordinal in 0..wanted {
            let pod = server(name, ordinal);
            let is_missing = self.objects.get("pods", &pod).is_none();
            if is_missing && self.now >= self.people.quota_until {
                self.make_claim(&set, &pod);
                self.make_pod(&set, &pod);
            } else if !is_missing && self.form.is_local {
                // A pod that can't be placed without its claim gets another one.
                self.make_claim(&set, &pod);
            }
        }
        for pod in self.objects.names("pods") {
            let Some((_, ordinal)) = place(&pod).filter(|(of, _)| *of == name) else { continue };
            self.own(&set, &pod);
            if ordinal >= wanted {
                self.begin_to_leave("pods", &pod);
            }
        }
        let generation = &set["metadata"]["generation"];
        if set["status"]["observedGeneration"] != *generation {
            self.objects.change("statefulsets", name, |set| {
                set["status"]["observedGeneration"] = generation.clone();
            });
        }
    }

    fn make_pod(&mut self, set: &Value, name: &str) {
        let template = &set["spec"]["template"];
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"],
            "status": { "conditions": [], "containerStatuses": [] },
        });
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["namespace"] = json!(NAMESPACE);
        pod["metadata"]["ownerReferences"] = owner(set);
        self.objects.store("pods", name, pod);
    }

    fn make_claim(&mut self, set: &Value, pod: &str) {
        let template = &set["spec"]["volumeClaimTemplates"][0];
        let name = claim_of(pod);
        if template.is_null() || self.objects.get("persistentvolumeclaims", &name).is_some() {
            return;
        }
        let mut claim = template.clone();
        claim["apiVersion"] = json!("v1");
        claim["kind"] = json!("PersistentVolumeClaim");
        claim["metadata"]["name"] = json!(name);
        claim["metadata"]["namespace"] = json!(NAMESPACE);
        let size = &template["spec"]["resources"]["requests"]["storage"];
        claim["status"] = if self.form.is_local {
            json!({ "phase": "Pending" })
        } else {
            json!({ "phase": "Bound", "capacity": { "storage": size } })
        };
        self.objects.store("persistentvolumeclaims", &name, claim);
    }

    /// Has a pod belong to a set, and its claim too if that is to go with the set.
    fn own(&mut self, set: &Value, pod: &str) {
        let is_owned = |object: &Value| !object["metadata"]["ownerReferences"].is_null();
        if self.objects.get("pods", pod).is_some_and(|pod| !is_owned(pod)) {
            self.objects.change("pods", pod, |pod| pod["metadata"]["ownerReferences"] = owner(set));
        }
        let goes = set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Delete";
        let claim = claim_of(pod);
        if self.objects.get("persistentvolumeclaims", &claim).is_some_and(|claim| is_owned(claim) != goes) {
            self.objects.change("persistentvolumeclaims", &claim, |claim| {
                if goes { claim["metadata"]["ownerReferences"] = owner(set) } else { disown(claim) }
            });
        }
    }

    /// Deletes a set; its pods and claims are left, or go with it.
    pub(super) fn delete_set(&mut self, name: &str, leaves_pods: bool) {
        let Some(set) = self.objects.remove("statefulsets", name).filter(|_| leaves_pods) else { return };
        *self.happened.entry("set made again").or_default() += 1;
        for kind in ["pods", "persistentvolumeclaims"] {
            for object in self.objects.names(kind) {
                if self.objects.get(kind, &object).is_some_and(|object| is_of(object, &set)) {
                    self.objects.change(kind, &object, disown);
                }
            }
        }
    }

    /// Deletes the pods and claims of sets that are gone. If nothing has changed since the last time, there are none.
    fn collect(&mut self) {
        if self.collected == self.objects.version() {
            return;
        }
        for kind in ["pods", "persistentvolumeclaims"] {
            for name in self.objects.names(kind) {
                let Some((set, _)) = place(server_of(&name)) else { continue };
                let set = self.objects.get("statefulsets", set);
                let is_left = self.objects.get(kind, &name).is_some_and(|object| {
                    !object["metadata"]["ownerReferences"].is_null()
                        && set.is_none_or(|set| !is_of(object, set))
                });
                if is_left {
                    self.begin_to_leave(kind, &name);
                }
            }
        }
        self.collected = self.objects.version();
    }

    /// Enlarges the volume of a claim that asks for more; removes a claim that is being deleted once no pod uses
    /// it, and the data with it. A pod that has no node doesn't use one yet.
    fn run_claim(&mut self, name: &str) {
        let Some(claim) = self.objects.get("persistentvolumeclaims", name).cloned() else { return };
        let server = server_of(name);
        let uses = |pod: &Value| !self.form.is_local || !pod["spec"]["nodeName"].is_null();
        if is_leaving(&claim) && !self.objects.get("pods", server).is_some_and(|pod| uses(pod)) {
            self.objects.remove("persistentvolumeclaims", name);
            self.release_volume(&claim);
            self.disks.remove(server);
            return;
        }
        let size = &claim["spec"]["resources"]["requests"]["storage"];
        let status = &claim["status"];
        let is_smaller = status["phase"] == "Bound" && status["capacity"]["storage"] != *size;
        if is_smaller && self.rng.random_bool(0.1) {
            self.objects.change("persistentvolumeclaims", name, |claim| {
                claim["status"]["capacity"]["storage"] = size.clone();
            });
        }
    }

    /// Rolls a Deployment, in its own time.
    fn run_deployment(&mut self, name: &str) {
        let Some(deployment) = self.objects.get("deployments", name).cloned() else { return };
        let generation = &deployment["metadata"]["generation"];
        let replicas = deployment["spec"]["replicas"].as_u64().unwrap_or(1);
        let template = &deployment["spec"]["template"]["spec"]["containers"][0];
        if deployment["status"]["observedGeneration"] != *generation {
            if self.rng.random_bool(0.3) {
                self.manager.rolls_until = self.now + self.rng.random_range(2..15);
                let ready = deployment["status"]["readyReplicas"].as_u64().unwrap_or(0);
                self.objects.change("deployments", name, |deployment| {
                    deployment["status"] = json!({
                        "observedGeneration": generation, "updatedReplicas": 0, "readyReplicas": ready,
                        "replicas": replicas,
                    });
                });
            }
            return;
        }
        let starts = !template["image"].as_str().is_some_and(|image| image.starts_with("bad"));
        if deployment["status"]["updatedReplicas"].as_u64() == Some(replicas)
            || !starts
            || self.now < self.manager.rolls_until
        {
            return;
        }
        self.manager.obey(template["args"].as_array().into_iter().flatten().filter_map(Value::as_str));
        self.objects.change("deployments", name, |deployment| {
            let all = json!(replicas);
            for count in ["updatedReplicas", "readyReplicas", "replicas"] {
                deployment["status"][count] = all.clone();
            }
        });
    }
}

/// Returns the reference by which an object belongs to a set.
fn owner(set: &Value) -> Value {
    let (name, uid) = (&set["metadata"]["name"], &set["metadata"]["uid"]);
    json!([{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": name, "uid": uid, "controller": true }])
}

/// Returns true if an object belongs to a set.
pub(super) fn is_of(object: &Value, set: &Value) -> bool {
    object["metadata"]["ownerReferences"][0]["uid"] == set["metadata"]["uid"]
}

/// Removes the owner of an object.
fn disown(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("ownerReferences");
    }
}
