//! `skv status`.
//!
//! - `document`: what is shown; `table`: as people read it

mod document;
mod table;

use std::collections::HashMap;
use std::time::Duration;

use skv_local::data_dir::read_record;
use skv_local::process::ProcessId;
use skv_local::screen::Stream;
use skv_sharding::ClusterId;
use tokio::time::sleep;

use self::document::{Group, Status, Store};
use crate::admin;
use crate::complaint;
use crate::outcome::Outcome;
use crate::output::{self, Format, Output};
use crate::target::Target;
use crate::watching::{CLEAR, Watching, clears, until_ctrl_c};

/// Show every group and replica, and how they are.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 all replicas are ready, 1 not all are.

  SHARDS    shards that the group owns
  STATE     leader, follower, learner (receives the log, has no vote),
            candidate, waiting (for its place in a group), broken (only a person
            can help), stopped, unreachable
  READY     it can serve, or vote and follow
  TERM      the number of elections that its group has seen
  APPLIED   entries of the log in its state: an entry holds many operations
  LOG       bytes of the log on disk; older entries go when a snapshot has what
            they did
  SESSIONS  clerks whose last answers are kept, so that a request that is sent
            again isn't applied again

Examples:
  skv status
  skv status --watch              again and again, until Ctrl-C
  skv status -o json
  skv --store quickstart status   of another store
")]
pub(crate) struct Args {
    #[command(flatten)]
    watching: Watching,
    #[command(flatten)]
    output: Output,
}

pub(crate) async fn run(target: &Target, args: &Args) -> anyhow::Result<Outcome> {
    match args.watching.watch {
        None => show(target, args.output.format).await,
        Some(every) => until_ctrl_c(watch(target, args.output.format, every)).await,
    }
}

async fn watch(target: &Target, format: Format, every: Duration) -> anyhow::Result<Outcome> {
    let clears = clears(format);
    loop {
        // What can't be reached now may be back soon; a reader that is gone won't.
        let (note, page) = match look(target, format).await {
            Ok(look) => (look.note, look.page),
            Err(error) => (Some(format!("error: {}", complaint::text(&error))), String::new()),
        };
        print(note, &page, clears)?;
        sleep(every).await;
    }
}

/// Returns the status as it is printed for programs.
pub(crate) async fn as_json(target: &Target) -> anyhow::Result<String> {
    Ok(look(target, Format::Json).await?.page)
}

async fn show(target: &Target, format: Format) -> anyhow::Result<Outcome> {
    let Look { note, page, outcome } = look(target, format).await?;
    print(note, &page, false)?;
    Ok(outcome)
}

/// Prints a page at once; a note about it goes to standard error, but into a page that takes the place of
/// another.
fn print(note: Option<String>, page: &str, clears: bool) -> anyhow::Result<()> {
    if clears {
        return output::print_bytes(in_place(note, page).as_bytes());
    }
    if let Some(note) = note {
        output::say_on(Stream::Err, note);
    }
    output::print_bytes(page.as_bytes())
}

fn in_place(note: Option<String>, page: &str) -> String {
    let note = note.map_or_else(String::new, |note| format!("{note}\n"));
    format!("{CLEAR}{note}{page}")
}

/// The status as it is printed.
struct Look {
    note: Option<String>,
    page: String,
    outcome: Outcome,
}

async fn look(target: &Target, format: Format) -> anyhow::Result<Look> {
    let (map, note) = target.shard_map_with_note().await?;
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
    let page = match format {
        Format::Json => serde_json::to_string_pretty(&status)?,
        Format::Text => table::lines(&status).join("\n"),
    };
    let all_ready = status.groups.iter().all(|group| group.quorum && group.replicas.iter().all(|r| r.ready));
    let outcome = if all_ready && !status.groups.is_empty() { Outcome::Done } else { Outcome::Failed };
    Ok(Look { note, page: page + "\n", outcome })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_takes_the_place_of_another_has_the_note_about_it() {
        let note = Some("the shard manager is away".to_owned());
        assert_eq!(in_place(note, "status\n"), "\x1b[H\x1b[2Jthe shard manager is away\nstatus\n");
        assert_eq!(in_place(None, "status\n"), "\x1b[H\x1b[2Jstatus\n");
    }
}
