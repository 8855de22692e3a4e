//! `skv use`.

use skv_local::home::{self, Entry};
use skv_local::screen::Stream;
use skv_local::stores::{self, Choice};

use crate::completions;
use crate::outcome::Outcome;
use crate::output;
use crate::target::{self, Target};

/// Choose the store that commands use if they name none.
///
/// `skv up` chooses the store that it starts.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  skv use quickstart
  skv use --data-dir /srv/store
  skv use                         which one it is now
")]
pub(crate) struct Args {
    /// The name of the store: `skv stores` lists them.
    #[arg(add = completions::stores())]
    name: Option<String>,
}

pub(crate) fn run(target: &Target, args: Args) -> anyhow::Result<Outcome> {
    let chosen = match (args.name, target.data_dir()) {
        (Some(_), Some(_)) => anyhow::bail!("a name and --data-dir each name a store: give one of them"),
        (Some(name), None) => Some(stores::locate(Choice::Name(&name))?),
        (None, Some(path)) => Some(stores::locate(Choice::Directory(&path))?),
        (None, None) => None,
    };
    let Entry { name, data_dir } = match chosen {
        Some(entry) => {
            stores::remember(&entry)?;
            home::set_current(&entry)?;
            entry
        }
        None => stores::locate(Choice::Current)?,
    };
    output::say(format_args!("commands that name no store use {name} in {}", data_dir.display()))?;
    for variable in target::variables_set() {
        output::say_on(
            Stream::Err,
            format_args!("as long as {variable} is set, they use the store that it names: unset it"),
        );
    }
    Ok(Outcome::Done)
}
