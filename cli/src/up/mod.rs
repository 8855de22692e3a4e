//! `skv up`, `skv apply` and `skv down` for a `ShardedKV` manifest as processes on this machine.
//!
//! `skv_local` starts and stops the processes, and remembers them in a data directory. It has those
//! groups run that `wanted.json` names, which `skv apply` writes; `skv apply` alone decides, and
//! asks the shard manager and the servers for all else. A start has the groups that exist run, and
//! then gives the store the manifest's number of groups in the same way.
//!
//! - `detach`: the supervisor in the background; `ends`: why processes don't run that ought to
//! - `apply`: the command; `turnover`: the next step to other groups (pure); `scale`: takes it;
//!   `preview`: what it would come to
//! - `down`: stops the store in a data directory

pub(crate) mod apply;
mod detach;
pub(crate) mod down;
mod ends;
mod preview;
mod scale;
mod turnover;

use anyhow::Context as _;
use clap::ValueHint;
use skv_local::binaries::Binaries;
use skv_local::data_dir::{DataDir, read_record};
use skv_local::home::{self, Entry};
use skv_local::screen::Screen;
use skv_local::source::{Described, Source};
use skv_local::{prepare, supervise, unused};

use crate::machine::stores::Store;
use crate::output::{self, Format, Output};
use crate::target::Target;

/// Run a ShardedKV manifest as processes on this machine.
///
/// A store that exists is started with the groups it has, and then given the number of groups in
/// the manifest; `skv apply` does that to a store that runs. Its name is metadata.name; data, logs and
/// ports are kept in the directory of --data-dir [default: ~/.local/share/skv/NAME].
///
/// The number of groups may change later, and the settings under spec.server and spec.tuning; all else,
/// such as the number of replicas and of shards, stays as it was at first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 it runs, or was stopped by Ctrl-C or `skv down`; 1 failed.

Examples:
  skv up -f deploy/samples/quickstart.yaml            until Ctrl-C
  skv up -f deploy/samples/quickstart.yaml --detach   in the background
  skv up -f store.yaml --data-dir /srv/store -d
")]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// Go on in the background once everything is ready.
    #[arg(long, short)]
    detach: bool,
    /// Use this port of 127.0.0.1 and those after it: one after the other for each process, in the order of
    /// the table that is shown [default: free ones, which stay the same].
    #[arg(long, value_name = "PORT", value_hint = ValueHint::Other)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    first_port: Option<u16>,
    /// Be the background process of --detach.
    #[arg(long, hide = true, conflicts_with = "detach")]
    supervise: bool,
    #[command(flatten)]
    output: Output,
}

/// Runs until it is ordered to stop; with `--detach` until everything is ready.
pub(crate) async fn run(target: &Target, args: Args) -> anyhow::Result<()> {
    if args.supervise {
        // A session of its own: signals of the terminal no longer reach it.
        rustix::process::setsid().context("can't leave the terminal's session")?;
    }
    let Described { manifest, resource } = args.source.read()?;
    let path = match target.data_dir() {
        Some(path) => path,
        None => home::data_dir(&resource.metadata.name)?,
    };
    let binaries = Binaries::find()?;
    let (groups, patience, format) = (resource.spec.groups, target.timeout(), args.output.format);
    let screen = Screen::new(output::this_command(), args.supervise || args.detach, format.progress());
    let unused = unused::fields(&resource);
    if !unused.is_empty() && !args.supervise {
        screen.say(&format!("only obeyed on Kubernetes, and left out here: {}", unused.join(", ")));
    }
    if args.detach {
        let start = detach::Start { manifest: &manifest, path: &path, first_port: args.first_port };
        let dir = detach::run(&start, groups, patience, &screen).await?;
        return print(&dir, format);
    }
    let dir = DataDir::open(&path)?;
    let record = prepare(&dir, &resource, args.first_port, &screen).await?;
    let path = dir.path().to_owned();
    let when_ready = async {
        // The process that started this one does this in the background, and shows it.
        if !args.supervise {
            Box::pin(scale::run(&path, groups, patience, None, format.progress())).await?;
            output::even_unread(print(&path, format))?;
        }
        Ok(())
    };
    supervise::run(dir, record, &resource, &binaries, &screen, when_ready).await
}

/// Prints the store for programs.
fn print(path: &std::path::Path, format: Format) -> anyhow::Result<()> {
    if format == Format::Text {
        return Ok(());
    }
    let record = read_record(path)?.context("the record of the store has gone")?;
    let entry = Entry { name: record.shape.name.clone(), data_dir: path.to_owned() };
    let current = home::current().ok().flatten().map(|entry| entry.data_dir);
    output::print_json(&Store::new(&entry, &record, current.as_deref()))
}
