//! `skv delete`.

use serde::Serialize;
use skv_sharding::Revision;

use crate::outcome::Outcome;
use crate::output::{self, Format, Output};
use crate::put::not_changed;
use crate::target::Target;

/// Remove a key.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 removed, 2 no such key, 3 the condition failed, 1 failed.")]
pub(crate) struct Args {
    /// The key.
    #[arg(allow_negative_numbers = true)]
    key: String,
    /// Only if the key has this revision.
    #[arg(long, value_name = "N")]
    if_revision: Option<u64>,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Deleted {
    success: bool,
    found: bool,
    revision: u64,
}

pub(crate) async fn run(target: &Target, args: Args) -> anyhow::Result<Outcome> {
    let clerk = target.clerk()?;
    let answer = match args.if_revision {
        Some(revision) => clerk.delete_if(args.key, Revision(revision)).await?,
        None => clerk.delete(args.key).await?,
    };
    let (success, found, revision) = (answer.success, answer.found, answer.revision.0);
    match args.output.format {
        Format::Json => output::print_json(&Deleted { success, found, revision })?,
        Format::Text if !success => output::say(not_changed(answer.revision))?,
        Format::Text if found => output::say("deleted")?,
        Format::Text => output::say("no such key")?,
    }
    Ok(match (success, found) {
        (false, _) => Outcome::ConditionFailed,
        (true, true) => Outcome::Done,
        (true, false) => Outcome::NoSuchKey,
    })
}
