//! `skv map`.
//!
//! - `current`: the map as it is now; `configuration`: one of the history
//! - `watch`: each change of the map; `difference`: the content of a change (pure)

mod configuration;
mod current;
mod difference;
mod watch;

use clap::ValueHint;

use crate::manager;
use crate::outcome::Outcome;
use crate::output::Output;
use crate::target::Target;

/// Show which group owns which shards.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Words of the table:
  EPOCHS    numbers of the shards' ownerships: each handoff makes the next one
  drained   of a group that was removed: it owns nothing, and can be added again

A configuration says where the shards are wanted; each change makes the next one. The revision of the map rises \
with everything that the shard manager writes down.

Examples:
  skv map                   which group owns which shards now
  skv map --watch           and then each change of it, until Ctrl-C
  skv map --watch -o json   each change as a line of JSON, for programs
  skv map --config 3        which group was to own which shards
")]
pub(crate) struct Args {
    /// Show what changes, from now on.
    #[arg(long, short)]
    watch: bool,
    /// Show a configuration of the history; 0 is the empty one.
    #[arg(long, value_name = "N", conflicts_with = "watch", value_hint = ValueHint::Other)]
    config: Option<u64>,
    #[command(flatten)]
    output: Output,
}

pub(crate) async fn run(target: &Target, args: &Args) -> anyhow::Result<Outcome> {
    let format = args.output.format;
    if args.watch {
        return watch::run(target, format).await;
    }
    if args.config.is_some() {
        return configuration::show(&manager::configuration(target, args.config).await?, format);
    }
    let map = target.shard_map().await?;
    current::show(&map, target.local_store().map(|local| local.name).as_deref(), format)
}
