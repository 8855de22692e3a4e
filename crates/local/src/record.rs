//! The record that a data directory has of its store: its shape, its groups, the ports, and the running
//! processes.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use skv_resource::{Limits, Manifest, Placement};
use skv_sharding::{GroupId, Hash, Policy, Ring};

use crate::process::ProcessId;

/// The file `cluster.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The shape of the store.
    pub shape: Shape,
    /// The settings that its processes were started with; none before the first start.
    #[serde(default)]
    pub settings: Value,
    /// The `skv up` that runs it.
    pub supervisor: Option<ProcessId>,
    /// The shard manager first, then the servers group by group, or around the ring.
    pub members: Vec<Member>,
    /// The reason why the wanted groups don't run, if the supervisor can't have that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The settings that can't change once there is data. The number of groups can: the members determine it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shape {
    /// The name of the store.
    pub name: String,
    /// The replicas of each group.
    pub replicas: u32,
    /// The number of shards.
    pub shards: u32,
    /// The hash that maps keys to shards.
    pub hash: Hash,
    /// The rule by which shards are spread. Stores from before there was a choice have none, which is the
    /// default.
    #[serde(default)]
    pub policy: Policy,
    /// The placement of replicas; older stores have none, likewise.
    #[serde(default)]
    pub placement: Placement,
    /// The limits that all replicas agree on.
    pub limits: Limits,
    /// True if no data is kept on disk.
    pub memory_only: bool,
}

/// A process of the store. A port of 0 isn't chosen yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The name of the process.
    pub name: String,
    /// The role that it has in the store.
    pub role: Role,
    /// The gRPC port for users.
    pub client_port: u16,
    /// The port of /livez, /readyz and /metrics.
    pub http_port: u16,
    /// The process, while it runs.
    pub process: Option<ProcessId>,
    /// Its ends since it was last ready, if it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// The ends of a process that nobody ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// The number of times.
    pub times: u32,
    /// The way in which it ended last, for people.
    pub last: String,
}

/// The role of a process in its store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Role {
    /// The shard manager.
    Manager,
    /// A server of one group.
    Server {
        /// The group.
        group: GroupId,
        /// The port for its peers.
        peer_port: u16,
    },
    /// A server of a ring, of whose groups it hosts several.
    RingServer {
        /// The place in the ring, counted from 0.
        place: u32,
        /// The port for its peers.
        peer_port: u16,
    },
}

impl Record {
    /// Returns a store of this shape with these groups, of which nothing runs yet.
    pub fn new(shape: Shape, groups: &BTreeSet<GroupId>) -> Record {
        let manager = Member::new(format!("{}-manager", shape.name), Role::Manager);
        let mut record =
            Record { shape, settings: Value::Null, supervisor: None, members: vec![manager], problem: None };
        match record.shape.ring() {
            Some(ring) => record.members.extend((0..ring.servers()).map(|place| {
                let role = Role::RingServer { place, peer_port: 0 };
                Member::new(format!("{}-{place}", record.shape.name), role)
            })),
            None => record.have_groups(groups),
        }
        record
    }

    /// Returns the groups that have servers.
    pub fn groups(&self) -> BTreeSet<GroupId> {
        match self.shape.ring() {
            Some(ring) => ring.groups().collect(),
            None => self.members.iter().filter_map(Member::group).collect(),
        }
    }

    /// Returns the servers that are a group's own.
    pub fn servers(&self, group: GroupId) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.group() == Some(group))
    }

    /// Returns the number of groups that the shard manager is started with. It counts when there is no
    /// record: before the first one the shard manager founds these groups, and in place of a lost one it
    /// waits for those that have shards. Groups are counted up to the first gap.
    pub fn countable_groups(&self) -> u32 {
        self.groups().iter().zip(0..).take_while(|(group, place)| group.0 == *place).count().max(1) as u32
    }

    /// Makes these the groups of the store. Servers that stay are as they were; new ones have no ports
    /// yet. The servers of a ring stay, as its groups do.
    pub fn have_groups(&mut self, groups: &BTreeSet<GroupId>) {
        if self.shape.ring().is_some() {
            return;
        }
        let there = self.groups();
        self.members.retain(|member| member.group().is_none_or(|group| groups.contains(&group)));
        for group in groups.difference(&there) {
            let servers = (0..self.shape.replicas).map(|index| {
                let role = Role::Server { group: *group, peer_port: 0 };
                Member::new(format!("{}-{group}-{index}", self.shape.name), role)
            });
            self.members.extend(servers);
        }
        self.members.sort_by_key(Member::group);
    }

    /// Returns the address of the shard manager.
    pub fn manager_address(&self) -> Option<String> {
        let manager = self.members.iter().find(|member| member.is_manager())?;
        Some(manager.client_address())
    }

    /// Returns true while any of its processes runs.
    pub fn is_running(&self) -> bool {
        let members = self.members.iter().filter_map(|member| member.process.as_ref());
        members.chain(&self.supervisor).any(ProcessId::is_alive)
    }
}

