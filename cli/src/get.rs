//! `skv get`.

use serde::Serialize;

use crate::outcome::Outcome;
use crate::output::{self, Format, Output, Text};
use crate::target::Target;

/// Print the value of a key.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 found, 2 no such key, 1 failed.

Examples:
  skv get greeting
  skv get greeting -o json     with its revision
  skv get picture > picture.png
")]
pub(crate) struct Args {
    /// The key.
    #[arg(allow_negative_numbers = true)]
    key: String,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Got {
    key: String,
    found: bool,
    revision: u64,
    #[serde(flatten)]
    value: Text,
}

pub(crate) async fn run(target: &Target, args: Args) -> anyhow::Result<Outcome> {
    let answer = target.clerk()?.get(args.key.clone()).await?;
    if args.output.format == Format::Json {
        let value = Text::from(&answer.value[..]);
        output::print_json(&Got { key: args.key, found: answer.found, revision: answer.revision.0, value })?;
    } else if answer.found {
        output::print_value(&answer.value)?;
    }
    Ok(if answer.found { Outcome::Done } else { Outcome::NoSuchKey })
}
