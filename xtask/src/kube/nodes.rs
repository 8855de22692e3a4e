//! The nodes of a test cluster.

/// The number of nodes of a cluster.
pub(super) const COUNT: u8 = 3;
/// The label of a node that names its zone. Each node has one of its own.
pub(super) const ZONE: &str = "topology.kubernetes.io/zone";
