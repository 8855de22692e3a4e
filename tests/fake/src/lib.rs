//! Servers and a shard manager in this process that obey a test: they serve a model of the store,
//! and a rule decides the fate of every transmission.
//!
//! They test programs that talk to servers: the clerk and the command line.

#![allow(clippy::unwrap_used, reason = "only tests use it")]

mod admin;
mod kv;
mod listening;
mod manager;
mod reserved;
mod seen;
mod shared;
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use skv_proto::{Error, ShardOwner, v1};
use skv_sharding::{Epoch, GroupId, GroupUid, Hash, Replica, ReplicaId, ShardId};
use tokio::sync::watch;

use listening::Listening;
pub use reserved::Reserved;
pub use seen::{AdminCall, Fate, Seen};
use shared::Shared;
use store::Store;

/// A whole store in this process.
pub struct Fake {
    shared: Arc<Shared>,
    servers: Vec<Listening>,
    manager: Listening,
}

/// Returns the group of a number, in all fakes.
pub fn uid(group: u32) -> GroupUid {
    GroupUid(100 + u64::from(group))
}

impl Fake {
    /// Makes one group of this many servers that owns this many shards.
    pub fn group(servers: usize, shards: u32) -> Fake {
        Fake::groups(&[servers], &vec![0; shards as usize])
    }

    /// Makes groups of these sizes, which own the shards as listed, all in epoch 1.
    pub fn groups(sizes: &[usize], owners: &[u32]) -> Fake {
        let shared = Arc::new(Shared {
            store: Mutex::new(Store::new(owners.len() as u32)),
            rule: Mutex::new(Box::new(|_| Fate::Serve)),
            seen: Mutex::default(),
            map: watch::Sender::new(None),
            copies: Mutex::new(true),
            sessions: AtomicU64::new(1000),
            opens: Mutex::default(),
            ttl_ms: AtomicU64::new(600_000),
            without_sessions: AtomicUsize::new(0),
            statuses: Mutex::default(),
            admin: Mutex::default(),
            resets_take: Mutex::default(),
            is_crowded: AtomicBool::new(false),
        });
        let servers: Vec<Listening> =
            (0..sizes.iter().sum()).map(|index| kv::listen(&shared, index)).collect();
        let mut fake = Fake { manager: manager::listen(&shared), shared, servers };
        let mut first = 0;
        let groups = (0..)
            .zip(sizes)
            .map(|(group, &size)| {
                let replicas = (first..first + size).map(|index| fake.replica(index).into()).collect();
                let statuses = (first..first + size).map(|index| admin::healthy(group, index, first));
                fake.shared.statuses.lock().extend(statuses);
                first += size;
                v1::Group { id: group, uid: uid(group).0, replicas, ..v1::Group::default() }
            })
            .collect();
        let ranges =
            (0..).zip(owners).map(|(first, &group)| v1::ShardRange { first, count: 1, group, epoch: 1 });
        fake.publish(v1::ShardMap {
            cluster_id: 7,
            revision: 1,
            configuration: 1,
            shards: owners.len() as u32,
            hash: v1::Hash::Fnv1 as i32,
            groups,
            ranges: ranges.collect(),
            pins: Vec::new(),
            moving: 0,
        });
        fake
    }

    /// Gives the manager a new map, and the servers copies of it.
    pub fn publish(&mut self, map: v1::ShardMap) {
        self.shared.store.lock().hash = Hash::try_from(map.hash()).unwrap();
        self.shared.map.send_replace(Some(map));
    }

    /// Returns the newest map.
    pub fn map(&self) -> v1::ShardMap {
        self.shared.map.borrow().clone().unwrap()
    }

    /// Has servers report that they have no copy of the map.
    #[must_use]
    pub fn without_copies(self) -> Fake {
        *self.shared.copies.lock() = false;
        self
    }

    /// Has the manager take no more watches of its map.
    pub fn refuse_watches(&self) {
        self.shared.is_crowded.store(true, Ordering::Relaxed);
    }

    /// Has a rule decide about transmissions from now on.
    pub fn rule(&self, rule: impl FnMut(&Seen) -> Fate + Send + 'static) {
        *self.shared.rule.lock() = Box::new(rule);
    }

    /// Lets sessions opened from now on last this long.
    pub fn sessions_last(&self, ttl_ms: u64) {
        self.shared.ttl_ms.store(ttl_ms, Ordering::Relaxed);
    }

    /// Gives the next sessions that are opened these numbers.
    pub fn sessions_open_as(&self, numbers: impl IntoIterator<Item = u64>) {
        self.shared.opens.lock().extend(numbers);
    }

    /// Has the first servers of this number leave the wish for a session unanswered.
    pub fn open_no_sessions(&self, servers: usize) {
        self.shared.without_sessions.store(servers, Ordering::Relaxed);
    }

    /// Returns all transmissions so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().clone()
    }

    /// Returns all transmissions so far but reads.
    pub fn mutations(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(Seen::is_mutation).collect()
    }

    /// Returns the value of a key; empty if there is none.
    pub fn value(&self, key: &[u8]) -> Vec<u8> {
        self.shared.store.lock().value(key)
    }

    /// Returns the number of mutations that changed the store.
    pub fn applied(&self) -> u64 {
        self.shared.store.lock().applied
    }

    /// Changes a server's report of its replica from now on.
    pub fn status(&self, index: usize, change: impl FnOnce(&mut v1::ReplicaStatus)) {
        change(&mut self.shared.statuses.lock()[index]);
    }

    /// Sets the time that a server takes from now on to revive a group.
    pub fn resets_take(&self, duration: Duration) {
        *self.shared.resets_take.lock() = duration;
    }

    /// Returns the requests to the servers' Admin services, except status.
    pub fn admin_calls(&self) -> Vec<AdminCall> {
        self.shared.admin.lock().clone()
    }

    /// Returns the manager's address.
    pub fn manager(&self) -> String {
        self.manager.address().to_string()
    }

    /// Returns a server's address; both its listeners are one.
    pub fn server(&self, index: usize) -> String {
        self.servers[index].address().to_string()
    }

    /// Returns the replica of a server.
    pub fn replica(&self, index: usize) -> Replica {
        Replica {
            id: ReplicaId(index as u64 + 1),
            server: format!("kv-{index}"),
            client_address: self.server(index),
            peer_address: self.server(index),
            instance: String::new(),
        }
    }

    /// Ends the manager and its connections.
    pub fn kill_manager(&mut self) {
        self.manager.kill();
    }

    /// Ends a server and its connections.
    pub fn kill_server(&mut self, index: usize) {
        self.servers[index].kill();
    }

    /// Returns the refusal that another server leads, or none.
    pub fn not_leader(&self, leader: Option<usize>, term: u64) -> Fate {
        let leader = leader.map(|index| self.replica(index));
        Fate::Refuse(Error::NotLeader { group: GroupId(0), leader, term })
    }

    /// Returns the owner of `shard`: `group`, which has these servers.
    pub fn owner(&self, shard: u32, group: u32, epoch: u64, servers: &[usize]) -> ShardOwner {
        ShardOwner {
            shard: ShardId(shard),
            group: GroupId(group),
            uid: uid(group),
            epoch: Epoch(epoch),
            replicas: servers.iter().map(|&index| self.replica(index)).collect(),
        }
    }
}
