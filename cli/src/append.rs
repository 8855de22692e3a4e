//! `skv append`.

use serde::Serialize;

use crate::outcome::Outcome;
use crate::output::{self, Format, Output, Text};
use crate::target::Target;
use crate::value;

/// Add to the end of a key's value, and print the value before.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A missing key counts as empty.

Examples:
  skv append greeting ', world'
  skv append log @today.log
")]
pub(crate) struct Args {
    /// The key.
    #[arg(allow_negative_numbers = true)]
    key: String,
    /// The text to append; @FILE reads it from a file, - from standard input.
    #[arg(allow_negative_numbers = true)]
    value: String,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Appended {
    found: bool,
    revision: u64,
    old: Text,
}

pub(crate) async fn run(target: &Target, args: Args) -> anyhow::Result<Outcome> {
    let (clerk, value) = (target.clerk()?, value::read(args.value)?);
    let answer = clerk.append(args.key, value).await?;
    match args.output.format {
        Format::Json => {
            let old = Text::from(&answer.old_value[..]);
            output::print_json(&Appended { found: answer.found, revision: answer.revision.0, old })?;
        }
        Format::Text => output::print_value(&answer.old_value)?,
    }
    Ok(Outcome::Done)
}
