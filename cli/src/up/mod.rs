//! `skv up`, `skv apply` and `skv down`: a `ShardedKV` manifest as processes on this machine.
//!
//! `skv_local` starts and stops the processes, and remembers them in a data directory. It runs the
//! groups that `wanted.json` names, which `skv apply` writes; `skv apply` alone decides, and asks
//! the shard manager and the servers for everything else. A start runs the groups that exist, and
//! then gives the store the manifest's number of groups in the same way.
//!
//! - `detach`: the supervisor in the background
//! - `apply`: the command; `turnover`: the next step to other groups (pure); `scale`: takes it
//! - `down`: stops the processes of a data directory

pub(crate) mod apply;
mod detach;
pub(crate) mod down;
mod scale;
mod turnover;

use std::path::PathBuf;

use anyhow::Context as _;
use skv_local::binaries::Binaries;
use skv_local::data_dir::DataDir;
use skv_local::screen::Screen;
use skv_local::source::{Described, Source};
use skv_local::{home, prepare, supervise};

use crate::output;
use crate::target::Target;

/// Run a ShardedKV manifest as processes on this machine.
///
/// A store that exists is started with the groups it has, and then given the number of groups in
/// the manifest; `skv apply` does that to a store that runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  skv up -f deploy/samples/quickstart.yaml            until Ctrl-C
  skv up -f deploy/samples/quickstart.yaml --detach   in the background, until `skv down`
")]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// The directory for data, logs and ports [default: ~/.local/share/skv/NAME].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Go on in the background once everything is ready.
    #[arg(long, short)]
    detach: bool,
    /// Be the background process of --detach.
    #[arg(long, hide = true, conflicts_with = "detach")]
    supervise: bool,
}

/// Runs until it is told to stop; with `--detach` until everything is ready.
pub(crate) async fn run(target: &Target, args: Args) -> anyhow::Result<()> {
    if args.supervise {
        // The process gets a session of its own: signals of the terminal no longer reach it.
        rustix::process::setsid().context("can't leave the terminal's session")?;
    }
    let Described { manifest, resource } = args.source.read()?;
    let path = match args.data_dir {
        Some(path) => path,
        None => home::data_dir(&resource.metadata.name)?,
    };
    let binaries = Binaries::find()?;
    let (groups, patience) = (resource.spec.groups, target.timeout());
    if args.detach {
        return detach::run(&manifest, &path, groups, patience).await;
    }
    let (dir, screen) = (DataDir::open(&path)?, Screen::new(output::this_command(), args.supervise));
    let record = prepare(&dir, &resource, &screen).await?;
    let path = dir.path().to_owned();
    let when_ready = async {
        // The process that started this one does this in the background, and shows it.
        if !args.supervise {
            Box::pin(scale::run(&path, groups, patience, None)).await?;
        }
        Ok(())
    };
    supervise::run(dir, record, &resource, &binaries, &screen, when_ready).await
}
