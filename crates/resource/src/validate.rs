//! The rules of valid specifications.

use skv_sharding::{Policy, Ring};

use crate::{
    ClientService, IpFamilyPolicy, NodePorts, Placement, Ports, ServiceType, ShardedKvSpec, Storage, Tuning,
};

mod check;
mod memory;
mod pod_template;

use check::Check;
pub use check::Problem;

/// The longest name of a resource: names of servers, such as NAME-g0-0, must stay labels of DNS with room
/// to spare.
const MAX_NAME: usize = 40;

/// The smallest volume of a server: it holds several log segments and two snapshots.
const MIN_STORAGE_BYTES: u64 = 256 << 20;

/// Returns all problems of a resource of this name; empty if it is valid.
pub fn validate(name: &str, spec: &ShardedKvSpec) -> Vec<Problem> {
    let mut check = Check::default();
    check_name(&mut check, name);
    check_groups(&mut check, spec);
    if let Some(threads) = spec.server.worker_threads {
        check.range("spec.server.workerThreads", threads, 1..=1024);
    }
    memory::check_memory(&mut check, spec);
    check.range("spec.shardManager.replicas", spec.shard_manager.replicas, 1..=5);
    if spec.image.name.as_deref() == Some("") {
        check.fails("spec.image.name", "is empty: name an image, or leave it out".to_owned());
    }
    check_storage(&mut check, &spec.storage);
    check_ports(&mut check, &spec.ports);
    check_node_ports(&mut check, spec);
    check_service(&mut check, &spec.service);
    if let Some(template) = &spec.pod_template {
        pod_template::check_pod_template(&mut check, template);
    }
    check.range("spec.replacement.afterSeconds", spec.replacement.after_seconds, 1..=86_400);
    check.range("spec.replacement.maxPerHour", spec.replacement.max_per_hour, 1..=60);

    let limits = &spec.limits;
    check.range("spec.limits.maxKeyBytes", limits.max_key_bytes, 1..=65_536);
    check.range("spec.limits.maxValueBytes", limits.max_value_bytes, 1..=2 << 20);
    check.range("spec.limits.maxSessionsPerShard", limits.max_sessions_per_shard, 1..=1_000_000);
    check.range("spec.limits.sessionTtlSeconds", limits.session_ttl_seconds, 10..=86_400);
    check_tuning(&mut check, &spec.tuning);
    check.problems
}

fn check_groups(check: &mut Check, spec: &ShardedKvSpec) {
    match spec.placement {
        Placement::Groups => check_replicas_of_groups(check, spec.replicas),
        Placement::Ring => check_replicas_of_ring(check, spec),
    }
    check.range("spec.shards", spec.shards, 1..=10_000);
    check.range("spec.groups", spec.groups, 1..=4096);
    if spec.placement == Placement::Ring {
        if spec.groups != spec.shards {
            let reason = format!(
                "a ring has one group for each shard, and a server for each group: {} shards take {0} groups",
                spec.shards
            );
            check.fails("spec.groups", reason);
        }
        return;
    }
    // Without any shard that is said above.
    if spec.shards > 0 && spec.groups > spec.shards {
        let shards = if spec.shards == 1 { "1 shard".to_owned() } else { format!("{} shards", spec.shards) };
        let reason = format!("{} groups can't share {shards}: each needs at least one", spec.groups);
        check.fails("spec.groups", reason);
    }
    // 0 groups are refused above.
    if spec.policy == Policy::Modulo && spec.groups > 0 && !spec.shards.is_multiple_of(spec.groups) {
        let reason = format!(
            "{} groups don't divide {} shards, which policy modulo needs: choose a number that does",
            spec.groups, spec.shards
        );
        check.fails("spec.groups", reason);
    }
}

fn check_replicas_of_groups(check: &mut Check, replicas: u32) {
    check.range("spec.replicas", replicas, 1..=7);
    if replicas.is_multiple_of(2) && replicas > 0 {
        let fewer = replicas - 1;
        check.fails(
            "spec.replicas",
            format!("{replicas} tolerates no more failures than {fewer}: choose an odd number"),
        );
    }
}

