//! `skv apply`: has a store that runs on this machine follow its changed manifest.

use serde_json::Value;

use super::record::Shape;
use super::screen::Screen;
use super::source::{Described, Source};
use super::{scale, settings};
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
  skv apply -f store.yaml --data-dir DIR   of the store that `skv up --data-dir DIR` runs
")]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
}

pub(crate) async fn run(target: &Target, args: Args) -> anyhow::Result<()> {
    let Described { resource, path, .. } = args.source.read()?;
    let record = scale::running(&path)?;
    record.shape.must_equal(&Shape::of(&resource), &path)?;
    anyhow::ensure!(
        record.settings != Value::Null,
        "{} was started by an older skv: stop it with `skv down`, and start it with `skv up -f FILE`",
        record.shape.name
    );
    settings::must_equal(&record.settings, &settings::of(&resource)?)?;
    let screen = Screen::new(true);
    if !scale::run_until_stopped(&path, resource.spec.groups, target.timeout(), &screen).await? {
        let count = record.groups().len();
        output::say(format_args!("nothing to do: the number of groups of {} is {count}", record.shape.name))?;
    }
    Ok(())
}
