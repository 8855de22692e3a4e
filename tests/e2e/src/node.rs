//! Nodes: drained, cut off, and back.

use std::env;
use std::time::Duration;

use k8s_openapi::api::core::v1;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use tokio::process::Command;

use crate::{Namespace, eventually_within};

/// The time limit for Kubernetes to give a node up, or to take it back: far more than it needs.
const NOTICED: Duration = Duration::from_mins(4);
/// The label that names a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// A node of the cluster.
pub struct Node {
    namespace: Namespace,
    /// Its name.
    pub name: String,
}

impl Node {
    /// Returns a node of the cluster that has a test's namespace.
    pub fn new(namespace: &Namespace, name: &str) -> Node {
        Node { namespace: namespace.clone(), name: name.to_owned() }
    }

    /// Evicts all its pods, and admits no new ones.
    pub async fn drain(&self) {
        let flags = ["--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s"];
        let drained = self.namespace.kubectl(&[&["drain", &self.name], &flags[..]].concat()).await;
        assert!(drained.succeeded, "{drained:?}");
    }

    /// Admits no new pods.
    pub async fn cordon(&self) {
        let cordoned = self.namespace.kubectl(&["cordon", &self.name]).await;
        assert!(cordoned.succeeded, "{cordoned:?}");
    }

    /// Returns its zone. Panics if it has none: each node of a test's cluster has one of its own.
    pub async fn zone(&self) -> String {
        let node = self.nodes().get(&self.name).await.expect("a node can be read");
        let zone = node.metadata.labels.and_then(|mut labels| labels.remove(ZONE));
        zone.unwrap_or_else(|| panic!("{} has no zone", self.name))
    }

    /// Labels it as one of a zone.
    pub async fn move_to_zone(&self, zone: &str) {
        let label = format!("{ZONE}={zone}");
        let labelled = self.namespace.kubectl(&["label", "--overwrite", "node", &self.name, &label]).await;
        assert!(labelled.succeeded, "{labelled:?}");
    }

    /// Deletes it from the cluster. Returns what brings it back.
    pub async fn delete(&self) -> v1::Node {
        let nodes = self.nodes();
        let node = nodes.get(&self.name).await.expect("a node can be read");
        nodes.delete(&self.name, &DeleteParams::default()).await.expect("a node can be deleted");
        node
    }

    /// Makes it part of the cluster again. Returns when its pods can run.
    pub async fn add(&self, deleted: v1::Node) {
        let mut node = v1::Node { spec: deleted.spec, ..v1::Node::default() };
        node.metadata.name = Some(self.name.clone());
        node.metadata.labels = deleted.metadata.labels;
        node.metadata.annotations = deleted.metadata.annotations;
        if let Some(spec) = &mut node.spec {
            spec.taints = None;
        }
        self.nodes().create(&PostParams::default(), &node).await.expect("a node can be made");
        self.await_ready(true).await;
    }

    fn nodes(&self) -> Api<v1::Node> {
        Api::all(self.namespace.cluster.client.clone())
    }

    /// Admits pods again.
    pub async fn uncordon(&self) {
        let uncordoned = self.namespace.kubectl(&["uncordon", &self.name]).await;
        assert!(uncordoned.succeeded, "{uncordoned:?}");
    }

    /// Returns true if nodes can be cut off here: in clusters that consist of this machine.
    pub fn can_be_cut() -> bool {
        env::var_os("SKV_E2E_XTASK").is_some()
    }

    /// Takes it off the network. Returns when the cluster has noticed.
    pub async fn cut(&self) {
        self.link("down").await;
        self.await_ready(false).await;
    }

    /// Brings it back. Returns when the cluster has noticed.
    pub async fn join(&self) {
        self.link("up").await;
        self.await_ready(true).await;
    }

    async fn link(&self, state: &str) {
        let variable = |name| env::var(name).expect("nodes can be cut off");
        let number = self.name.trim_start_matches(|letter: char| !letter.is_ascii_digit());
        let mut command = Command::new(variable("SKV_E2E_XTASK"));
        command.args(["kube", "in", "--index", &variable("SKV_E2E_INDEX")]);
        command.args(["ip", "link", "set", &format!("port{number}"), state]);
        let status = command.status().await.expect("a cluster's network can be changed");
        assert!(status.success(), "{command:?}: {status}");
    }

    async fn await_ready(&self, ready: bool) {
        let nodes = self.nodes();
        let what = format!("{} is {}", self.name, if ready { "ready" } else { "given up" });
        eventually_within(NOTICED, &what, || async {
            let conditions = nodes.get(&self.name).await.ok()?.status?.conditions?;
            let found = conditions.iter().find(|condition| condition.type_ == "Ready")?;
            ((found.status == "True") == ready).then_some(())
        })
        .await;
    }
}
