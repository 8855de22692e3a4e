//! The changes that people ask for: groups join and leave, shards are pinned and unpinned. Each change
//! makes the next configuration. Pure.

use std::collections::BTreeMap;

use skv_sharding::{GroupId, MapRevision, PlanError, ShardId};

use super::configuration::{take_out, with_groups};
use super::heard::Heard;
use super::moves::Pending;
use super::settings::Settings;
use super::{moves, rebuild};
use crate::record::Record;

/// A change that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These groups share the shards from now on.
    Join(Vec<GroupId>),
    /// These groups are drained, and marked so.
    Leave(Vec<GroupId>),
    /// These groups are drained, to be removed.
    Remove(Vec<GroupId>),
    /// A shard belongs in this group until it is unpinned.
    Move(ShardId, GroupId),
    /// A shard goes to the group that suits the policy best.
    Unpin(ShardId),
    /// All shards are where the present rule has them.
    Rebalance,
}

/// The reason for which a change isn't made. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefusal {
    /// The group doesn't exist.
    #[error("there is no {0}: the servers of a new group must run and register before it can be added")]
    UnknownGroup(GroupId),
    /// The record has no such group, but may have been rebuilt before a replica of the group could register.
    #[error(
        "there is no {0} yet: its servers must run and register first, for which there was hardly time since \
         the shard manager started, or could be reached again; ask again"
    )]
    Unheard(GroupId),
    /// The group has no shards to give, and takes none.
    #[error("{0} doesn't share the shards: add it first (`skv group add {0}`)")]
    NotJoined(GroupId),
    /// The shard doesn't exist.
    #[error("there is no shard {0}: there are {1} shards, counted from 0")]
    NoSuchShard(ShardId, u32),
    /// A ring has each group on servers of its own choice: any other order isn't a ring.
    #[error("the groups share their servers in a ring, which stays as it was made")]
    Ring,
    /// The record is out of date: a change that starts from it would hide that.
    #[error("the shard map must be rebuilt from the groups first, since {0}; ask again")]
    Outdated(String),
    /// The planner finds no assignment.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// The outcome of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The next record; `None` if nothing needs to change.
    pub record: Option<Record>,
    /// The number of the configuration that the change made, now or when it was first asked for.
    pub configuration: u64,
    /// The shards that aren't where the newest configuration has them then.
    pub moves: Vec<Pending>,
    /// The pins that end, since their groups no longer share the shards.
    pub dropped_pins: Vec<(ShardId, GroupId)>,
}

impl Changed {
    fn nothing(record: &Record, configuration: u64) -> Self {
        Changed { record: None, configuration, moves: moves::pending(record), dropped_pins: Vec::new() }
    }
}

/// Makes a change. One that was made under the same request id before is not made again.
pub fn change(
    settings: &Settings,
    record: &Record,
    heard: &Heard,
    request_id: &str,
    change: &Change,
) -> Result<Changed, ChangeRefusal> {
    if settings.ring {
        return Err(ChangeRefusal::Ring);
    }
    if let Some(evidence) = rebuild::evidence_against(record, heard) {
        return Err(ChangeRefusal::Outdated(evidence));
    }
    if let Some(configuration) = record.requests.answer(request_id) {
        return Ok(Changed::nothing(record, configuration));
    }
    let newest = record.history.newest();
    let (mut groups, mut pins) = (newest.groups.clone(), record.pins.clone());
    apply(record, heard, change, &mut groups, &mut pins)?;
    let outside = record.pins.iter().filter(|(_, group)| !groups.contains(group));
    let dropped_pins = outside.map(|(&shard, &group)| (shard, group)).collect();
    let mut next = with_groups(record, groups, pins)?;
    for (id, group) in &mut next.groups {
        match change {
            Change::Join(joining) if joining.contains(id) => (group.joined, group.drained) = (true, false),
            Change::Leave(leaving) if leaving.contains(id) => group.drained = true,
            _ => {}
        }
    }
    let configuration = next.history.newest_number();
    next.requests.remember(request_id, configuration);
    if next == *record {
        return Ok(Changed::nothing(record, configuration));
    }
    next.revision = MapRevision(record.revision.0 + 1);
    Ok(Changed { moves: moves::pending(&next), record: Some(next), configuration, dropped_pins })
}

fn apply(
    record: &Record,
    heard: &Heard,
    change: &Change,
    groups: &mut Vec<GroupId>,
    pins: &mut BTreeMap<ShardId, GroupId>,
) -> Result<(), ChangeRefusal> {
    match change {
        Change::Join(joining) => {
            for group in joining {
                check_group(record, heard, *group)?;
                if !groups.contains(group) {
                    groups.push(*group);
                }
            }
        }
        Change::Leave(leaving) | Change::Remove(leaving) => {
            leaving.iter().try_for_each(|group| check_group(record, heard, *group))?;
            take_out(leaving, groups, pins);
        }
        Change::Move(shard, group) => {
            check_shard(record, *shard)?;
            check_group(record, heard, *group)?;
            if !groups.contains(group) {
                return Err(ChangeRefusal::NotJoined(*group));
            }
            pins.insert(*shard, *group);
        }
        Change::Unpin(shard) => {
            check_shard(record, *shard)?;
            pins.remove(shard);
        }
        Change::Rebalance => {}
    }
    Ok(())
}

/// Checks that a group exists. A record that was lost is rebuilt without the groups that have no shards and
/// haven't registered yet.
fn check_group(record: &Record, heard: &Heard, group: GroupId) -> Result<(), ChangeRefusal> {
    if record.groups.contains_key(&group) {
        Ok(())
    } else if heard.has_listened() {
        Err(ChangeRefusal::UnknownGroup(group))
    } else {
        Err(ChangeRefusal::Unheard(group))
    }
}

fn check_shard(record: &Record, shard: ShardId) -> Result<(), ChangeRefusal> {
    let shards = record.shards();
    if shard.0 < shards { Ok(()) } else { Err(ChangeRefusal::NoSuchShard(shard, shards)) }
}