/// Takes any number up to that of the servers: a person who asks for an even one wants a ring, and knows
/// majorities.
fn check_replicas_of_ring(check: &mut Check, spec: &ShardedKvSpec) {
    // A ring without servers is refused by the check of groups.
    if spec.groups > 0
        && let Err(error) = Ring::new(spec.groups, spec.replicas)
    {
        check.fails("spec.replicas", error.to_string());
    }
}

fn check_storage(check: &mut Check, storage: &Storage) {
    if storage.size.bytes() < MIN_STORAGE_BYTES {
        check.fails("spec.storage.size", format!("{} is too small: at least 256Mi", storage.size));
    }
    match &storage.class_name {
        Some(_) if storage.memory_only => {
            check.fails("spec.storage.className", "has no meaning with memoryOnly: leave it out".to_owned());
        }
        Some(name) if name.is_empty() => {
            check.fails("spec.storage.className", "is empty: name a class, or leave it out".to_owned());
        }
        _ => {}
    }
}

fn check_ports(check: &mut Check, ports: &Ports) {
    let named = [
        ("spec.ports.client", ports.client),
        ("spec.ports.peer", ports.peer),
        ("spec.ports.http", ports.http),
        ("spec.ports.manager", ports.manager),
    ];
    for (path, port) in named {
        check.range(path, port, 1024..=65_535);
    }
    let [client, peer, http, manager] = named.map(|(_, port)| port);
    if client == peer || client == http || peer == http || manager == http {
        let reason = "client, peer and http must differ, and manager and http".to_owned();
        check.fails("spec.ports", reason);
    }
}

fn check_node_ports(check: &mut Check, spec: &ShardedKvSpec) {
    let Some(NodePorts { first }) = spec.node_ports else { return };
    check.range("spec.nodePorts.first", first, NodePorts::RANGE);
    let last = *NodePorts::RANGE.end();
    if first <= last && u32::from(first).saturating_add(spec.groups) > u32::from(last) {
        let reason = format!(
            "{first} is too high for {} groups, each of which needs a port of its own up to {last}: begin lower",
            spec.groups
        );
        check.fails("spec.nodePorts.first", reason);
    }
}

fn check_service(check: &mut Check, service: &ClientService) {
    if service.type_ != ServiceType::LoadBalancer && !service.load_balancer_source_ranges.is_empty() {
        let reason = "have no meaning without a load balancer: set type to LoadBalancer, or leave them out";
        check.fails("spec.service.loadBalancerSourceRanges", reason.to_owned());
    }
    let reason = match service.ip_families.as_slice() {
        [first, second] if first == second => format!("name {} twice: leave one out", first.name()),
        [_, _] if service.ip_family_policy == Some(IpFamilyPolicy::Single) => {
            "are two, and SingleStack takes one: leave one out, or choose another policy".to_owned()
        }
        [_, _, _, ..] => "are more than there are: IPv4 and IPv6".to_owned(),
        _ => return,
    };
    check.fails("spec.service.ipFamilies", reason);
}

fn check_tuning(check: &mut Check, tuning: &Tuning) {
    check.range("spec.tuning.heartbeatMs", tuning.heartbeat_ms, 10..=10_000);
    check.range("spec.tuning.electionTimeoutMs", tuning.election_timeout_ms, 50..=60_000);
    check.range("spec.tuning.snapshotLogBytes", tuning.snapshot_log_bytes, 1024..=u64::MAX);
    let three_heartbeats = tuning.heartbeat_ms.saturating_mul(3);
    if tuning.election_timeout_ms < three_heartbeats {
        let reason = format!(
            "{} is less than three heartbeats of {} ms: at least {three_heartbeats}",
            tuning.election_timeout_ms, tuning.heartbeat_ms
        );
        check.fails("spec.tuning.electionTimeoutMs", reason);
    }
}

fn check_name(check: &mut Check, name: &str) {
    let is_label = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !is_label || name.len() > MAX_NAME {
        check.fails(
            "metadata.name",
            format!(
                "{name:?} must consist of at most {MAX_NAME} lower case letters, digits and '-', \
                 begin with a letter and not end with '-'"
            ),
        );
    }
}

#[cfg(test)]
mod tests;
