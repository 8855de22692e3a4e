//! The next configuration: the shards spread again over the groups that share them. Pure.

use std::collections::BTreeMap;

use skv_sharding::{GroupId, Layout, PlanError, ShardId, plan};

use super::moves;
use crate::record::Record;

/// Returns the record with these groups sharing the shards, under the next configuration.
pub(super) fn with_groups(
    record: &Record,
    groups: Vec<GroupId>,
    pins: BTreeMap<ShardId, GroupId>,
) -> Result<Record, PlanError> {
    let owners: Vec<Option<GroupId>> = record.history.newest().owners.into_iter().map(Some).collect();
    let goal = plan(record.policy, Layout { groups: &groups, owners: &owners, pins: &pins })?;
    let mut next = record.clone();
    next.pins = pins;
    next.history.push(groups, &goal);
    moves::follow_goal(&mut next);
    Ok(next)
}

/// Removes the pins of groups that no longer share the shards.
pub(super) fn take_out(
    leaving: &[GroupId],
    groups: &mut Vec<GroupId>,
    pins: &mut BTreeMap<ShardId, GroupId>,
) {
    groups.retain(|group| !leaving.contains(group));
    pins.retain(|_, group| !leaving.contains(group));
}
