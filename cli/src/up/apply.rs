//! `skv apply`: has a store that runs on this machine follow its changed manifest.

use serde::Serialize;
use serde_json::Value;
use skv_local::record::Shape;
use skv_local::screen::Screen;
use skv_local::source::{Described, Source};
use skv_local::{settings, stores};
use skv_sharding::GroupId;

use super::{preview, scale};
use crate::output::{self, Format, Output};
use crate::target::Target;

/// Give a store that `skv up` runs on this machine the number of groups in its manifest.
///
/// New groups get servers, join, and take over shards; groups that are too many give theirs to
/// the others, and are removed with their servers and data once they are empty. All of it goes on
/// while the store is used. First go groups that were drained with `skv group remove`, then the
/// highest numbers. A ring stays as it is: its groups are as many as its shards.
///
/// Without an option the store is the one of the manifest's name.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 the store has the groups that are asked for, 1 failed, or stopped by Ctrl-C. Whatever \
ended it, the same command again goes on from there.

Examples:
  skv apply -f store.yaml --dry-run        what would come and go
  skv apply -f store.yaml                  after a change of spec.groups
  skv apply -f store.yaml --data-dir DIR   one of several stores of this name
")]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// Change nothing: show which groups would come and go.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Applied {
    name: String,
    groups: Vec<GroupId>,
    /// False if there was nothing to do.
    changed: bool,
}

pub(crate) async fn run(target: &Target, args: Args) -> anyhow::Result<()> {
    let Described { resource, .. } = args.source.read()?;
    let path =
        if target.is_named() { target.local()?.data_dir } else { stores::started(&resource.metadata.name)? };
    let record = scale::running(&path)?;
    record.shape.must_equal(&Shape::of(&resource), &path)?;
    anyhow::ensure!(
        record.settings != Value::Null,
        "{} was started by an older skv: stop it with `skv down`, and start it with `skv up -f FILE`",
        record.shape.name
    );
    settings::must_equal(&record.settings, &settings::of(&resource)?)?;
    let (groups, patience, format) = (resource.spec.groups, target.timeout(), args.output.format);
    if args.dry_run {
        return preview::show(&path, groups, patience, format).await;
    }
    let screen = Screen::new(output::this_command(), true, format.progress());
    let changed = scale::run_until_stopped(&path, groups, patience, &screen).await?;
    // An earlier run may have been killed: the number of before says nothing.
    let groups = scale::running(&path)?.groups();
    match format {
        Format::Json => {
            let (name, groups) = (record.shape.name, groups.into_iter().collect());
            output::print_json(&Applied { name, groups, changed })
        }
        Format::Text if !changed => output::say(format_args!(
            "nothing to do: the number of groups of {} is {}",
            record.shape.name,
            groups.len()
        )),
        Format::Text => Ok(()),
    }
}
