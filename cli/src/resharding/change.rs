//! The changes that people request of the shard manager.

use skv_proto::v1;
use skv_sharding::{GroupId, ShardId};

use crate::manager::{self, Client};
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

    /// Returns the reason why no shard moves.
    pub(super) async fn nothing_to_move(&self, target: &Target) -> anyhow::Result<String> {
        let newest = manager::configuration(target, None).await?;
        Ok(format!("nothing to move: {}", self.why_nothing(&newest)))
    }

    fn why_nothing(&self, newest: &v1::Configuration) -> String {
        match self {
            Change::Leave(groups) | Change::Remove(groups) => {
                let verb = if groups.len() == 1 { "has" } else { "have" };
                format!("{} {verb} no shards", GroupId::list(groups))
            }
            Change::Move(shard, group) => format!("shard {shard} is in {group}"),
            Change::Unpin(shard) => format!("shard {shard} may stay where it is"),
            Change::Join(_) | Change::Rebalance => {
                let shards: u32 = newest.ranges.iter().map(|range| range.count).sum();
                let mut groups = newest.groups.clone();
                if let Change::Join(joining) = self {
                    groups.extend(joining.iter().map(|group| group.0));
                }
                groups.sort_unstable();
                groups.dedup();
                format!("{shards} shards are spread as evenly as the pins allow over {} groups", groups.len())
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
        let why = |change: Change| change.why_nothing(&newest);
        assert_eq!(why(Change::Rebalance), "2 shards are spread as evenly as the pins allow over 2 groups");
        assert_eq!(
            why(Change::Join(vec![GroupId(1), GroupId(2)])),
            "2 shards are spread as evenly as the pins allow over 3 groups",
            "with --dry-run the new one isn't in the newest configuration"
        );
        assert_eq!(why(Change::Leave(vec![GroupId(1)])), "g1 has no shards");
        assert_eq!(why(Change::Leave(vec![GroupId(1), GroupId(4)])), "g1, g4 have no shards");
        assert_eq!(why(Change::Move(ShardId(7), GroupId(1))), "shard 7 is in g1");
        assert_eq!(why(Change::Unpin(ShardId(7))), "shard 7 may stay where it is");
    }
}
