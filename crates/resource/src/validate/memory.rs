//! The rules of a server's memory: as much as the server itself takes, and the files that it may keep there.

use skv_sharding::LEAST_MEMORY_BYTES;

use super::Check;
use crate::{Placement, Server, ShardedKvSpec, Size};

/// The part of every server's memory that isn't for data.
const RESERVED_BYTES: u64 = 64 << 20;

/// The least beyond that for a replica whose files are in memory: three quarters of it are for data, of which
/// two segments of the log, of 4 MiB each, take half.
const REPLICA_BYTES: u64 = (64 << 20) / 3;

pub(super) fn check_memory(check: &mut Check, spec: &ShardedKvSpec) {
    let of_container = of_container(&spec.server);
    if let Some(memory) = &spec.server.memory {
        if memory.bytes() < LEAST_MEMORY_BYTES {
            check.fails("spec.server.memory", format!("{memory} is too small: at least 128Mi"));
            return;
        }
        if let Some(of_container) = of_container.as_ref().filter(|limit| limit.bytes() < memory.bytes()) {
            let reason = format!(
                "{memory} is more than the container may have: resources.limits.memory is {of_container}"
            );
            check.fails("spec.server.memory", reason);
            return;
        }
    }
    if spec.storage.memory_only {
        check_files(check, spec, of_container.as_ref());
    }
}

/// Refuses a server on which logs in memory would leave no room for data: it would start, and take nothing.
fn check_files(check: &mut Check, spec: &ShardedKvSpec, of_container: Option<&Size>) {
    let own = spec.server.memory.as_ref().map(|memory| ("spec.server.memory", memory));
    let of_container = of_container.map(|limit| ("spec.server.resources", limit));
    let Some((path, memory)) = own.or(of_container) else { return };
    let replicas = match spec.placement {
        Placement::Groups => 1,
        Placement::Ring => spec.replicas,
    };
    let least = RESERVED_BYTES + u64::from(replicas) * REPLICA_BYTES;
    if memory.bytes() < least {
        let (kept, least) = (if replicas == 1 { "replica" } else { "replicas" }, least.div_ceil(1 << 20));
        let reason = format!(
            "{memory} is too small for a server that keeps {replicas} {kept} in memory, logs too: at least {least}Mi"
        );
        check.fails(path, reason);
    }
}

/// Returns the limit of the container's memory. A quantity with a fraction isn't a size; the server takes the
/// lower of the two in any case.
fn of_container(server: &Server) -> Option<Size> {
    let limits = server.resources.as_ref()?.limits.as_ref()?;
    limits.get("memory")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::validate;
    use super::*;

    /// Returns the problems of a store whose servers keep so many replicas in memory.
    fn problems(replicas: u32, memory: Option<&str>, of_container: Option<&str>) -> Vec<String> {
        let mut spec = ShardedKvSpec { groups: 7, shards: 7, replicas, ..ShardedKvSpec::default() };
        spec.placement = if replicas == 1 { Placement::Groups } else { Placement::Ring };
        spec.storage.memory_only = true;
        spec.server.memory = memory.map(|memory| memory.parse().unwrap());
        if let Some(memory) = of_container {
            let limits = serde_json::json!({ "limits": { "memory": memory } });
            spec.server.resources = serde_json::from_value(limits).unwrap();
        }
        validate("quickstart", &spec).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_server_that_keeps_its_files_in_memory_has_room_for_data_beside_its_logs() {
        assert_eq!(problems(1, Some("128Mi"), None), [""; 0]);
        assert_eq!(problems(3, Some("128Mi"), None), [""; 0]);
        assert_eq!(
            problems(5, Some("160Mi"), None),
            [
                "spec.server.memory: 160Mi is too small for a server that keeps 5 replicas in memory, logs too: at \
              least 171Mi"
            ]
        );
        assert_eq!(problems(5, Some("171Mi"), None), [""; 0]);
        assert_eq!(
            problems(1, None, Some("64Mi")),
            [
                "spec.server.resources: 64Mi is too small for a server that keeps 1 replica in memory, logs too: at \
              least 86Mi"
            ]
        );
        assert_eq!(
            problems(1, Some("64Mi"), None),
            ["spec.server.memory: 64Mi is too small: at least 128Mi"]
        );
        assert_eq!(problems(7, None, None), [""; 0], "by what the machine has");
    }
}
