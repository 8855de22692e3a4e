//! `skv put`.

use serde::Serialize;
use skv_sharding::Revision;

use crate::outcome::Outcome;
use crate::output::{self, Format, Output};
use crate::target::Target;
use crate::value;

/// Set a key to a value.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  skv put greeting hello
  skv put picture @picture.png         the content of a file
  date | skv put now -                 standard input
  skv put lock me --if-revision 0      only if there is no such key
")]
pub(crate) struct Args {
    /// The key.
    #[arg(allow_negative_numbers = true)]
    key: String,
    /// The value; @FILE reads it from a file, - from standard input.
    #[arg(allow_negative_numbers = true)]
    value: String,
    /// Only if the key has this revision; 0 = only if there is no such key.
    #[arg(long, value_name = "N")]
    if_revision: Option<u64>,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Put {
    success: bool,
    revision: u64,
}

pub(crate) async fn run(target: &Target, args: Args) -> anyhow::Result<Outcome> {
    let (clerk, value) = (target.clerk()?, value::read(args.value)?);
    let answer = match args.if_revision {
        Some(revision) => clerk.put_if(args.key, value, Revision(revision)).await?,
        None => clerk.put(args.key, value).await?,
    };
    match args.output.format {
        Format::Json => output::print_json(&Put { success: answer.success, revision: answer.revision.0 })?,
        Format::Text if answer.success => output::say(format_args!("revision {}", answer.revision))?,
        Format::Text => output::say(not_changed(answer.revision))?,
    }
    Ok(if answer.success { Outcome::Done } else { Outcome::ConditionFailed })
}

/// Explains a failed condition.
pub(crate) fn not_changed(revision: Revision) -> String {
    match revision {
        Revision(0) => "not changed: there is no such key".to_owned(),
        revision => format!("not changed: the key has revision {revision}"),
    }
}
