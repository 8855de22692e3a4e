//! An estimate of the duration of moves. It is rough: it depends on disks, networks and the other
//! work of the servers, none of which is known here. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use skv_sharding::GroupId;

use super::moves::Move;

/// Bytes that a group hands over, or takes in, per second: the default limit of servers.
pub(super) const BYTES_PER_SECOND: u64 = skv_resource::TRANSFER_BYTES_PER_SECOND;
/// The time for a shard of any size: a handful of commits in two groups.
const PER_SHARD: Duration = Duration::from_millis(3);
/// The time until the sources have heard of their moves and the targets expect them.
const START: Duration = Duration::from_millis(100);

/// Returns the time of the group that has most to do, since all groups work at the same time;
/// `None` if the size of a shard isn't known.
pub(super) fn expected<'a>(moves: impl IntoIterator<Item = &'a Move>) -> Option<Duration> {
    let mut work: BTreeMap<GroupId, Duration> = BTreeMap::new();
    for Move { source, target, bytes, .. } in moves {
        let time = PER_SHARD + Duration::from_secs_f64((*bytes)? as f64 / BYTES_PER_SECOND as f64);
        *work.entry(*source).or_default() += time;
        *work.entry(*target).or_default() += time;
    }
    Some(work.into_values().max().map_or(Duration::ZERO, |longest| START + longest))
}

#[cfg(test)]
mod tests {
    use skv_proto::v1::shard_status::State;

    use super::*;
    use crate::resharding::moves::Moves;
    use crate::resharding::moves::tests::{planned, says};

    #[test]
    fn the_group_with_most_to_do_decides() {
        let mut moves = Moves::new(&[planned(0, 0, 2), planned(1, 1, 2), planned(2, 1, 3)]);
        moves.hear(GroupId(0), &[says(0, State::Served, 1, BYTES_PER_SECOND)]);
        assert_eq!(expected(moves.iter()), None, "g1 hasn't been asked");
        let of_g1 = [says(1, State::Served, 1, 2 * BYTES_PER_SECOND), says(2, State::Served, 1, 0)];
        moves.hear(GroupId(1), &of_g1);
        assert_eq!(
            expected(moves.iter()),
            Some(Duration::from_millis(100 + 2 * 3 + 3000)),
            "what g2 takes in"
        );
    }

    #[test]
    fn no_moves_take_no_time() {
        assert_eq!(expected([]), Some(Duration::ZERO));
    }
}
