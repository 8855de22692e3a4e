//! Everything that reads what others wrote.
//!
//! - `messages`: the decoder of each message, and what is made of a message at once
//! - `entries`: log entries, applied to a store
//! - `snapshots`, `logs`, `files`, `records`: what lies on disks
//! - `services`: the ports of real servers; `world` has the servers, `ports`, `leaders` and `pages` what they
//!   are sent

pub(crate) mod entries;
mod files;
mod found;
mod leaders;
mod logs;
mod manager;
pub(crate) mod messages;
mod pages;
mod ports;
mod records;
mod runtime;
mod services;
mod snapshots;
mod world;

use crate::draw::Draw;
use crate::memory;
use crate::trial::Trial;

/// The kind of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Decoders.
    Messages,
    /// The store.
    Entries,
    /// Snapshot files.
    Snapshots,
    /// Segments of the log, and the vote.
    Logs,
    /// A replica's identity, and a server's copy of the map.
    Files,
    /// The shard manager's record.
    Records,
    /// All ports, as strangers and clients reach them: they go on serving.
    Services,
    /// The ports for servers, spoken to as replicas of the same groups would.
    Peers,
    /// The pages of servers and managers, over HTTP.
    Pages,
}

impl Kind {
    const ALL: [Kind; 9] = [
        Kind::Messages,
        Kind::Entries,
        Kind::Snapshots,
        Kind::Logs,
        Kind::Files,
        Kind::Records,
        Kind::Services,
        Kind::Peers,
        Kind::Pages,
    ];

    /// Returns the kind of a seed's round: seeds take turns.
    pub(crate) fn of(seed: u64) -> Kind {
        Self::ALL[(seed % Self::ALL.len() as u64) as usize]
    }

    pub(crate) fn named(name: &str) -> Option<Kind> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Messages => "messages",
            Kind::Entries => "entries",
            Kind::Snapshots => "snapshots",
            Kind::Logs => "logs",
            Kind::Files => "files",
            Kind::Records => "records",
            Kind::Services => "services",
            Kind::Peers => "peers",
            Kind::Pages => "pages",
        }
    }

    /// Plays a round.
    pub(crate) fn play(self, seed: u64, trial: &mut Trial) -> Result<(), String> {
        let draw = &mut Draw::new(seed);
        if matches!(self, Kind::Snapshots | Kind::Logs | Kind::Files | Kind::Records) {
            trial.own_bytes = memory::OF_FILES;
        }
        let played = match self {
            Kind::Messages => messages::round(draw, trial),
            Kind::Entries => entries::round(draw, trial),
            Kind::Snapshots => snapshots::round(draw, trial),
            Kind::Logs => logs::round(draw, trial),
            Kind::Files => files::round(draw, trial),
            Kind::Records => records::round(draw, trial),
            Kind::Services => services::round(draw, trial),
            Kind::Peers => services::round_of_peers(draw, trial),
            Kind::Pages => services::round_of_pages(draw, trial),
        };
        played.map_err(|error| format!("{error:#}"))
    }
}
