//! `skv status`.
//!
//! - `document`: what is shown; `table`: as people read it

mod document;
mod table;

use std::collections::HashMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use clap::ValueHint;
use skv_local::data_dir::read_record;
use skv_local::process::ProcessId;
use skv_sharding::ClusterId;
use tokio::time::sleep;

use self::document::{Group, Status, Store};
use crate::admin;
use crate::outcome::Outcome;
use crate::output::{self, Format, Output};
use crate::target::Target;
use crate::{complaint, duration};

/// Show every group and replica, and how they are.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 all replicas are ready, 1 not all are.

  SHARDS    shards that the group owns
  STATE     leader, follower, learner (receives the log, has no vote), candidate, waiting (for its place in a
            group), quarantined (its damaged files are kept), unreachable
  READY     it can serve, or vote and follow
  TERM      the number of elections that its group has seen
  APPLIED   entries of the log that are in its state: an entry holds many operations
  LOG       bytes of the log on disk; older entries go when a snapshot has what they did
  SESSIONS  clerks whose last answers are kept, so that a request that is sent again isn't applied again

Examples:
  skv status
  skv status --watch             again and again, until Ctrl-C
  skv status -o json
  skv --store quickstart status  of another store than the one that commands use
")]
pub(crate) struct Args {
    /// Show it again after this time [default: 2s], until Ctrl-C.
    #[arg(long, short, value_name = "TIME", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "2s", value_parser = duration::positive, value_hint = ValueHint::Other)]
    watch: Option<Duration>,
    #[command(flatten)]
    output: Output,
}

pub(crate) async fn run(target: &Target, args: &Args) -> anyhow::Result<Outcome> {
    match args.watch {
        None => show(target, args.output.format).await,
        Some(every) => {
            tokio::select! {
                failed = watch(target, args.output.format, every) => failed,
                stopped = tokio::signal::ctrl_c() => Ok(stopped.map(|()| Outcome::Done)?),
            }
        }
    }
}

async fn watch(target: &Target, format: Format, every: Duration) -> anyhow::Result<Outcome> {
    loop {
        if io::stdout().is_terminal() && format == Format::Text {
            write!(io::stdout(), "\x1b[H\x1b[2J")?;
        }
        // What can't be reached now may be back soon; a reader that is gone won't.
        if let Err(error) = show(target, format).await {
            if error.downcast_ref::<io::Error>().is_some() {
                return Err(error);
            }
            writeln!(io::stderr(), "error: {}", complaint::text(&error))?;
        }
        sleep(every).await;
    }
}

async fn show(target: &Target, format: Format) -> anyhow::Result<Outcome> {
    let map = target.shard_map().await?;
    let members = admin::members_at_a_glance(target, &map).await;
    let local = target.local_store();
    let record = local.as_ref().and_then(|local| read_record(&local.data_dir).ok().flatten());
    let processes = record.into_iter().flat_map(|record| record.members);
    let pids: HashMap<String, u32> = processes
        .filter_map(|member| Some((member.name, member.process.filter(ProcessId::is_alive)?.pid)))
        .collect();
    let mut groups: Vec<Group> =
        map.groups.iter().map(|group| Group::new(&map, group, &members, &pids)).collect();
    groups.sort_by_key(|group| group.id);
    let status = Status {
        store: local.map(|local| Store {
            name: local.name,
            data_dir: local.data_dir,
            manager_address: local.manager,
        }),
        cluster: ClusterId(map.cluster_id),
        configuration: map.configuration,
        shards: map.shards,
        groups,
    };
    match format {
        Format::Json => output::print_json(&status)?,
        Format::Text => table::print(&status)?,
    }
    let all_ready = status.groups.iter().all(|group| group.quorum && group.replicas.iter().all(|r| r.ready));
    Ok(if all_ready && !status.groups.is_empty() { Outcome::Done } else { Outcome::Failed })
}
