//! `skv down`: stops the processes of a data directory.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use skv_local::data_dir::{DataDir, is_locked, read_record};
use skv_local::record::Record;
use skv_local::screen::Screen;
use skv_local::{STOP_WITHIN, home, leftovers};

use crate::output;

/// Stop the store that `skv up` runs on this machine. Its data stays.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store's data directory [default: that of the last `skv up`].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Stops the store, and waits until everything has ended.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let path = match args.data_dir {
        Some(path) => path,
        None => {
            home::current()?
                .context("no store was started here: name its directory with --data-dir")?
                .data_dir
        }
    };
    let mut record =
        read_record(&path)?.with_context(|| format!("there is no store in {}", path.display()))?;
    let screen = Screen::new(output::this_command(), true);
    if !record.is_running() {
        screen.say(&format!("{} isn't running", record.shape.name));
        return Ok(());
    }
    if is_locked(&path)? {
        return stop_supervisor(&record, &path, &screen).await;
    }
    // The supervisor was killed; its processes still run.
    let dir = DataDir::open(&path)?;
    leftovers::stop(&mut record, &screen).await;
    dir.save(&record)?;
    screen.say(&format!("{} is stopped", record.shape.name));
    Ok(())
}

async fn stop_supervisor(record: &Record, path: &Path, screen: &Screen) -> anyhow::Result<()> {
    let name = &record.shape.name;
    let Some(supervisor) = record.supervisor.as_ref().filter(|process| process.is_alive()) else {
        bail!("{name} is just starting or stopping: try again");
    };
    screen.say(&format!("stopping {name}"));
    supervisor.signal(Signal::TERM);
    // The supervisor stops the servers, then the manager, and kills each that doesn't stop in time.
    if !supervisor.ends_within(3 * STOP_WITHIN).await {
        bail!(
            "process {} doesn't stop {name}: see its log in {}",
            supervisor.pid,
            path.join("logs").display()
        );
    }
    screen.say(&format!("{name} is stopped"));
    Ok(())
}
