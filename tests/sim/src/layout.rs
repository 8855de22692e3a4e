//! The hosts of the simulation: their names, ports and addresses, and the shape of the store.

use std::ops::Range;
use std::time::Duration;

use skv_sharding::Hash;

/// The usual interval at which servers are asked how they are.
pub(crate) const LOOK: Duration = Duration::from_millis(500);
/// The number of servers of a group.
pub(crate) const SERVERS: usize = 3;
/// The number of shards.
pub(crate) const SHARDS: u32 = 16;
/// The hash of keys.
pub(crate) const HASH: Hash = Hash::Fnv1;
/// The shard managers' hosts; they share one record.
pub(crate) const MANAGERS: [&str; 2] = ["manager-0", "manager-1"];
/// The ports on each host.
pub(crate) const CLIENT_PORT: u16 = 7000;
pub(crate) const PEER_PORT: u16 = 7001;
pub(crate) const MANAGER_PORT: u16 = 7100;

/// Returns a server's name. The servers are numbered through all groups.
pub(crate) fn server_name(index: usize) -> String {
    format!("kv-g{}-{}", index / SERVERS, index % SERVERS)
}

/// Returns the numbers of a group's servers.
pub(crate) fn servers_of(group: usize) -> Range<usize> {
    group * SERVERS..(group + 1) * SERVERS
}

/// Returns the address at which a server serves other servers.
pub(crate) fn peer_address(index: usize) -> String {
    format!("{}:{PEER_PORT}", server_name(index))
}

/// Returns the addresses of the shard managers.
pub(crate) fn managers() -> Vec<String> {
    MANAGERS.iter().map(|host| format!("{host}:{MANAGER_PORT}")).collect()
}

/// Returns the shard of a key.
pub(crate) fn shard_of(key: &str) -> anyhow::Result<u32> {
    Ok(HASH.shard(key.as_bytes(), SHARDS)?.0)
}
