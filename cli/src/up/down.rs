//! `skv down` stops the store in a data directory.

use anyhow::{Context as _, anyhow, bail};
use rustix::process::Signal;
use serde::Serialize;
use skv_local::data_dir::{DataDir, is_locked, read_record};
use skv_local::home::Entry;
use skv_local::record::Record;
use skv_local::screen::Screen;
use skv_local::{STOP_WITHIN, leftovers};

use crate::output::{self, Format, Output};
use crate::target::Target;
use crate::watching::unless_interrupted;

/// Stop a store that `skv up` runs on this machine. Its data stays, unless it is in memory only.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 it doesn't run any more, or didn't run; 1 failed, or stopped by Ctrl-C. The store stops \
without this command: Ctrl-C only stops the waiting.

Examples:
  skv down                      the store that commands use if they name none
  skv down --store quickstart   another one: `skv stores` lists them
")]
pub(crate) struct Args {
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Down {
    name: String,
    /// False if nothing ran.
    stopped: bool,
}

/// Stops the store, and waits until everything has ended.
pub(crate) async fn run(target: &Target, args: &Args) -> anyhow::Result<()> {
    let format = args.output.format;
    let screen = Screen::new(output::this_command(), true, format.progress());
    let entry = target.local()?;
    let stopped = stop(&entry, &screen).await?;
    if format == Format::Json {
        output::print_json(&Down { name: entry.name, stopped })?;
    }
    Ok(())
}

/// Returns false if nothing ran.
async fn stop(Entry { data_dir, .. }: &Entry, screen: &Screen) -> anyhow::Result<bool> {
    // The lock comes first: a store that begins to start has it before its record says so.
    let is_used = is_locked(data_dir)?;
    let record = read_record(data_dir)?;
    let mut record = record.with_context(|| format!("there is no store in {}", data_dir.display()))?;
    let name = record.shape.name.clone();
    if is_used {
        stop_supervisor(&record, data_dir, screen).await?;
    } else if record.is_running() {
        // The supervisor was killed; the processes that it started still run.
        let dir = DataDir::open(data_dir)?;
        let stopped = unless_interrupted(leftovers::stop(&mut record, screen), || {
            let skv = output::this_command();
            anyhow!(
                "stopped waiting. {name} was told to stop; `{skv} down` again waits for it, and kills what doesn't \
                 stop"
            )
        });
        stopped.await?;
        dir.save(&record)?;
    } else {
        screen.say(&format!("{name} isn't running"));
        return Ok(false);
    }
    let lost = if record.shape.memory_only { "; its data was in memory only, and is gone" } else { "" };
    screen.say(&format!("{name} is stopped{lost}"));
    Ok(true)
}

async fn stop_supervisor(record: &Record, path: &std::path::Path, screen: &Screen) -> anyhow::Result<()> {
    let name = &record.shape.name;
    let Some(supervisor) = record.supervisor.as_ref().filter(|process| process.is_alive()) else {
        bail!("{name} is just starting or stopping: try again");
    };
    let end = async {
        screen.say(&format!("stopping {name}"));
        supervisor.signal(Signal::TERM);
        // It stops the servers, then the manager, and kills those that don't stop in time.
        supervisor.ends_within(3 * STOP_WITHIN).await
    };
    let ended = unless_interrupted(end, || {
        let skv = output::this_command();
        anyhow!(
            "stopped waiting. {name} goes on stopping: `{skv} stores` shows whether it has, and `{skv} down` \
             again kills what still runs"
        )
    });
    if !ended.await? {
        bail!(
            "process {} doesn't stop {name}: see its log in {}",
            supervisor.pid,
            path.join("logs").display()
        );
    }
    Ok(())
}
