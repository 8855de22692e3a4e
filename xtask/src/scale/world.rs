//! The objects that are made: resources, and the volumes of their servers. Pure.

use serde_json::{Value, json};

/// The number of resources in a namespace.
const IN_NAMESPACE: u32 = 20;
const GROUPS: u32 = 3;
const REPLICAS: u32 = 3;
const SIZE: &str = "1Gi";
/// The number of objects that are applied at once.
const BATCH: usize = 500;

/// All objects of a measurement.
pub(super) struct World {
    pub(super) resources: u32,
}

impl World {
    pub(super) fn count(&self) -> u64 {
        self.resources.into()
    }

    pub(super) fn namespaces(&self) -> Vec<Value> {
        let names = (0..self.resources.div_ceil(IN_NAMESPACE)).map(|number| format!("scale-{number}"));
        let namespace = |name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        names.map(namespace).collect()
    }

    /// Returns the resources, some at a time.
    pub(super) fn batches(&self) -> impl Iterator<Item = Vec<Value>> {
        batches((0..self.resources).map(resource))
    }

    /// Returns a volume for each server, some at a time.
    pub(super) fn volumes(&self) -> impl Iterator<Item = Vec<Value>> {
        let servers = (0..self.resources).flat_map(|number| {
            (0..GROUPS).flat_map(move |group| (0..REPLICAS).map(move |server| (number, group, server)))
        });
        batches(servers.map(|(number, group, server)| volume(number, group, server)))
    }

    /// Returns true if the list of all resources, as `kubectl get` prints it, shows all servers of each as ready.
    pub(super) fn are_all_ready(&self, listed: &str) -> bool {
        let all = format!("{0}/{0}", GROUPS * REPLICAS);
        let is_ready = |line: &&str| line.split_whitespace().any(|column| column == all);
        listed.lines().filter(is_ready).count() as u64 == self.count()
    }
}

fn batches(mut objects: impl Iterator<Item = Value>) -> impl Iterator<Item = Vec<Value>> {
    std::iter::from_fn(move || {
        let batch: Vec<Value> = objects.by_ref().take(BATCH).collect();
        (!batch.is_empty()).then_some(batch)
    })
}

/// Returns the namespace and the name of a resource.
fn place(number: u32) -> (String, String) {
    (format!("scale-{}", number / IN_NAMESPACE), format!("kv-{number}"))
}

fn resource(number: u32) -> Value {
    let (namespace, name) = place(number);
    json!({
        "apiVersion": "shardedkv.io/v1alpha1",
        "kind": "ShardedKV",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"groups": GROUPS, "replicas": REPLICAS, "storage": {"size": SIZE}},
    })
}

/// Returns the volume of a server, which is its claim's from the beginning.
fn volume(number: u32, group: u32, server: u32) -> Value {
    let (namespace, name) = place(number);
    let claim = format!("data-{name}-g{group}-{server}");
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": claim},
        "spec": {
            "capacity": {"storage": SIZE},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "standard",
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": namespace, "name": claim},
            // Nobody mounts it.
            "hostPath": {"path": "/nowhere"},
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_server_has_a_volume_in_the_namespace_of_its_resource() {
        let world = World { resources: 61 };
        let volumes: Vec<Value> = world.volumes().flatten().collect();
        assert_eq!(volumes.len(), 61 * 9);
        assert_eq!(world.volumes().next().unwrap().len(), BATCH);
        let last = volumes.last().unwrap();
        assert_eq!(last["metadata"]["name"], "data-kv-60-g2-2");
        assert_eq!(last["spec"]["claimRef"], json!({"namespace": "scale-3", "name": "data-kv-60-g2-2"}));
        let names: BTreeSet<String> =
            volumes.iter().map(|volume| volume["metadata"]["name"].to_string()).collect();
        assert_eq!(names.len(), volumes.len());
        assert_eq!(world.namespaces().len(), 4);
        assert_eq!(world.batches().flatten().count(), 61);
    }

    #[test]
    fn all_are_ready_when_each_has_all_its_servers() {
        let world = World { resources: 2 };
        let line =
            |name: &str, servers: &str| format!("scale-0   {name}   3   Unknown   {servers}   0/240   0\n");
        assert!(world.are_all_ready(&[line("kv-0", "9/9"), line("kv-1", "9/9")].concat()));
        assert!(!world.are_all_ready(&[line("kv-0", "9/9"), line("kv-1", "8/9")].concat()));
        assert!(!world.are_all_ready(&line("kv-0", "9/9")), "one has no status yet");
    }
}
