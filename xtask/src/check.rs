//! `cargo xtask check`: judges recorded histories.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use skv_checker::{Options, judge, read_history};

/// Judge histories: is there an order of all operations that explains every answer?
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Histories, as `skv workload --history` writes them.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The keys may have had values when the histories began.
    #[arg(long)]
    earlier_data: bool,
    /// The time limit of the search for an order per file, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let options = Options { deadline: Duration::from_secs(args.seconds), starts_empty: !args.earlier_data };
    let mut wrong = 0;
    for file in &args.files {
        let verdict = judge(&read_history(file)?, &options);
        println!("{}: {verdict}", file.display());
        wrong += usize::from(!verdict.is_linearizable());
    }
    ensure!(wrong == 0, "{wrong} of {} histories aren't proven right", args.files.len());
    Ok(())
}
