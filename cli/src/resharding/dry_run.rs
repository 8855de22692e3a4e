//! The output of `--dry-run`: the moves from group to group, their size, and the expected duration.

use std::collections::BTreeMap;

use comfy_table::CellAlignment;
use serde::Serialize;
use skv_sharding::{GroupId, ShardId};

use super::change::{Change, Pinning};
use super::estimate::{self, BYTES_PER_SECOND};
use super::follow;
use super::moves::{Move, Moves};
use super::screen::to_move;
use crate::manager;
use crate::outcome::Outcome;
use crate::output::{self, Format};
use crate::target::Target;
use crate::{duration, shards};

#[derive(Serialize)]
struct Plan<'a> {
    dry_run: bool,
    /// The configuration that the change would make.
    configuration: u64,
    keys: Option<u64>,
    bytes: Option<u64>,
    /// An estimate; `null` if a size isn't known.
    expected_seconds: Option<f64>,
    moves: Vec<&'a Move>,
    #[serde(flatten)]
    pinning: Pinning,
}

/// All moves between the same two groups.
#[derive(Debug, Default, PartialEq, Eq)]
struct Row {
    shards: Vec<ShardId>,
    /// `None` if a shard's size isn't known.
    keys: Option<u64>,
    bytes: Option<u64>,
}

pub(super) async fn show(
    target: &Target,
    change: &Change,
    configuration: u64,
    mut moves: Moves,
    pinning: Pinning,
    format: Format,
) -> anyhow::Result<Outcome> {
    let (mut silent, mut is_made) = (Vec::new(), false);
    if !moves.is_empty() {
        let map = manager::shard_map(target).await?;
        is_made = map.configuration >= configuration;
        silent = follow::hear(target, &map, &mut moves).await;
    }
    match format {
        Format::Json => output::print_json(&Plan {
            dry_run: true,
            configuration,
            keys: moves.iter().map(|known| known.keys).sum(),
            bytes: moves.bytes(),
            expected_seconds: estimate::expected(moves.iter()).map(|time| time.as_secs_f64()),
            moves: moves.iter().collect(),
            pinning,
        })?,
        Format::Text if moves.is_empty() => {
            output::say(change.nothing_to_move(target, &pinning, true).await?)?;
        }
        Format::Text => {
            let when = if is_made { "which is under way" } else { "if it is made" };
            output::say(format_args!("configuration {configuration}, {when}: {}", to_move(&moves)))?;
            print(&moves)?;
            for problem in silent {
                output::say(format_args!("not all sizes are known: {problem:#}"))?;
            }
        }
    }
    Ok(Outcome::Done)
}

/// Returns the moves from each group to each other.
fn rows(moves: &Moves) -> BTreeMap<(GroupId, GroupId), Row> {
    let mut rows: BTreeMap<(GroupId, GroupId), Row> = BTreeMap::new();
    for Move { shard, source, target, keys, bytes, .. } in moves.iter() {
        let row = rows.entry((*source, *target)).or_insert_with(|| Row {
            shards: Vec::new(),
            keys: Some(0),
            bytes: Some(0),
        });
        row.shards.push(*shard);
        row.keys = row.keys.zip(*keys).map(|(sum, keys)| sum + keys);
        row.bytes = row.bytes.zip(*bytes).map(|(sum, bytes)| sum + bytes);
    }
    rows
}

fn print(moves: &Moves) -> anyhow::Result<()> {
    let unknown = || "unknown".to_owned();
    let keys = |keys: Option<u64>| keys.map_or_else(unknown, |keys| keys.to_string());
    let bytes = |bytes: Option<u64>| bytes.map_or_else(unknown, output::bytes);
    let mut table = output::table(["FROM", "TO", "SHARDS", "KEYS", "DATA", "WHICH"]);
    for column in 2..=4 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let rows = rows(moves);
    for ((source, target), row) in &rows {
        table.add_row([
            source.to_string(),
            target.to_string(),
            row.shards.len().to_string(),
            keys(row.keys),
            bytes(row.bytes),
            shards::list(row.shards.iter().copied()),
        ]);
    }
    if rows.len() > 1 {
        let all_keys = moves.iter().map(|known| known.keys).sum();
        let sums = [moves.len().to_string(), keys(all_keys), bytes(moves.bytes()), String::new()];
        table.add_row(["all".to_owned(), String::new()].into_iter().chain(sums));
    }
    output::print_table(table)?;
    if let Some(expected) = estimate::expected(moves.iter()) {
        output::say(format_args!(
            "It takes {} at {} a second, which is what servers send at most unless told otherwise.",
            duration::about(expected),
            output::bytes(BYTES_PER_SECOND)
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use skv_proto::v1::shard_status::State;

    use super::*;
    use crate::resharding::moves::tests::{planned, says};

    #[test]
    fn moves_between_the_same_groups_are_one_row() {
        let mut moves = Moves::new(&[planned(0, 0, 2), planned(1, 0, 2), planned(2, 1, 2), planned(3, 0, 1)]);
        let of_g0 = [0, 1, 3].map(|shard| says(shard, State::Served, 2, 100));
        moves.hear(GroupId(0), &of_g0);
        let row = |shards: &[u32], keys, bytes| Row {
            shards: shards.iter().copied().map(ShardId).collect(),
            keys,
            bytes,
        };
        let expected = [
            ((GroupId(0), GroupId(1)), row(&[3], Some(2), Some(100))),
            ((GroupId(0), GroupId(2)), row(&[0, 1], Some(4), Some(200))),
            ((GroupId(1), GroupId(2)), row(&[2], None, None)),
        ];
        assert_eq!(rows(&moves), BTreeMap::from(expected));
    }
}
