//! Shards and their groups as text for people.

use serde::Serialize;
use skv_proto::v1;
use skv_sharding::{GroupId, ShardId};

/// Runs of consecutive shards that a list names.
const RUNS: usize = 8;

/// A shard that people want in a certain group.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Pin {
    pub(crate) shard: u32,
    pub(crate) group: GroupId,
}

impl From<&v1::PinnedShard> for Pin {
    fn from(wire: &v1::PinnedShard) -> Pin {
        Pin { shard: wire.shard, group: GroupId(wire.group) }
    }
}

/// `shard 3 in g1, shard 7 in g1`.
pub(crate) fn list_pins(pins: &[Pin]) -> String {
    let pins = pins.iter().map(|pin| format!("shard {} in {}", pin.shard, pin.group));
    pins.collect::<Vec<_>>().join(", ")
}

/// Returns the reason for waiting while `count` shards are in place, but may still leave it.
pub(crate) fn unsettled(count: u32) -> String {
    match count {
        1 => "waiting for its group to confirm that a shard stays after all".to_owned(),
        _ => format!("waiting for their groups to confirm that {count} shards stay after all"),
    }
}

/// Returns shards in ascending order as people write them: `0-39 77`; a long list is cut.
pub(crate) fn list(shards: impl IntoIterator<Item = ShardId>) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for ShardId(shard) in shards {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == shard => *last = shard,
            _ => runs.push((shard, shard)),
        }
    }
    let named = runs.iter().take(RUNS).map(|&(first, last)| match last {
        _ if first == last => first.to_string(),
        _ => format!("{first}-{last}"),
    });
    let named = named.collect::<Vec<_>>().join(" ");
    let more: u32 = runs.iter().skip(RUNS).map(|(first, last)| last - first + 1).sum();
    if more == 0 { named } else { format!("{named} and {more} more") }
}

/// Returns a key by which names of servers are sorted as people count: `g0-2` before `g0-10`.
pub(crate) fn in_order(server: &str) -> Vec<(u64, String)> {
    let number =
        |part: &str| part.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or_default();
    server.split('-').map(|part| (number(part), part.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list_of(shards: &[u32]) -> String {
        list(shards.iter().copied().map(ShardId))
    }

    #[test]
    fn consecutive_shards_are_named_by_their_ends() {
        assert_eq!(list_of(&[]), "");
        assert_eq!(list_of(&[7]), "7");
        assert_eq!(list_of(&[0, 1, 2, 5, 7, 8]), "0-2 5 7-8");
    }

    #[test]
    fn servers_are_sorted_as_people_count() {
        let mut servers = ["store-g10-0", "store-g2-10", "store-g2-9", "store-g2-0"];
        servers.sort_by_key(|server| in_order(server));
        assert_eq!(servers, ["store-g2-0", "store-g2-9", "store-g2-10", "store-g10-0"]);
    }

    #[test]
    fn a_long_list_is_cut_and_says_how_many_shards_are_left_out() {
        let scattered: Vec<u32> = (0..8).map(|run| 3 * run).chain([30, 31, 40]).collect();
        assert_eq!(list_of(&scattered), "0 3 6 9 12 15 18 21 and 3 more");
    }
}
