//! `skv up`, `skv apply` and `skv down`: a `ShardedKV` manifest as processes on this machine.
//!
//! One shard manager and groups x replicas servers (in a ring as many as groups) run on loopback,
//! each with its data, its ports and its log under one data directory. The same directory brings
//! all data back.
//!
//! The supervisor alone starts and stops processes and writes `cluster.json`, the record of which
//! there are. It has those groups run that `wanted.json` names, which `skv apply` writes; `skv
//! apply` alone decides, and asks the shard manager and the servers for all else. A start has the
//! groups that exist run, and then gives the store the manifest's number of groups in the same
//! way.
//!
//! - `plan`: which processes there are, and how each is called (pure)
//! - `record`: what the data directory remembers: groups, ports, and which processes run
//! - `source`: the manifest that a command names
//! - `settings`: what a manifest says beside the number of groups (pure)
//! - `data_dir`: the directory and its lock; `home`: where it is, and which is current
//! - `supervise`: starts and stops processes; `keeper`: keeps one of them running; `detach`: the
//!   same in the background
//! - `apply`: the command; `turnover`: which step to other groups is due (pure); `scale`: takes
//!   it; `wanted`: the groups whose servers are to run
//! - `down`: stops what runs in a data directory
//! - `endpoint`: how other commands find the store without flags

pub(crate) mod apply;
mod binaries;
mod data_dir;
mod detach;
pub(crate) mod down;
pub(crate) mod endpoint;
mod home;
mod keeper;
mod operations;
mod plan;
mod ports;
mod process;
mod ready;
mod record;
mod scale;
mod screen;
mod settings;
mod source;
mod supervise;
mod turnover;
mod wanted;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context as _;
use skv_resource::Manifest;
use skv_sharding::GroupId;

use self::binaries::Binaries;
use self::data_dir::DataDir;
use self::record::{Record, Shape};
use self::screen::Screen;
use self::source::{Described, Source};
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
    /// Where data, logs and ports are kept [default: ~/.local/share/skv/NAME].
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
        // A session of its own: signals of the terminal no longer reach it.
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
    let (dir, screen) = (DataDir::open(&path)?, Screen::new(args.supervise));
    let record = prepare(&dir, &resource, &screen).await?;
    let path = dir.path().to_owned();
    let when_ready = async {
        // In the background whoever started it does this, and shows it.
        if !args.supervise {
            Box::pin(scale::run(&path, groups, patience, None)).await?;
        }
        Ok(())
    };
    supervise::run(dir, record, &resource, &binaries, &screen, when_ready).await
}

/// Makes the directory fit for a start: what it remembers matches the manifest, nothing of
/// an earlier run is left, and every port is free.
async fn prepare(dir: &DataDir, resource: &Manifest, screen: &Screen) -> anyhow::Result<Record> {
    let (shape, asked_for) = (Shape::of(resource), (0..resource.spec.groups).map(GroupId).collect());
    let mut record = match dir.load()? {
        Some(record) => {
            record.shape.must_equal(&shape, dir.path())?;
            record
        }
        None => Record::new(shape, &asked_for),
    };
    record.settings = settings::of(resource)?;
    down::stop_leftovers(&mut record, screen).await;
    if record.shape.memory_only {
        // The groups are gone with the processes that held them; so is what was known of them.
        for manager in record.members.iter().filter(|member| member.is_manager()) {
            dir.forget(manager)?;
        }
        wanted::forget(dir.path())?;
        record.have_groups(&asked_for);
    } else if let Some(wanted) = wanted::wanted(dir.path())? {
        // It was killed before it had done that.
        let gone: BTreeSet<GroupId> = &record.groups() - &wanted;
        for server in gone.iter().flat_map(|group| record.servers(*group)) {
            dir.forget(server)?;
        }
        record.have_groups(&wanted);
    }
    ports::choose(&mut record)?;
    dir.save(&record)?;
    home::set_current(&record.shape.name, dir.path())?;
    Ok(record)
}
