//! The programs `master-svr`, `svr` and `clt`: a store that grows by starting servers.
//!
//! They are thin. The master is the shard manager, which also gives each server that starts the
//! number of a group of its own and has that group join; a server is a `kvserver` with one
//! replica of one group; the client is a Clerk, or one request to one server. Groups share 2520
//! shards by the policy modulo, which comes to `shard = key % servers + 1` for up to ten servers.
//!
//! Each program is one process of one thread.

mod client;
mod master;
mod options;
mod process;
mod server;

use std::num::NonZeroU16;

use skv_sharding::{Hash, Policy};

pub use client::clt;
pub use master::{master_services, master_svr};
pub use server::{server_services, svr};

/// The port of loopback at which a program listens.
type Port = NonZeroU16;

/// The number of shards. Every number of servers up to [`MOST_SERVERS`] divides it.
const SHARDS: u32 = 2520;
/// The limit of servers. The first number that doesn't divide [`SHARDS`] is one more.
const MOST_SERVERS: u32 = 10;
/// The sharding of the store, chosen so that `shard = key % servers + 1`.
const SHARDING: (u32, Hash, Policy) = (SHARDS, Hash::IntegerOrFnv1, Policy::Modulo);

fn address(port: Port) -> String {
    format!("127.0.0.1:{port}")
}

/// Returns the name of the server at a port. One that starts again there is the same server.
fn server_name(port: Port) -> String {
    format!("svr-{port}")
}

/// Returns the port of a server of this name.
fn port_of(server: &str) -> Option<Port> {
    server.strip_prefix("svr-")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use skv_sharding::{GroupId, Layout, plan};

    use super::*;

    #[test]
    fn a_shard_is_the_remainder_by_the_number_of_servers_for_up_to_ten_and_not_for_eleven() {
        let (shards, hash, policy) = SHARDING;
        for servers in 1..=MOST_SERVERS + 1 {
            let groups: Vec<GroupId> = (0..servers).map(GroupId).collect();
            let layout =
                Layout { groups: &groups, owners: &vec![None; shards as usize], pins: &BTreeMap::new() };
            let Ok(owners) = plan(policy, layout) else {
                assert_eq!(servers, MOST_SERVERS + 1);
                continue;
            };
            for key in -3000_i64..3000 {
                let slot = hash.shard(key.to_string().as_bytes(), shards).unwrap();
                assert_eq!(i64::from(owners[slot.0 as usize].0), key.rem_euclid(i64::from(servers)), "{key}");
            }
            let word = "a word";
            let slot = hash.shard(word.as_bytes(), shards).unwrap();
            let remainder = skv_sharding::fnv1(word.as_bytes()) % u64::from(servers);
            assert_eq!(u64::from(owners[slot.0 as usize].0), remainder);
        }
    }

    #[test]
    fn a_server_is_known_by_its_port() {
        let port = Port::new(5001).unwrap();
        assert_eq!(port_of(&server_name(port)), Some(port));
        assert_eq!(port_of("quickstart-g0-0"), None);
    }
}
