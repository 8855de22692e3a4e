//! `skv up` and `skv down`: a `ShardedKV` manifest as processes on this machine.
//!
//! One shard manager and groups x replicas servers run on loopback, each with its data, its
//! ports and its log under one data directory. The same directory brings all data back.
//!
//! - `plan`: which processes there are, and how each is called (pure)
//! - `record`: what the data directory remembers: ports, and which processes run
//! - `data_dir`: the directory and its lock; `home`: where it is, and which is current
//! - `supervise`: starts, restarts and stops; `detach`: the same in the background
//! - `down`: stops what runs in a data directory
//! - `endpoint`: how other commands find the store without flags

mod binaries;
mod data_dir;
mod detach;
pub(crate) mod down;
pub(crate) mod endpoint;
mod home;
mod operations;
mod plan;
mod ports;
mod process;
mod ready;
mod record;
mod screen;
mod supervise;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use skv_resource::Manifest;

use self::binaries::Binaries;
use self::data_dir::DataDir;
use self::screen::Screen;

/// Run a ShardedKV manifest as processes on this machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  skv up -f deploy/samples/quickstart.yaml            until Ctrl-C
  skv up -f deploy/samples/quickstart.yaml --detach   in the background, until `skv down`
")]
pub(crate) struct Args {
    /// The manifest; - reads it from standard input.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
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
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    if args.supervise {
        // A session of its own: signals of the terminal no longer reach it.
        rustix::process::setsid().context("can't leave the terminal's session")?;
    }
    let manifest = read_manifest(&args.file)?;
    let resource =
        skv_resource::parse(&manifest).with_context(|| format!("manifest {}", args.file.display()))?;
    let binaries = Binaries::find()?;
    let path = match args.data_dir {
        Some(path) => path,
        None => home::home()?.join(&resource.metadata.name),
    };
    if args.detach {
        return detach::run(&manifest, &path).await;
    }
    let (dir, screen) = (DataDir::open(&path)?, Screen::new(args.supervise));
    let record = prepare(&dir, &resource, &screen).await?;
    supervise::run(dir, record, &resource, &binaries, &screen).await
}

fn read_manifest(file: &Path) -> anyhow::Result<String> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("can't read the manifest from standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("can't read the manifest {}", file.display()))
}

/// Makes the directory fit for a start: what it remembers matches the manifest, nothing of
/// an earlier run is left, and every port is free.
async fn prepare(dir: &DataDir, resource: &Manifest, screen: &Screen) -> anyhow::Result<record::Record> {
    let shape = record::Shape::of(resource);
    let mut record = match dir.load()? {
        Some(record) => {
            record.shape.must_equal(&shape, dir.path())?;
            record
        }
        None => record::Record::new(shape),
    };
    down::stop_leftovers(&mut record, screen).await;
    ports::choose(&mut record)?;
    if record.shape.memory_only {
        // The groups are gone with the processes that held them; so is what was known of them.
        dir.forget_manager()?;
    }
    dir.save(&record)?;
    home::set_current(&record.shape.name, dir.path())?;
    Ok(record)
}
