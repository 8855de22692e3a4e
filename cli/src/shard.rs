//! `skv shard`: changes of a single shard.

use clap::ValueHint;
use skv_sharding::{GroupId, ShardId};

use crate::completions;
use crate::outcome::Outcome;
use crate::resharding::{self, Change, EXIT_CODES, Flags};
use crate::target::Target;

/// Pin a shard to a group, or take the pin back.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Move a shard to a group, and keep it there until it is unpinned.
    ///
    /// Other shards move so that the groups stay as even as the pins allow.
    #[command(after_help = format!("{EXIT_CODES}

Examples:
  skv shard move 7 g2 --dry-run
  skv shard move 7 g2
"))]
    Move {
        /// The shard, counted from 0.
        #[arg(value_hint = ValueHint::Other)]
        shard: u32,
        /// The group, such as g0.
        #[arg(add = completions::groups())]
        group: GroupId,
        #[command(flatten)]
        flags: Flags,
    },
    /// Let a shard be wherever it is best.
    #[command(after_help = format!("{EXIT_CODES}

Example:
  skv shard unpin 7
"))]
    Unpin {
        /// The shard, counted from 0.
        #[arg(value_hint = ValueHint::Other)]
        shard: u32,
        #[command(flatten)]
        flags: Flags,
    },
}

pub(crate) async fn run(target: &Target, command: Command) -> anyhow::Result<Outcome> {
    let (change, flags) = match command {
        Command::Move { shard, group, flags } => (Change::Move(ShardId(shard), group), flags),
        Command::Unpin { shard, flags } => (Change::Unpin(ShardId(shard)), flags),
    };
    resharding::run(target, &change, &flags).await
}
