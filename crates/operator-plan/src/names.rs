//! The names and labels of all objects that belong to one resource.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use skv_resource::PodTemplate;
use skv_sharding::GroupId;

/// The name of the operator as it applies and owns objects: the field manager, and the value of the
/// managed-by label.
pub const MANAGER: &str = "skv-operator";
/// The label that holds the name of the resource.
pub const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";
/// The label that tells our objects from those of others.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// The label that holds the name of a group.
pub const GROUP_LABEL: &str = PodTemplate::GROUP_LABEL;

/// The label of the servers of a ring, which belong to several groups.
const PLACEMENT_LABEL: &str = "shardedkv.io/placement";
/// The value of the placement label.
const RING: &str = "ring";

/// The annotation of pods that holds the hash of the settings that they were made for: see `restart`.
pub const RESTART_HASH_ANNOTATION: &str = "shardedkv.io/restart-hash";
/// The annotation by which `kubectl rollout restart` asks for other pods: of the template, and so of the
/// pods that were made after it.
pub const RESTARTED_ANNOTATION: &str = "kubectl.kubernetes.io/restartedAt";
/// The annotation of the StatefulSet of a group that has ended: its servers and objects are removed.
pub const RETIRED_ANNOTATION: &str = "shardedkv.io/retired";
/// The name of a server's volume, with which the name of its claim begins.
pub const DATA: &str = PodTemplate::DATA;
/// The name of a server's container, which is its program.
pub const SERVER: &str = PodTemplate::SERVER;
/// The name of the port by which clients reach a server.
pub const CLIENT_PORT: &str = PodTemplate::CLIENT_PORT;
/// The name of the port by which servers, and the operator, reach a server.
pub const PEER_PORT: &str = PodTemplate::PEER_PORT;
/// The name of the port by which all reach a shard manager.
pub const MANAGER_PORT: &str = PodTemplate::MANAGER_PORT;
/// The name of the port of health and metrics.
pub const HTTP_PORT: &str = PodTemplate::HTTP_PORT;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// A part of the resource that has pods of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The servers.
    Servers(ServerSet),
    /// The shard manager.
    ShardManager,
}

/// Servers that one StatefulSet runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerSet {
    /// The servers of one group.
    Group(GroupId),
    /// The servers of the ring that all groups share.
    Ring,
}

impl ServerSet {
    /// Returns the servers to which an object belongs, by its labels.
    pub fn of(labels: &Labels) -> Option<ServerSet> {
        if labels.get(PLACEMENT_LABEL).is_some_and(|placement| placement == RING) {
            return Some(ServerSet::Ring);
        }
        Some(ServerSet::Group(labels.get(GROUP_LABEL)?.parse().ok()?))
    }

    /// Returns the group whose own servers these are.
    pub fn group(self) -> Option<GroupId> {
        match self {
            ServerSet::Group(group) => Some(group),
            ServerSet::Ring => None,
        }
    }
}

impl fmt::Display for ServerSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerSet::Group(group) => group.fmt(f),
            ServerSet::Ring => f.write_str("the ring"),
        }
    }
}

/// The names within one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The resource's own name; the client Service and the shard map have it too.
    pub resource: String,
    /// The namespace of all its objects.
    pub namespace: String,
}

impl Names {
    /// Returns the name of the StatefulSet of servers, with which theirs begin, and of their disruption
    /// budget.
    pub fn servers_of(&self, set: ServerSet) -> String {
        match set {
            ServerSet::Group(group) => format!("{}-{group}", self.resource),
            ServerSet::Ring => self.resource.clone(),
        }
    }

    /// Returns the name of the headless Service of servers. The one for clients has the resource's own
    /// name.
    pub fn headless_service(&self, set: ServerSet) -> String {
        match set {
            ServerSet::Group(_) => self.servers_of(set),
            ServerSet::Ring => format!("{}-ring", self.resource),
        }
    }

    /// Returns the name of a server. Its pod has this name, and its claim ends with it.
    pub fn server(&self, set: ServerSet, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.servers_of(set))
    }

    /// Returns the name of the shard manager's Deployment, Service, account and role.
    pub fn shard_manager(&self) -> String {
        format!("{}-manager", self.resource)
    }

    /// Returns the name of the Service that leads to the shard managers from a port of every node.
    pub fn node_port_of_manager(&self) -> String {
        format!("{}-nodes", self.shard_manager())
    }

    /// Returns the name of the Service that leads to the servers of a group from a port of every node.
    pub fn node_port_of(&self, group: GroupId) -> String {
        format!("{}-{group}-nodes", self.resource)
    }

    /// Returns the name of the servers' account.
    pub fn servers(&self) -> String {
        format!("{}-server", self.resource)
    }

    /// Returns the full domain name of one of our Services. The final dot says that it is one: without it a
    /// resolver tries a pod's search domains first, which costs queries, and where one of them answers
    /// every name, leads to somebody else.
    pub fn domain(&self, service: &str, cluster_domain: &str) -> String {
        format!("{service}.{}.svc.{}.", self.namespace, cluster_domain.trim_end_matches('.'))
    }

    /// Returns the address of the shard managers.
    pub fn manager_address(&self, cluster_domain: &str, port: u16) -> String {
        format!("{}:{port}", self.domain(&self.shard_manager(), cluster_domain))
    }

    /// Returns the labels of everything that belongs to the resource.
    pub fn labels(&self) -> Labels {
        labels([
            ("app.kubernetes.io/name", "shardedkv"),
            (INSTANCE_LABEL, &self.resource),
            (MANAGED_BY_LABEL, MANAGER),
        ])
    }

    /// Returns the labels of all servers.
    pub fn server_labels(&self) -> Labels {
        let mut labels = self.labels();
        labels.insert("app.kubernetes.io/component".to_owned(), "server".to_owned());
        labels
    }

    /// Returns the labels of one component's pods, by which Services and budgets select them. They can
    /// never change: a StatefulSet's selector is immutable.
    pub fn pod_labels(&self, component: Component) -> Labels {
        match component {
            Component::Servers(set) => {
                let mut labels = self.server_labels();
                let (label, value) = match set {
                    ServerSet::Group(group) => (GROUP_LABEL, group.to_string()),
                    ServerSet::Ring => (PLACEMENT_LABEL, RING.to_owned()),
                };
                labels.insert(label.to_owned(), value);
                labels
            }
            Component::ShardManager => {
                let mut labels = self.labels();
                labels.insert("app.kubernetes.io/component".to_owned(), "shard-manager".to_owned());
                labels
            }
        }
    }
}

/// Returns labels made from pairs.
pub fn labels<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Labels {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Returns a selector of exactly these labels.
pub fn selector(labels: Labels) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

/// Returns the ordinal of a server in its StatefulSet, from the name of the server or of its claim.
pub(crate) fn ordinal(name: &str) -> Option<u32> {
    name.rsplit_once('-')?.1.parse().ok()
}

/// Returns the name of a server's StatefulSet.
pub(crate) fn set_name(server: &str) -> Option<&str> {
    Some(server.rsplit_once('-')?.0)
}
