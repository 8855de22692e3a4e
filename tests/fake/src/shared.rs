//! The state that all servers and the manager of a fake share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Duration;

use parking_lot::Mutex;
use skv_proto::v1;
use tokio::sync::watch;

use crate::seen::{AdminCall, Fate, Seen};
use crate::store::Store;

pub(crate) type Rule = Box<dyn FnMut(&Seen) -> Fate + Send>;

/// The state that all servers share.
pub(crate) struct Shared {
    pub(crate) store: Mutex<Store>,
    pub(crate) rule: Mutex<Rule>,
    pub(crate) seen: Mutex<Vec<Seen>>,
    pub(crate) map: watch::Sender<Option<v1::ShardMap>>,
    /// True if servers have a copy of the map.
    pub(crate) copies: Mutex<bool>,
    pub(crate) sessions: AtomicU64,
    /// The numbers of the sessions that are opened next, if not new ones.
    pub(crate) opens: Mutex<VecDeque<u64>>,
    pub(crate) ttl_ms: AtomicU64,
    /// The number of servers, from the first on, that leave the wish for a session unanswered.
    pub(crate) without_sessions: AtomicUsize,
    /// The status of each server's replica.
    pub(crate) statuses: Mutex<Vec<v1::ReplicaStatus>>,
    /// The calls of the Admin services.
    pub(crate) admin: Mutex<Vec<AdminCall>>,
    pub(crate) resets_take: Mutex<Duration>,
    /// True if the manager takes no more watches.
    pub(crate) is_crowded: AtomicBool,
}