impl Member {
    fn new(name: String, role: Role) -> Member {
        Member { name, role, client_port: 0, http_port: 0, process: None, ended: None }
    }

    /// Returns the address for users.
    pub fn client_address(&self) -> String {
        loopback(self.client_port)
    }

    /// Returns the address of /livez, /readyz and /metrics.
    pub fn http_address(&self) -> String {
        loopback(self.http_port)
    }

    /// Notes that it ended by itself.
    pub(crate) fn has_ended(&mut self, last: &str) {
        let times = self.ended.as_ref().map_or(0, |ended| ended.times);
        self.ended = Some(Ended { times: times.saturating_add(1), last: last.to_owned() });
    }

    /// Returns true for the shard manager.
    pub fn is_manager(&self) -> bool {
        self.role == Role::Manager
    }

    /// Returns the one group that a server belongs to. The shard manager belongs to none, and a server of
    /// a ring to several.
    pub fn group(&self) -> Option<GroupId> {
        match self.role {
            Role::Manager | Role::RingServer { .. } => None,
            Role::Server { group, .. } => Some(group),
        }
    }

    /// Returns the address at which a server's peers, and the commands that manage it, reach it.
    pub fn peer_address(&self) -> Option<String> {
        match self.role {
            Role::Manager => None,
            Role::Server { peer_port, .. } | Role::RingServer { peer_port, .. } => Some(loopback(peer_port)),
        }
    }

    /// Returns all of its ports.
    pub fn ports_mut(&mut self) -> Vec<&mut u16> {
        let mut ports = vec![&mut self.client_port, &mut self.http_port];
        match &mut self.role {
            Role::Manager => {}
            Role::Server { peer_port, .. } | Role::RingServer { peer_port, .. } => ports.push(peer_port),
        }
        ports
    }
}

fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

impl Shape {
    /// Returns the shape that a manifest asks for.
    pub fn of(resource: &Manifest) -> Shape {
        let spec = &resource.spec;
        Shape {
            name: resource.metadata.name.clone(),
            replicas: spec.replicas,
            shards: spec.shards,
            hash: spec.hash,
            policy: spec.policy,
            placement: spec.placement,
            limits: spec.limits.clone(),
            memory_only: spec.storage.memory_only,
        }
    }

    /// Returns the ring that the groups share, if they do.
    pub fn ring(&self) -> Option<Ring> {
        match self.placement {
            Placement::Groups => None,
            // A ring has as many servers and groups as shards.
            Placement::Ring => Ring::new(self.shards, self.replicas).ok(),
        }
    }

    /// Refuses a manifest that describes another store than the one in the directory.
    pub fn must_equal(&self, manifest: &Shape, dir: &Path) -> anyhow::Result<()> {
        let (there, wanted) = (self.fields(), manifest.fields());
        let differences: Vec<String> = there
            .iter()
            .zip(&wanted)
            .filter(|(there, wanted)| there != wanted)
            .map(|((path, there), (_, wanted))| format!("{path} is {there} there, {wanted} in the manifest"))
            .collect();
        if differences.is_empty() {
            return Ok(());
        }
        anyhow::ensure!(
            self.name == manifest.name,
            "{} holds another store: {}. Name another directory with --data-dir",
            dir.display(),
            differences.join("; ")
        );
        anyhow::bail!(
            "{} can't be changed in this way: {}. On one machine only the number of groups, and settings of \
             server and tuning, can; for the rest begin another store in another directory (--data-dir)",
            self.name,
            differences.join("; ")
        )
    }

