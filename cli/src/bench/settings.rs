//! The settings of a measurement.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use crate::duration;
use crate::output::Output;

/// Measure throughput and latency.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It writes the keys bench-00000000, bench-00000001 and so on, with `get` too, and removes them at the end.
Use it on a store that nobody else needs at the time. Ctrl-C ends it early and shows what was measured.

Without --rate each client sends its next request when it has the answer to the last
(closed loop). With --rate requests start at fixed times, however long others take, and
latency counts from the time at which a request should have started (open loop).

Examples:
  skv bench put
  skv bench get --clients 256 --transport unary --duration 20s
  skv bench mixed --rate 5000 -o json
")]
pub(crate) struct Args {
    /// The requests that clients send.
    pub(super) mix: Mix,
    /// The maximum number of outstanding requests; with --rate there is no limit.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) clients: u32,
    /// Start this many requests per second.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rate: Option<u32>,
    /// The way in which requests travel.
    #[arg(long, value_enum, default_value_t)]
    pub(super) transport: Transport,
    /// Connections to each server [default: 1 with streams, up to 4 with unary calls].
    #[arg(long, value_name = "N")]
    pub(super) connections: Option<usize>,
    /// The number of keys.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) keys: u32,
    /// The size of each value in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    pub(super) value_size: usize,
    /// The time for which requests are measured.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::positive)]
    pub(super) duration: Duration,
    /// The time for which requests are sent before that.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration::parse)]
    pub(super) warmup: Duration,
    /// Leave the keys there.
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    pub(super) output: Output,
}

/// The requests that clients send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mix {
    /// Only puts.
    Put,
    /// Only gets.
    Get,
    /// As many gets as puts.
    Mixed,
}

/// The way in which requests travel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Transport {
    /// Many in a message of one stream.
    #[default]
    Stream,
    /// Each for itself.
    Unary,
}

impl From<Transport> for skv_client::Transport {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Stream => skv_client::Transport::Stream,
            Transport::Unary => skv_client::Transport::Unary,
        }
    }
}

impl Args {
    /// Returns true if the keys stay.
    pub(super) fn keep(&self) -> bool {
        self.keep
    }

    /// Returns true if keys are read.
    pub(super) fn reads(&self) -> bool {
        self.mix != Mix::Put
    }
}
