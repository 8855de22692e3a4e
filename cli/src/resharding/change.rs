//! The changes that people request of the shard manager.

use serde::Serialize;
use skv_proto::v1;
use skv_sharding::{GroupId, ShardId};

use crate::manager::{self, Client};
use crate::output::count;
use crate::shards::Pin;
use crate::target::Target;

/// A change of the assignment of shards to groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// These groups share the shards from now on.
    Join(Vec<GroupId>),
    /// These groups are drained.
    Leave(Vec<GroupId>),
    /// These groups are drained, to be removed.
    Remove(Vec<GroupId>),
    /// A shard is to be in this group until it is unpinned.
    Move(ShardId, GroupId),
    /// A shard may be wherever it is best.
    Unpin(ShardId),
    /// The shards are spread again.
    Rebalance,
}

/// The change of a shard's pin.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(super) struct Pinning {
    /// The pin that the change makes.
    pinned: Option<Pin>,
    /// The pin that it takes back.
    unpinned: Option<Pin>,
    /// True if the shard was pinned like this before.
    #[serde(skip)]
    was_there: bool,
}

impl Change {
    /// Makes the change once, however often the request is repeated; with `dry_run` never.
    pub(super) async fn ask(&self, target: &Target, dry_run: bool) -> anyhow::Result<v1::ChangeResponse> {
        let request_id = format!("{:032x}", rand::random::<u128>());
        manager::ask(target, async |mut manager: Client| {
            let request_id = request_id.clone();
            match self {
                Change::Join(groups) => {
                    let groups = groups.iter().map(|group| group.0).collect();
                    manager.join(v1::JoinRequest { groups, request_id, dry_run }).await
                }
                Change::Leave(groups) | Change::Remove(groups) => {
                    let groups = groups.iter().map(|group| group.0).collect();
                    let removal = matches!(self, Change::Remove(_));
                    manager.leave(v1::LeaveRequest { groups, request_id, dry_run, removal }).await
                }
                Change::Move(shard, group) => {
                    let (shard, group) = (shard.0, group.0);
                    manager.r#move(v1::MoveRequest { shard, group, request_id, dry_run }).await
                }
                Change::Unpin(shard) => {
                    manager.unpin(v1::UnpinRequest { shard: shard.0, request_id, dry_run }).await
                }
                Change::Rebalance => manager.rebalance(v1::RebalanceRequest { request_id, dry_run }).await,
            }
        })
        .await
    }

    /// Returns what happens to the pin of a shard, given the pins before the change.
    pub(super) async fn pinning(&self, target: &Target) -> anyhow::Result<Pinning> {
        let (Change::Move(shard, _) | Change::Unpin(shard)) = self else { return Ok(Pinning::default()) };
        let map = manager::shard_map(target).await?;
        let before = map.pins.iter().find(|pin| pin.shard == shard.0).map(Pin::from);
        Ok(self.pinning_after(before))
    }

    fn pinning_after(&self, before: Option<Pin>) -> Pinning {
        match self {
            Change::Move(shard, group) => {
                let pinned = Some(Pin { shard: shard.0, group: *group });
                Pinning { pinned, unpinned: None, was_there: before.is_some_and(|pin| pin.group == *group) }
            }
            Change::Unpin(_) => Pinning { pinned: None, unpinned: before, was_there: false },
            _ => Pinning::default(),
        }
    }

    /// Returns the reason why no shard moves, or would move.
    pub(super) async fn nothing_to_move(
        &self,
        target: &Target,
        pinning: &Pinning,
        dry_run: bool,
    ) -> anyhow::Result<String> {
        let newest = manager::configuration(target, None).await?;
        Ok(format!("nothing to move: {}", self.why_nothing(&newest, pinning, dry_run)))
    }

    fn why_nothing(&self, newest: &v1::Configuration, pinning: &Pinning, dry_run: bool) -> String {
        match self {
            Change::Leave(groups) | Change::Remove(groups) => {
                let verb = if groups.len() == 1 { "has" } else { "have" };
                format!("{} {verb} no shards", GroupId::list(groups))
            }
            Change::Move(shard, group) => {
                let pinned = match (pinning.was_there, dry_run) {
                    (true, _) => "where it is pinned already",
                    (false, true) => "and would be pinned there",
                    (false, false) => "and is pinned there from now on",
                };
                format!("shard {shard} is in {group}, {pinned}")
            }
            Change::Unpin(shard) => match (&pinning.unpinned, dry_run) {
                (None, _) => format!("shard {shard} isn't pinned"),
                (Some(Pin { group, .. }), true) => {
                    format!("shard {shard} would no longer be pinned to {group}, and would stay where it is")
                }
                (Some(Pin { group, .. }), false) => {
                    format!("shard {shard} is no longer pinned to {group}, and stays where it is")
                }
            },
            Change::Join(_) | Change::Rebalance => {
                let shards: u32 = newest.ranges.iter().fold(0, |sum, range| range.count.saturating_add(sum));
                let mut groups = newest.groups.clone();
                if let Change::Join(joining) = self {
                    groups.extend(joining.iter().map(|group| group.0));
                }
                groups.sort_unstable();
                groups.dedup();
                let verb = if shards == 1 { "is" } else { "are" };
                format!(
                    "{} {verb} spread as evenly as the pins allow over {}",
                    count(shards, "shard"),
                    count(groups.len() as u64, "group")
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_says_why_nothing_moves() {
        let range = v1::ShardRange { first: 0, count: 2, group: 0, epoch: 0 };
        let newest = v1::Configuration { number: 3, groups: vec![0, 1], ranges: vec![range] };
        let why = |change: Change| change.why_nothing(&newest, &Pinning::default(), false);
        assert_eq!(why(Change::Rebalance), "2 shards are spread as evenly as the pins allow over 2 groups");
        assert_eq!(
            why(Change::Join(vec![GroupId(1), GroupId(2)])),
            "2 shards are spread as evenly as the pins allow over 3 groups",
            "with --dry-run the new one isn't in the newest configuration"
        );
        assert_eq!(why(Change::Leave(vec![GroupId(1)])), "g1 has no shards");
        assert_eq!(why(Change::Leave(vec![GroupId(1), GroupId(4)])), "g1, g4 have no shards");
        assert_eq!(
            why(Change::Move(ShardId(7), GroupId(1))),
            "shard 7 is in g1, and is pinned there from now on"
        );
        assert_eq!(why(Change::Unpin(ShardId(7))), "shard 7 isn't pinned");
    }

    #[test]
    fn a_pin_is_told_also_if_no_shard_moves() {
        let newest = v1::Configuration::default();
        let pin = Some(Pin { shard: 7, group: GroupId(1) });
        let why = |change: &Change, before, dry_run| {
            change.why_nothing(&newest, &change.pinning_after(before), dry_run)
        };
        let to_g1 = Change::Move(ShardId(7), GroupId(1));
        assert_eq!(why(&to_g1, None, true), "shard 7 is in g1, and would be pinned there");
        assert_eq!(why(&to_g1, pin, false), "shard 7 is in g1, where it is pinned already");
        let unpin = Change::Unpin(ShardId(7));
        assert_eq!(why(&unpin, pin, false), "shard 7 is no longer pinned to g1, and stays where it is");
        assert_eq!(
            why(&unpin, pin, true),
            "shard 7 would no longer be pinned to g1, and would stay where it is"
        );
    }
}