    fn fields(&self) -> [(&'static str, String); 11] {
        let Shape { name, replicas, shards, hash, policy, placement, limits, memory_only } = self;
        [
            ("metadata.name", name.clone()),
            ("spec.replicas", replicas.to_string()),
            ("spec.shards", shards.to_string()),
            ("spec.hash", hash.to_string()),
            ("spec.policy", policy.to_string()),
            ("spec.placement", placement.to_string()),
            ("spec.limits.maxKeyBytes", limits.max_key_bytes.to_string()),
            ("spec.limits.maxValueBytes", limits.max_value_bytes.to_string()),
            ("spec.limits.maxSessionsPerShard", limits.max_sessions_per_shard.to_string()),
            ("spec.limits.sessionTtlSeconds", limits.session_ttl_seconds.to_string()),
            ("spec.storage.memoryOnly", memory_only.to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Shape {
        let yaml = "{apiVersion: shardedkv.io/v1alpha1, kind: ShardedKV, metadata: {name: demo}}";
        Shape::of(&skv_resource::parse(yaml).unwrap())
    }

    fn groups(numbers: &[u32]) -> BTreeSet<GroupId> {
        numbers.iter().copied().map(GroupId).collect()
    }

    fn names(record: &Record) -> Vec<&str> {
        record.members.iter().map(|member| member.name.as_str()).collect()
    }

    #[test]
    fn a_store_is_a_manager_and_groups_times_replicas_servers() {
        let record = Record::new(shape(), &groups(&[0, 1]));
        let expected =
            ["demo-manager", "demo-g0-0", "demo-g0-1", "demo-g0-2", "demo-g1-0", "demo-g1-1", "demo-g1-2"];
        assert_eq!(names(&record), expected);
    }

    #[test]
    fn groups_come_and_go_and_the_servers_of_the_others_stay_as_they_are() {
        let mut record = Record::new(Shape { replicas: 1, ..shape() }, &groups(&[0, 2]));
        assert_eq!(record.countable_groups(), 1);
        record.members[2].client_port = 77;
        record.have_groups(&groups(&[0, 1, 2]));
        assert_eq!(names(&record), ["demo-manager", "demo-g0-0", "demo-g1-0", "demo-g2-0"]);
        assert_eq!((record.members[3].client_port, record.countable_groups()), (77, 3));
        record.have_groups(&groups(&[1, 2]));
        assert_eq!(names(&record), ["demo-manager", "demo-g1-0", "demo-g2-0"]);
        assert_eq!((record.members[2].client_port, record.countable_groups()), (77, 1));
    }

    #[test]
    fn a_ring_is_a_manager_and_one_server_for_each_group_whatever_groups_are_asked_for() {
        let shape = Shape { placement: Placement::Ring, shards: 5, ..shape() };
        let mut record = Record::new(shape, &groups(&[0, 1]));
        let expected = ["demo-manager", "demo-0", "demo-1", "demo-2", "demo-3", "demo-4"];
        assert_eq!(names(&record), expected);
        record.have_groups(&groups(&[7]));
        assert_eq!((names(&record), record.countable_groups()), (expected.to_vec(), 5));
    }

    #[test]
    fn a_record_of_before_groups_could_change_is_read() {
        let record = Record::new(shape(), &groups(&[0, 1]));
        let mut old = serde_json::to_value(&record).unwrap();
        old["shape"]["groups"] = 2.into();
        old["shape"].as_object_mut().unwrap().remove("placement");
        old.as_object_mut().unwrap().remove("settings");
        assert_eq!(serde_json::from_value::<Record>(old).unwrap(), record);
    }

    #[test]
    fn another_store_in_the_directory_is_refused_with_what_differs() {
        let manifest = Shape { shards: 60, hash: Hash::Integer, ..shape() };
        let message = shape().must_equal(&manifest, Path::new("/data")).unwrap_err().to_string();
        assert!(message.starts_with("demo can't be changed in this way: "), "{message}");
        assert!(message.contains("spec.shards is 240 there, 60 in the manifest"), "{message}");
        assert!(message.contains("spec.hash is fnv1 there, integer in the manifest"), "{message}");
        assert!(!message.contains("spec.groups"), "{message}");
        assert!(shape().must_equal(&shape(), Path::new("/data")).is_ok());
        let other = Shape { name: "other".to_owned(), ..shape() };
        let message = shape().must_equal(&other, Path::new("/data")).unwrap_err().to_string();
        assert!(message.starts_with("/data holds another store: metadata.name is demo"), "{message}");
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut record = Record::new(shape(), &groups(&[0, 1]));
        record.members[0].process = ProcessId::of(std::process::id());
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }
}
