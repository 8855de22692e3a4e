//! Names, addresses and folders of a cluster: all follow from its index.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::NODES;
use super::namespace::Namespace;

/// The number of clusters that a machine can have at the same time.
pub(crate) const CLUSTERS: u8 = 32;

/// State of all clusters, one folder each. Not in a user's folder: namespaces, control
/// groups and addresses belong to the machine, too.
const STATE: &str = "/var/lib/shardedkv-kube";

/// A cluster's block of 4096 addresses, one of [`CLUSTERS`], in 198.18.0.0/15, which is set aside
/// for benchmarks and is routed nowhere:
///
/// | third byte, from the block's start | what |
/// |---|---|
/// | 0 | control plane and nodes |
/// | 1 | the link to the machine |
/// | 4 to 7 | pods, one for each node |
/// | 8 to 15 | Services |
#[derive(Debug, Clone)]
pub(super) struct Plan {
    index: u8,
    name: String,
    state: PathBuf,
}

impl Plan {
    pub(super) fn new(index: u8) -> Plan {
        assert!(index < CLUSTERS, "cluster {index} has no addresses");
        Plan { index, name: format!("skv-kube-{index}"), state: Path::new(STATE).join(index.to_string()) }
    }

    /// Returns the cluster's name; also the name of the link to the machine, and the prefix of names.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the folder of all files that the cluster keeps.
    pub(super) fn state(&self) -> &Path {
        &self.state
    }

    /// Returns a file or folder of the cluster.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.state.join(name)
    }

    /// Returns the folder of keys and certificates.
    pub(super) fn certificates(&self) -> PathBuf {
        self.file("certificates")
    }

    /// Returns the folder of logs and numbers of the processes.
    pub(super) fn processes(&self) -> PathBuf {
        self.file("processes")
    }

    /// Returns the file by which this user reaches the API server.
    pub(super) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.file(&format!("{user}.conf"))
    }

    /// Returns the namespace of the control plane.
    pub(super) fn control_plane(&self) -> Namespace {
        Namespace::new(&self.name, &self.processes())
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = Node> {
        (1..=NODES).map(|number| Node {
            name: format!("node{number}"),
            namespace: Namespace::new(&format!("{}-node{number}", self.name), &self.processes()),
            address: self.address(0, 10 + number),
            pods: format!("{}/24", self.address(3 + number, 0)),
            port: format!("port{number}"),
            state: self.file(&format!("node{number}")),
        })
    }

    /// Returns the control plane's address among the nodes.
    pub(super) fn control_plane_address(&self) -> Ipv4Addr {
        self.address(0, 1)
    }

    /// Returns both ends of the link to the machine: the machine's, the control plane's.
    pub(super) fn link_addresses(&self) -> [Ipv4Addr; 2] {
        [self.address(1, 1), self.address(1, 2)]
    }

    /// Returns the address of the API server, for the machine and for all namespaces.
    pub(super) fn api_address(&self) -> Ipv4Addr {
        self.link_addresses()[1]
    }

    pub(super) fn pods(&self) -> String {
        format!("{}/22", self.address(4, 0))
    }

    pub(super) fn services(&self) -> String {
        format!("{}/21", self.address(8, 0))
    }

    /// Returns the address of Service `kubernetes`: the first of the range, as Kubernetes has it.
    pub(super) fn api_service(&self) -> Ipv4Addr {
        self.address(8, 1)
    }

    pub(super) fn dns_service(&self) -> Ipv4Addr {
        self.address(8, 10)
    }

    fn address(&self, third: u8, fourth: u8) -> Ipv4Addr {
        let block = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + (u32::from(self.index) << 12);
        Ipv4Addr::from(block + (u32::from(third) << 8) + u32::from(fourth))
    }
}

/// A node of a cluster.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) name: String,
    /// The namespace, whose name is also that of the node's control groups.
    pub(super) namespace: Namespace,
    pub(super) address: Ipv4Addr,
    /// The range of its pods' addresses.
    pub(super) pods: String,
    /// Its port on the bridge.
    pub(super) port: String,
    pub(super) state: PathBuf,
}

impl Node {
    pub(super) fn containerd_socket(&self) -> PathBuf {
        self.state.join("containerd.sock")
    }

    pub(super) fn kubelet_dir(&self) -> PathBuf {
        self.state.join("kubelet")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn two_clusters_share_no_name_and_no_address() {
        let mut seen = HashSet::new();
        for plan in (0..CLUSTERS).map(Plan::new) {
            let nodes = plan
                .nodes()
                .flat_map(|node| [node.address.to_string(), node.pods, node.namespace.name().to_owned()]);
            let own = [
                plan.services(),
                plan.pods(),
                plan.control_plane_address().to_string(),
                plan.name().to_owned(),
            ];
            let links = plan.link_addresses().map(|address| address.to_string());
            for name in nodes.chain(own).chain(links) {
                assert!(seen.insert(name.clone()), "{name} is used twice");
            }
        }
    }

    #[test]
    fn addresses_lie_in_the_range_for_benchmarks() {
        let last = Plan::new(CLUSTERS - 1);
        assert_eq!(Plan::new(0).control_plane_address(), Ipv4Addr::new(198, 18, 0, 1));
        assert_eq!(last.services(), "198.19.248.0/21");
        assert_eq!(last.nodes().last().map(|node| node.pods), Some("198.19.246.0/24".to_owned()));
    }

    #[test]
    fn interfaces_have_names_that_linux_takes() {
        for plan in (0..CLUSTERS).map(Plan::new) {
            assert!(plan.name().len() <= 15);
        }
    }
}
