//! What a data directory remembers of its store: its shape, the ports, and which processes
//! run.

use std::path::Path;

use serde::{Deserialize, Serialize};
use skv_resource::{Limits, Manifest};
use skv_sharding::{GroupId, Hash, Policy};

use super::process::ProcessId;

/// The file `cluster.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) shape: Shape,
    /// The `skv up` that runs it.
    pub(super) supervisor: Option<ProcessId>,
    /// The shard manager first, then the servers group by group.
    pub(super) members: Vec<Member>,
}

/// What can't change once there is data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shape {
    pub(super) name: String,
    pub(super) groups: u32,
    pub(super) replicas: u32,
    pub(super) shards: u32,
    pub(super) hash: Hash,
    /// Stores from before there was a choice have none, which is the default.
    #[serde(default)]
    pub(super) policy: Policy,
    pub(super) limits: Limits,
    pub(super) memory_only: bool,
}

/// One process. A port of 0 isn't chosen yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) role: Role,
    /// The gRPC port for users.
    pub(super) client_port: u16,
    /// The port of /livez, /readyz and /metrics.
    pub(super) http_port: u16,
    pub(super) process: Option<ProcessId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Role {
    Manager,
    Server { group: GroupId, peer_port: u16 },
}

impl Record {
    pub(super) fn new(shape: Shape) -> Record {
        let member = |name, role| Member { name, role, client_port: 0, http_port: 0, process: None };
        let manager = member(format!("{}-manager", shape.name), Role::Manager);
        let servers = (0..shape.groups).flat_map(|group| {
            let name = &shape.name;
            (0..shape.replicas).map(move |index| {
                let role = Role::Server { group: GroupId(group), peer_port: 0 };
                member(format!("{name}-g{group}-{index}"), role)
            })
        });
        let members = std::iter::once(manager).chain(servers).collect();
        Record { shape, supervisor: None, members }
    }

    /// The address of the shard manager.
    pub(super) fn manager_address(&self) -> Option<String> {
        let manager = self.members.iter().find(|member| member.role == Role::Manager)?;
        Some(manager.client_address())
    }

    pub(super) fn is_running(&self) -> bool {
        let members = self.members.iter().filter_map(|member| member.process.as_ref());
        members.chain(&self.supervisor).any(ProcessId::is_alive)
    }
}

impl Member {
    pub(super) fn client_address(&self) -> String {
        loopback(self.client_port)
    }

    pub(super) fn http_address(&self) -> String {
        loopback(self.http_port)
    }

    /// The group that a server belongs to; `None` for the shard manager.
    pub(super) fn group(&self) -> Option<GroupId> {
        match self.role {
            Role::Manager => None,
            Role::Server { group, .. } => Some(group),
        }
    }

    /// All of its ports.
    pub(super) fn ports_mut(&mut self) -> Vec<&mut u16> {
        let mut ports = vec![&mut self.client_port, &mut self.http_port];
        if let Role::Server { peer_port, .. } = &mut self.role {
            ports.push(peer_port);
        }
        ports
    }
}

pub(super) fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

impl Shape {
    pub(super) fn of(resource: &Manifest) -> Shape {
        let spec = &resource.spec;
        Shape {
            name: resource.metadata.name.clone(),
            groups: spec.groups,
            replicas: spec.replicas,
            shards: spec.shards,
            hash: spec.hash,
            policy: spec.policy,
            limits: spec.limits.clone(),
            memory_only: spec.storage.memory_only,
        }
    }

    /// Refuses a manifest that describes another store than the one in the directory.
    pub(super) fn must_equal(&self, manifest: &Shape, dir: &Path) -> anyhow::Result<()> {
        let (there, wanted) = (self.fields(), manifest.fields());
        let differences: Vec<String> = there
            .iter()
            .zip(&wanted)
            .filter(|(there, wanted)| there != wanted)
            .map(|((path, there), (_, wanted))| format!("{path} is {there} there, {wanted} in the manifest"))
            .collect();
        anyhow::ensure!(
            differences.is_empty(),
            "{} holds another store: {}. Name another directory with --data-dir",
            dir.display(),
            differences.join("; ")
        );
        Ok(())
    }

    fn fields(&self) -> [(&'static str, String); 11] {
        let Shape { name, groups, replicas, shards, hash, policy, limits, memory_only } = self;
        [
            ("metadata.name", name.clone()),
            ("spec.groups", groups.to_string()),
            ("spec.replicas", replicas.to_string()),
            ("spec.shards", shards.to_string()),
            ("spec.hash", hash.to_string()),
            ("spec.policy", policy.to_string()),
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

    #[test]
    fn a_store_is_a_manager_and_groups_times_replicas_servers() {
        let names: Vec<String> = Record::new(shape()).members.into_iter().map(|member| member.name).collect();
        let expected =
            ["demo-manager", "demo-g0-0", "demo-g0-1", "demo-g0-2", "demo-g1-0", "demo-g1-1", "demo-g1-2"];
        assert_eq!(names, expected);
    }

    #[test]
    fn another_store_in_the_directory_is_refused_with_what_differs() {
        let manifest = Shape { shards: 60, hash: Hash::Integer, ..shape() };
        let message = shape().must_equal(&manifest, Path::new("/data")).unwrap_err().to_string();
        assert!(message.starts_with("/data holds another store: "), "{message}");
        assert!(message.contains("spec.shards is 240 there, 60 in the manifest"), "{message}");
        assert!(message.contains("spec.hash is fnv1 there, integer in the manifest"), "{message}");
        assert!(!message.contains("groups"), "{message}");
        assert!(shape().must_equal(&shape(), Path::new("/data")).is_ok());
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut record = Record::new(shape());
        record.members[0].process = ProcessId::of(std::process::id());
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }
}
