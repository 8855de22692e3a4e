//! `skv delete`.

use clap::ValueHint;
use serde::Serialize;
use skv_sharding::Revision;

use super::key;
use super::put::not_changed;
use crate::outcome::Outcome;
use crate::output::{self, Format, Output};
use crate::target::Target;

/// Remove a key.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 removed, 2 no such key, 3 the condition failed, 1 failed.

Examples:
  skv delete greeting
  skv delete lock --if-revision 7   only if nobody has changed it since
")]
pub(crate) struct Args {
    #[command(flatten)]
    key: key::Key,
    /// Only if the key has this revision.
    #[arg(long, value_name = "N", value_hint = ValueHint::Other)]
    if_revision: Option<u64>,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Deleted {
    #[serde(flatten)]
    key: output::Key,
    success: bool,
    found: bool,
    revision: u64,
}

pub(crate) async fn run(target: &Target, args: Args) -> anyhow::Result<Outcome> {
    let key = args.key.read()?;
    let clerk = target.clerk().await?;
    let answer = match args.if_revision {
        Some(revision) => clerk.delete_if(key.clone(), Revision(revision)).await,
        None => clerk.delete(key.clone()).await,
    };
    let answer = answer.map_err(|error| target.failed(error))?;
    let (success, found, revision) = (answer.success, answer.found, answer.revision.0);
    output::even_unread(match args.output.format {
        Format::Json => output::print_json(&Deleted { key: key[..].into(), success, found, revision }),
        Format::Text if !success => output::say(not_changed(answer.revision)),
        Format::Text if found => output::say("deleted"),
        Format::Text => output::say("no such key"),
    })?;
    Ok(match (success, found) {
        (false, _) => Outcome::ConditionFailed,
        (true, true) => Outcome::Done,
        (true, false) => Outcome::NoSuchKey,
    })
}
