//! The controllers of Kubernetes: pods and claims of StatefulSets, and the state of Deployments.

use rand::RngExt as _;
use serde_json::{Value, json};

use super::objects::{NAMESPACE, claim_of, is_leaving, place, server, server_of, set_of};
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

    /// Makes the pods that are missing, and deletes those that are too many. None is replaced.
    fn run_set(&mut self, name: &str) {
        let Some(set) = self.objects.get("statefulsets", name).cloned() else { return };
        // A controller lags.
        if self.rng.random_bool(0.5) {
            return;
        }
        let Some((group, _)) = place(&format!("{name}-0")) else { return };
        let wanted = set["spec"]["replicas"].as_u64().unwrap_or(1) as u32;
        for ordinal in 0..wanted {
            let pod = server(group, ordinal);
            if self.objects.get("pods", &pod).is_none() {
                self.make_claim(&set, &pod);
                self.make_pod(&set, &pod);
            }
        }
        for pod in self.objects.names("pods") {
            if place(&pod).is_some_and(|(of, ordinal)| of == group && ordinal >= wanted) {
                self.begin_to_leave("pods", &pod);
            }
        }
        let generation = set["metadata"]["generation"].clone();
        self.objects.change("statefulsets", name, |set| {
            set["status"]["observedGeneration"] = generation;
        });
    }

    fn make_pod(&mut self, set: &Value, name: &str) {
        let template = &set["spec"]["template"];
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"],
            "status": { "conditions": [], "containerStatuses": [] },
        });
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["namespace"] = json!(NAMESPACE);
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
        claim["status"] = json!({ "phase": "Bound" });
        self.objects.store("persistentvolumeclaims", &name, claim);
    }

    /// Deletes the pods of sets that are gone.
    fn collect(&mut self) {
        for pod in self.objects.names("pods") {
            let Some((group, _)) = place(&pod) else { continue };
            if self.objects.get("statefulsets", &set_of(group)).is_none() {
                self.begin_to_leave("pods", &pod);
            }
        }
    }

    /// Removes a claim that is being deleted once no pod uses it, and the data with it.
    fn run_claim(&mut self, name: &str) {
        let Some(claim) = self.objects.get("persistentvolumeclaims", name) else { return };
        let server = server_of(name);
        if is_leaving(claim) && self.objects.get("pods", server).is_none() {
            self.objects.remove("persistentvolumeclaims", name);
            self.disks.remove(server);
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
