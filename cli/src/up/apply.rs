//! `skv apply`: has a store that runs on this machine follow its changed manifest.

use std::path::PathBuf;

use serde_json::Value;
use skv_local::record::Shape;
use skv_local::screen::Screen;
use skv_local::source::{Described, Source};
use skv_local::{home, settings};

use super::scale;
use crate::output;
use crate::target::Target;

/// Give a store that `skv up` runs on this machine the number of groups in its manifest.
///
/// New groups get servers, join, and take over shards; groups that are too many give theirs to
/// the others, and are removed with their servers and data once they are empty. All of it goes on
/// while the store is used. First go groups that were drained with `skv groups remove`, then the
/// highest numbers. A ring stays as it is: its groups are as many as its shards.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 the store has the groups that are asked for, 1 failed, or stopped by Ctrl-C. Whatever \
ended it, the same command again goes on from there.

Examples:
  skv apply -f store.yaml                  after a change of spec.groups
  skv apply -f store.yaml --data-dir DIR   of a store that wasn't started last
")]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// The store's data directory [default: that of the last `skv up`, if it was of this manifest's
    /// name, else ~/.local/share/skv/NAME].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

pub(crate) async fn run(target: &Target, args: Args) -> anyhow::Result<()> {
    let Described { resource, .. } = args.source.read()?;
    let path = match args.data_dir {
        Some(path) => path,
        None => home::started(&resource.metadata.name)?,
    };
    let record = scale::running(&path)?;
    record.shape.must_equal(&Shape::of(&resource), &path)?;
    anyhow::ensure!(
        record.settings != Value::Null,
        "{} was started by an older skv: stop it with `skv down`, and start it with `skv up -f FILE`",
        record.shape.name
    );
    settings::must_equal(&record.settings, &settings::of(&resource)?)?;
    let screen = Screen::new(output::this_command(), true);
    if !scale::run_until_stopped(&path, resource.spec.groups, target.timeout(), &screen).await? {
        let count = record.groups().len();
        output::say(format_args!("nothing to do: the number of groups of {} is {count}", record.shape.name))?;
    }
    Ok(())
}
