//! `skv apply --dry-run` shows the groups that would come and go, and asks nobody for a change.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use skv_local::screen::Stream;
use skv_sharding::GroupId;
use skv_turnover::{Assignment, decide};

use super::scale;
use crate::output::{self, Format, count};
use crate::resharding::{self, Change, Flags};
use crate::target::Target;

#[derive(Serialize)]
struct Preview {
    dry_run: bool,
    /// The groups that would get servers and shards.
    add: Vec<GroupId>,
    /// The groups that would give their shards away, and be removed with their data.
    remove: Vec<GroupId>,
}

pub(super) async fn show(
    path: &Path,
    groups_wanted: u32,
    patience: Duration,
    format: Format,
) -> anyhow::Result<()> {
    let record = scale::running(path)?;
    let existing = record.groups();
    let is_ring = record.shape.ring().is_some();
    let manager = record.manager_address().context("the record of the store names no shard manager")?;
    let target = Target::of_managers([manager], patience);
    let wanted = if is_ring {
        existing.clone()
    } else {
        let assignment = scale::assignment(&target).await?;
        decide(groups_wanted, &scale::groups(&target, &record).await, Some(&assignment)).wanted
    };
    let preview = Preview {
        dry_run: true,
        add: wanted.difference(&existing).copied().collect(),
        remove: existing.difference(&wanted).copied().collect(),
    };
    if format == Format::Json {
        return output::print_json(&preview);
    }
    let Preview { add, remove, .. } = preview;
    if add.is_empty() && remove.is_empty() {
        return output::say(format_args!(
            "nothing to do: the number of groups of {} is {}",
            record.shape.name,
            existing.len()
        ));
    }
    if !add.is_empty() {
        let share = share(&target, &existing, &wanted).await?;
        output::say(format_args!(
            "{} would be started, with {} each, and take over about {share}",
            GroupId::list(&add),
            count(record.shape.replicas, "server"),
        ))?;
    }
    if !remove.is_empty() {
        output::say(format_args!(
            "{} would give away all shards; then the servers would be stopped, and their data removed",
            GroupId::list(&remove)
        ))?;
        // With groups that come too, the planner can't be asked before these run.
        if add.is_empty() {
            let flags = Flags::dry_run(Stream::Out);
            resharding::run(&target, &Change::Remove(remove), &flags).await?;
        }
    }
    Ok(())
}

/// Returns the number of shards that new groups would get, for people.
async fn share(
    target: &Target,
    existing: &BTreeSet<GroupId>,
    wanted: &BTreeSet<GroupId>,
) -> anyhow::Result<String> {
    let assignment: Assignment = scale::assignment(target).await?;
    let shards: u64 = assignment.shards.values().map(|shards| u64::from(*shards)).sum();
    let new = wanted.difference(existing).count() as u64;
    Ok(count(shards * new / (wanted.len() as u64).max(1), "shard"))
}
