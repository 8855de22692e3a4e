//! `skv get`.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use super::key;
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
  skv get --hex ff00           a key that isn't text
")]
pub(crate) struct Args {
    #[command(flatten)]
    key: key::Key,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Got {
    #[serde(flatten)]
    key: output::Key,
    found: bool,
    revision: u64,
    #[serde(flatten)]
    value: Text,
}

pub(crate) async fn run(target: &Target, args: Args) -> anyhow::Result<Outcome> {
    let key = args.key.read()?;
    let answer = target.clerk().await?.get(key.clone()).await.map_err(|error| target.failed(error))?;
    if args.output.format == Format::Json {
        let (key, value) = (key[..].into(), Text::from(&answer.value[..]));
        output::print_json(&Got { key, found: answer.found, revision: answer.revision.0, value })?;
    } else if answer.found {
        output::print_value(&answer.value)?;
    } else if io::stdout().is_terminal() {
        let _ = writeln!(io::stderr(), "no such key");
    }
    Ok(if answer.found { Outcome::Done } else { Outcome::NoSuchKey })
}
