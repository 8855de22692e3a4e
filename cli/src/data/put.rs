//! `skv put`.

use std::ffi::OsString;

use clap::ValueHint;
use serde::Serialize;
use skv_sharding::Revision;

use super::{key, value};
use crate::outcome::Outcome;
use crate::output::{self, Format, Output};
use crate::target::Target;

/// Set a key to a value.
///
/// The revision that is printed is for --if-revision: it is another one after each change of the key. Keys
/// of the same shard count their revisions together, so that it may rise by more than 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 done, 3 the condition of --if-revision failed, 1 failed.

Examples:
  skv put greeting hello
  skv put picture @picture.png         the content of a file
  date | skv put now -                 standard input
  skv put lock me --if-revision 0      only if there is no such key
  skv put --hex ff00 value             a key that isn't text
")]
pub(crate) struct Args {
    #[command(flatten)]
    key: key::Key,
    /// The value; @FILE reads it from a file, - from standard input.
    #[arg(allow_negative_numbers = true, value_hint = ValueHint::Other)]
    value: OsString,
    /// Only if the key has this revision; 0 = only if there is no such key.
    #[arg(long, value_name = "N", value_hint = ValueHint::Other)]
    if_revision: Option<u64>,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Put {
    #[serde(flatten)]
    key: output::Key,
    success: bool,
    revision: u64,
}

pub(crate) async fn run(target: &Target, args: Args) -> anyhow::Result<Outcome> {
    let (key, value) = (args.key.read()?, value::read(args.value)?);
    let clerk = target.clerk().await?;
    let answer = match args.if_revision {
        Some(revision) => clerk.put_if(key.clone(), value, Revision(revision)).await,
        None => clerk.put(key.clone(), value).await,
    };
    let answer = answer.map_err(|error| target.failed(error))?;
    let (success, revision) = (answer.success, answer.revision);
    output::even_unread(match args.output.format {
        Format::Json => output::print_json(&Put { key: key[..].into(), success, revision: revision.0 }),
        Format::Text if success => output::say(format_args!("revision {revision}")),
        Format::Text => output::say(not_changed(revision)),
    })?;
    Ok(if success { Outcome::Done } else { Outcome::ConditionFailed })
}

/// Returns the revision of a key whose condition failed, for people.
pub(super) fn not_changed(revision: Revision) -> String {
    match revision {
        Revision(0) => "not changed: there is no such key".to_owned(),
        revision => format!("not changed: the key has revision {revision}"),
    }
}
