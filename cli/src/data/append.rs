//! `skv append`.

use std::ffi::OsString;

use clap::ValueHint;
use serde::Serialize;

use super::{key, value};
use crate::outcome::Outcome;
use crate::output::{self, Format, Output, Text};
use crate::target::Target;

/// Add to the end of a key's value, and print the value before.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A missing key counts as empty.

Examples:
  skv append greeting ', world'
  skv append log @today.log
")]
pub(crate) struct Args {
    #[command(flatten)]
    key: key::Key,
    /// The text to append; @FILE reads it from a file, - from standard input.
    #[arg(allow_negative_numbers = true, value_hint = ValueHint::Other)]
    value: OsString,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Appended {
    #[serde(flatten)]
    key: output::Key,
    found: bool,
    revision: u64,
    old: Text,
}

pub(crate) async fn run(target: &Target, args: Args) -> anyhow::Result<Outcome> {
    let (key, value) = (args.key.read()?, value::read(args.value)?);
    let answer = target.clerk().await?.append(key.clone(), value).await;
    let answer = answer.map_err(|error| target.failed(error))?;
    match args.output.format {
        Format::Json => {
            let (key, old) = (key[..].into(), Text::from(&answer.old_value[..]));
            output::print_json(&Appended { key, found: answer.found, revision: answer.revision.0, old })?;
        }
        Format::Text => output::print_value(&answer.old_value)?,
    }
    Ok(Outcome::Done)
}
