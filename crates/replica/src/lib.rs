//! One replica of a group: its life from an empty directory to a voter, and the ways of
//! reads and writes above Raft.

mod admission;
mod config;
mod data_dir;
mod environment;
mod handoff;
mod handover;
mod leader;
mod lifecycle;
pub mod manager;
pub mod map_copy;
mod orders;
pub mod peer;
mod propose;
mod read;
mod readiness;
mod registration;
mod removal;
mod reset;
mod situation;
mod snapshots;
mod status;
mod tuning;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use openraft::storage::RaftLogReader as _;
use parking_lot::{Mutex, RwLock};
use skv_disk::clock::Clock;
use skv_log::{Space, SpaceError};
use skv_proto::Error;
use skv_raft::append;
use skv_raft::header::Place;
use skv_raft::log_store::LogStoreReader;
use skv_raft::network::NetworkFactory;
use skv_raft::state_machine::StateMachine;
use skv_raft::types::LogEntry;
pub use skv_raft::types::TypeConfig;
use skv_sharding::{GroupId, MapRevision, ReplicaId};
use skv_snapshot::SnapshotDir;
use skv_store::Store;
use tokio::sync::watch;

use crate::handoff::Watched;
use crate::map_copy::MapCopy;
pub use data_dir::{Belongs, DataDir, Identity};
pub use environment::Environment;
pub use handoff::{HandoffCounters, Pace, Slowed};
pub use handover::HandoverError;
pub use leader::LeaderHints;
pub use lifecycle::{Failed, run};
use orders::Orders;
pub use propose::{Answer, Proposer};
pub use read::ReadBarrier;
pub use readiness::Readiness;
pub use removal::RemovalError;
pub use reset::{Reset, Revived};
pub use tuning::Tuning;

/// A group as openraft runs it.
pub type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// The replicas of one server, by group. Their number is fixed when the server starts.
#[derive(Debug, Default)]
pub struct Replicas(BTreeMap<GroupId, Arc<Replica>>);

impl Replicas {
    /// Replicas that have yet to be run.
    pub fn new(groups: impl IntoIterator<Item = GroupId>) -> Self {
        Replicas(groups.into_iter().map(|group| (group, Arc::new(Replica::new(group)))).collect())
    }

    /// The replica of a group.
    pub fn get(&self, group: GroupId) -> Result<&Arc<Replica>, Error> {
        self.0
            .get(&group)
            .ok_or_else(|| Error::WrongIdentity(format!("this server has no replica of {group}")))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Replica>> {
        self.0.values()
    }
}

/// One replica, in whichever state of its life.
#[derive(Debug)]
pub struct Replica {
    /// Its group.
    pub group: GroupId,
    state: RwLock<State>,
}

/// Where in its life a replica is.
#[derive(Debug, Clone)]
pub enum State {
    /// It opens its files, or waits for the manager's plan.
    Waiting {
        /// Its identity, once its files are open.
        replica: Option<ReplicaId>,
        /// For people.
        reason: String,
    },
    /// Its files can't be used, and nobody but a person can change that.
    Broken(String),
    /// Its Raft runs.
    Running(Arc<Running>),
    /// Its Raft has ended, so that it becomes the whole group.
    Reviving(Reset),
    /// The server is stopping.
    Stopped,
}

impl Replica {
    fn new(group: GroupId) -> Self {
        let waiting = State::Waiting { replica: None, reason: "starting".into() };
        Replica { group, state: RwLock::new(waiting) }
    }

    /// Its state now.
    pub fn state(&self) -> State {
        self.state.read().clone()
    }

    /// Its running parts, or why there are none.
    pub fn running(&self) -> Result<Arc<Running>, Error> {
        match &*self.state.read() {
            State::Running(running) => Ok(running.clone()),
            State::Waiting { reason, .. } => {
                Err(Error::Unavailable(format!("the replica of {} waits: {reason}", self.group)))
            }
            State::Reviving(reset) => {
                Err(Error::Unavailable(format!("the replica of {}: {}", self.group, reset.progress())))
            }
            State::Broken(problem) => Err(Error::Unavailable(problem.clone())),
            State::Stopped => Err(Error::Unavailable("the server is stopping".into())),
        }
    }

    fn set(&self, state: State) {
        *self.state.write() = state;
    }
}

/// A replica whose Raft runs.
pub struct Running {
    /// Who it is.
    pub place: Place,
    /// The name of its server.
    pub server: String,
    /// Its Raft.
    pub raft: Raft,
    /// Its state.
    pub store: Arc<Store>,
    /// Where snapshots from the leader are spooled.
    pub snapshots: Arc<SnapshotDir>,
    /// Room in its log.
    pub space: Space,
    /// Where mutations go.
    pub proposer: Proposer,
    /// Where reads wait.
    pub barrier: ReadBarrier,
    /// Who leads.
    pub hints: LeaderHints,
    /// Whether it is ready.
    pub readiness: Readiness,
    /// What this server knows of the other groups.
    pub map: Arc<MapCopy>,
    /// The shards whose writers are slowed down.
    pub slowed: Slowed,
    /// How the shards get on that the group receives.
    watched: Mutex<Watched>,
    /// Its way to the others, to see who is there.
    network: NetworkFactory,
    /// Held while members change: one change at a time.
    changing_members: tokio::sync::Mutex<()>,
    /// Its log, to see what it holds.
    log: tokio::sync::Mutex<LogStoreReader>,
    /// The wall clock.
    clock: Clock,
    /// The managers should hear of something soon.
    news: tokio::sync::Notify,
    /// What the managers have ordered.
    orders: Mutex<Orders>,
    /// While true, proposals wait: the leadership is being handed over.
    hold: watch::Sender<bool>,
    /// The way to make it the whole group.
    reset: Reset,
    /// Bytes applied since the last snapshot.
    applied_bytes: Arc<AtomicU64>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Running {
    /// The newest version that the managers have named.
    pub fn told_version(&self) -> MapRevision {
        self.orders.lock().version
    }

    /// How many of these entries, from the first on, need no room in the log: because they
    /// are in it already, or because they have a reserve there.
    pub async fn entries_without_need(&self, entries: &[LogEntry]) -> usize {
        let Some((first, last)) = entries.first().zip(entries.last()) else { return 0 };
        let range = first.log_id.index..=last.log_id.index;
        let held = self.log.lock().await.try_get_log_entries(range).await.unwrap_or_default();
        let is_held = |entry: &LogEntry| held.iter().any(|held| held.log_id == entry.log_id);
        let needs_none =
            |entry: &&LogEntry| append::log_bytes(std::slice::from_ref(entry)) == 0 || is_held(entry);
        entries.iter().take_while(needs_none).count()
    }
}

/// Returns what clients are told of entries for which there is no room in the log.
#[allow(clippy::needless_pass_by_value, reason = "an argument of map_err")]
pub(crate) fn no_room(error: SpaceError) -> Error {
    match error {
        SpaceError::DiskFull => Error::DiskFull(error.to_string()),
        SpaceError::NoFile(_) => Error::Overloaded(error.to_string()),
        SpaceError::TooLarge { .. } => Error::InvalidArgument(error.to_string()),
        SpaceError::Stopped(_) => Error::Unavailable(error.to_string()),
    }
}
