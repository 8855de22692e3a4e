//! The log of a process.

use std::io::{self, IsTerminal as _};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::variable;

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object per line.
    Json,
}

/// The standard stream that a log goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogTo {
    /// Standard output, for programs that print nothing but their log.
    Stdout,
    /// Standard error, in colours on a terminal.
    Stderr,
}

/// Starts the log. `RUST_LOG` decides what is logged; without it, `filter` does.
pub fn start_log(format: LogFormat, to: LogTo, filter: &str) {
    match to {
        LogTo::Stdout => write_log(format, filter, io::stdout, false),
        LogTo::Stderr => write_log(format, filter, io::stderr, io::stderr().is_terminal()),
    }
}

/// Returns the filter of the log that an environment variable sets, else this one. An empty variable would
/// hide all but errors.
pub fn log_filter(name: &str, filter: &str) -> EnvFilter {
    let set = variable(name).and_then(|value| EnvFilter::try_new(value.to_str()?).ok());
    set.unwrap_or_else(|| EnvFilter::new(filter))
}

fn write_log<W>(format: LogFormat, filter: &str, writer: W, colours: bool)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = log_filter(EnvFilter::DEFAULT_ENV, filter);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(writer);
    // Fails only if there is a log already, which then stays.
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}
