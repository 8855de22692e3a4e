//! Names, addresses and folders of a cluster: all follow from its index.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use super::Family;
use super::namespace::Namespace;
use crate::kube::nodes;

/// The number of clusters that a machine can have at the same time.
pub(crate) const CLUSTERS: u8 = 32;

/// State of all clusters, one folder each. Not in a user's folder: namespaces, control
/// groups and addresses belong to the machine, too.
const STATE: &str = "/var/lib/shardedkv-kube";

/// A cluster's block of addresses, one of [`CLUSTERS`], in a range that is set aside for benchmarks and is
/// routed nowhere: 4096 addresses of 198.18.0.0/15, or 256 networks of 2001:2::/48.
///
/// | third byte, or network, from the block's start | what |
/// |---|---|
/// | 0 | control plane and nodes |
/// | 1 | the link to the machine |
/// | 4 to 7 | pods, one for each node |
/// | 8 to 15 | Services |
#[derive(Debug, Clone)]
pub(super) struct Plan {
    index: u8,
    family: Family,
    name: String,
    state: PathBuf,
}

impl Plan {
    pub(super) fn new(index: u8, family: Family) -> Plan {
        assert!(index < CLUSTERS, "cluster {index} has no addresses");
        let state = Path::new(STATE).join(index.to_string());
        Plan { index, family, name: format!("skv-kube-{index}"), state }
    }

    /// Returns the family of all addresses.
    pub(super) fn family(&self) -> Family {
        self.family
    }

    /// Returns the domain of Services. That of a cluster with IPv6 isn't the usual one, so that tests notice where the
    /// usual one is assumed.
    pub(super) fn domain(&self) -> &'static str {
        match self.family {
            Family::Ipv4 => "cluster.local",
            Family::Ipv6 => "kube.test",
        }
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
        (1..=nodes::COUNT).map(|number| Node {
            name: format!("node{number}"),
            namespace: Namespace::new(&format!("{}-node{number}", self.name), &self.processes()),
            address: self.address(0, 10 + number),
            pods: format!("{}/{}", self.address(3 + number, 0), self.network_bits()),
            port: format!("port{number}"),
            zone: format!("zone{number}"),
            state: self.file(&format!("node{number}")),
        })
    }

    /// Returns the control plane's address among the nodes.
    pub(super) fn control_plane_address(&self) -> IpAddr {
        self.address(0, 1)
    }

    /// Returns the length of the prefix of a network: of the nodes, and of one node's pods.
    pub(super) fn network_bits(&self) -> u8 {
        match self.family {
            Family::Ipv4 => 24,
            Family::Ipv6 => 64,
        }
    }

    /// Returns both ends of the link to the machine: the machine's, the control plane's.
    pub(super) fn link_addresses(&self) -> [IpAddr; 2] {
        [self.address(1, 1), self.address(1, 2)]
    }

    /// Returns the address of the API server, for the machine and for all namespaces.
    pub(super) fn api_address(&self) -> IpAddr {
        self.link_addresses()[1]
    }

    pub(super) fn pods(&self) -> String {
        // Four networks.
        format!("{}/{}", self.address(4, 0), self.network_bits() - 2)
    }

    pub(super) fn services(&self) -> String {
        // The API server takes no range of IPv6 with more than 20 bits for Services.
        let bits = match self.family {
            Family::Ipv4 => 21,
            Family::Ipv6 => 112,
        };
        format!("{}/{bits}", self.address(8, 0))
    }

    /// Returns the address of Service `kubernetes`: the first of the range, as Kubernetes has it.
    pub(super) fn api_service(&self) -> IpAddr {
        self.address(8, 1)
    }

    pub(super) fn dns_service(&self) -> IpAddr {
        self.address(8, 10)
    }

    fn address(&self, third: u8, fourth: u8) -> IpAddr {
        match self.family {
            Family::Ipv4 => {
                let block = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + (u32::from(self.index) << 12);
                Ipv4Addr::from(block + (u32::from(third) << 8) + u32::from(fourth)).into()
            }
            Family::Ipv6 => {
                let network = (u16::from(self.index) << 8) + u16::from(third);
                Ipv6Addr::new(0x2001, 2, 0, network, 0, 0, 0, u16::from(fourth)).into()
            }
        }
    }
}

/// A node of a cluster.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) name: String,
    /// The namespace, whose name is also that of the node's control groups.
    pub(super) namespace: Namespace,
    pub(super) address: IpAddr,
    /// The range of its pods' addresses.
    pub(super) pods: String,
    /// Its port on the bridge.
    pub(super) port: String,
    pub(super) zone: String,
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
        for family in [Family::Ipv4, Family::Ipv6] {
            share_nothing((0..CLUSTERS).map(|index| Plan::new(index, family)));
        }
    }

    fn share_nothing(plans: impl Iterator<Item = Plan>) {
        let mut seen = HashSet::new();
        for plan in plans {
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
    fn addresses_lie_in_the_ranges_for_benchmarks() {
        let last = Plan::new(CLUSTERS - 1, Family::Ipv4);
        assert_eq!(Plan::new(0, Family::Ipv4).control_plane_address(), Ipv4Addr::new(198, 18, 0, 1));
        assert_eq!(last.services(), "198.19.248.0/21");
        assert_eq!(last.nodes().last().map(|node| node.pods), Some("198.19.246.0/24".to_owned()));
        let last = Plan::new(CLUSTERS - 1, Family::Ipv6);
        assert_eq!(last.services(), "2001:2:0:1f08::/112");
        assert_eq!(last.pods(), "2001:2:0:1f04::/62");
        assert_eq!(last.nodes().last().map(|node| node.pods), Some("2001:2:0:1f06::/64".to_owned()));
    }

    #[test]
    fn interfaces_have_names_that_linux_takes() {
        for plan in (0..CLUSTERS).map(|index| Plan::new(index, Family::Ipv4)) {
            assert!(plan.name().len() <= 15);
        }
    }
}
