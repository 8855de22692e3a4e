//! A configuration of the history: the assignment of shards that was wanted. While shards moved,
//! the map differed from it.

use serde::Serialize;
use skv_proto::v1;
use skv_sharding::GroupId;

use crate::outcome::Outcome;
use crate::output::{self, Format, count};
use crate::shards;

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names of the document")]
struct Configuration {
    configuration: u64,
    /// The same, under its earlier name.
    number: u64,
    groups: Vec<GroupId>,
    ranges: Vec<Range>,
}

#[derive(Serialize)]
struct Range {
    first: u32,
    count: u32,
    group: GroupId,
}

pub(super) fn show(wire: &v1::Configuration, format: Format) -> anyhow::Result<Outcome> {
    match format {
        Format::Json => output::print_json(&Configuration {
            configuration: wire.number,
            number: wire.number,
            groups: wire.groups.iter().copied().map(GroupId).collect(),
            ranges: wire
                .ranges
                .iter()
                .map(|range| Range { first: range.first, count: range.count, group: GroupId(range.group) })
                .collect(),
        })?,
        Format::Text => print(wire)?,
    }
    Ok(Outcome::Done)
}

fn print(wire: &v1::Configuration) -> anyhow::Result<()> {
    let owners = skv_proto::owners(&wire.ranges);
    output::say(format_args!(
        "configuration {}  {} in {}",
        wire.number,
        count(owners.len() as u64, "shard"),
        count(wire.groups.len() as u64, "group")
    ))?;
    if wire.groups.is_empty() {
        return Ok(());
    }
    let mut table = output::table(["GROUP", "SHARDS", "OWNS"]);
    for group in wire.groups.iter().copied().map(GroupId) {
        let owned = || owners.iter().filter(|(_, owner)| **owner == group).map(|(shard, _)| *shard);
        table.add_row([group.to_string(), owned().count().to_string(), shards::list(owned())]);
    }
    output::print_table(table)
}
