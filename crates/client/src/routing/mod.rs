//! The route from a key to the server that is asked: the cached shard map, healed by the answers of
//! servers and shard managers.

mod group;
mod refresh;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use skv_proto::{ShardOwner, v1};
use skv_sharding::{
    ClusterId, Epoch, Group, GroupId, Hash, Incarnation, KeyError, MapRevision, Owner, Replica, ShardId,
    ShardMap,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::pause::Jitter;
use crate::transport::{Peer, Pool};
use group::Choice;
pub(crate) use group::{GroupRoute, Member, Probe};

/// While a call waits for the first map, servers are asked this often.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// The division of keys; decides how sequence numbers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// The keys are divided by shards.
    Shards(u32),
    /// The division isn't known: every call is forwarded.
    Blind,
}

impl Layout {
    pub(crate) fn lanes(self) -> usize {
        match self {
            Layout::Shards(shards) => shards as usize,
            Layout::Blind => 1,
        }
    }
}

/// The place of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// The key is in a shard.
    Shard {
        /// The cluster of the shard.
        cluster: ClusterId,
        /// The shard.
        shard: ShardId,
        /// The number of shards.
        of: u32,
    },
    /// The place is known only to servers.
    Blind,
}

impl Placement {
    pub(crate) fn layout(self) -> Layout {
        match self {
            Placement::Shard { of, .. } => Layout::Shards(of),
            Placement::Blind => Layout::Blind,
        }
    }

    /// Returns the cluster that a request is meant for; 0 = any cluster.
    pub(crate) fn cluster_id(self) -> u64 {
        match self {
            Placement::Shard { cluster, .. } => cluster.0,
            Placement::Blind => 0,
        }
    }

    pub(crate) fn lane(self) -> usize {
        match self {
            Placement::Shard { shard, .. } => shard.0 as usize,
            Placement::Blind => 0,
        }
    }
}

/// The next step of a call.
#[derive(Debug)]
pub(crate) enum Route {
    /// Ask this member of the owning group.
    Member(Arc<GroupRoute>, Arc<Member>, Option<Probe>),
    /// Ask this server to forward it.
    Forward(Arc<Peer>),
    /// Wait until then, or until the group's leader is found.
    Wait(Arc<GroupRoute>, Instant),
    /// No server can be asked.
    Nowhere,
}

/// The way to the owner of every shard.
#[derive(Debug)]
pub(crate) struct Router {
    pool: Pool,
    jitter: Jitter,
    /// The servers or shard managers that the clerk was given.
    seeds: Vec<Arc<Peer>>,
    seeds_are_servers: bool,
    known: RwLock<Option<Known>>,
    /// There are servers, but none has a shard map.
    blind: AtomicBool,
    turn: AtomicUsize,
    /// Notifies that a map came in.
    arrived: Notify,
    /// Notifies that a call needs a newer map.
    wanted: Notify,
    /// The last failure of the search for a map.
    trouble: Mutex<Option<String>>,
}

#[derive(Debug)]
struct Known {
    cluster: ClusterId,
    revision: MapRevision,
    hash: Hash,
    owners: Vec<Owner>,
    groups: BTreeMap<GroupId, Arc<GroupRoute>>,
}

/// The origin of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Its addresses are the newest that there are.
    Manager,
    /// A copy, perhaps an old one.
    Server,
}

impl Router {
    pub(crate) fn new(pool: Pool, jitter: Jitter, seeds: &[String], seeds_are_servers: bool) -> Router {
        Router {
            seeds: seeds.iter().map(|address| pool.peer(address)).collect(),
            seeds_are_servers,
            pool,
            jitter,
            known: RwLock::new(None),
            blind: AtomicBool::new(false),
            turn: AtomicUsize::new(0),
            arrived: Notify::new(),
            wanted: Notify::new(),
            trouble: Mutex::new(None),
        }
    }

    pub(crate) fn jitter(&self) -> &Jitter {
        &self.jitter
    }

    /// Returns the place of a key; `None` while that isn't known.
    pub(crate) fn place(&self, key: &[u8]) -> Result<Option<Placement>, KeyError> {
        let known = self.known.read();
        let Some(known) = known.as_ref() else {
            return Ok(self.blind.load(Ordering::Relaxed).then_some(Placement::Blind));
        };
        let of = known.owners.len() as u32;
        Ok(Some(Placement::Shard { cluster: known.cluster, shard: known.hash.shard(key, of)?, of }))
    }

    /// Waits until keys can be placed.
    pub(crate) async fn placeable(&self) {
        loop {
            let mut arrived = std::pin::pin!(self.arrived.notified());
            arrived.as_mut().enable();
            if self.known.read().is_some() || self.blind.load(Ordering::Relaxed) {
                return;
            }
            self.wanted.notify_one();
            let _ = tokio::time::timeout(ASK_AGAIN, arrived).await;
        }
    }

    /// Returns why keys can't be placed yet, for people.
    pub(crate) fn why_unknown(&self) -> Arc<str> {
        match self.trouble.lock().as_ref() {
            Some(trouble) => format!("no shard map yet: {trouble}").into(),
            None => "no shard map yet".into(),
        }
    }

    /// Chooses the server to ask about a key.
    pub(crate) fn route(&self, placement: Placement) -> Route {
        let now = Instant::now();
        if placement == Placement::Blind {
            self.refresh();
        }
        let Some(group) = self.owner(placement) else { return self.forwarder(now) };
        let (member, probe) = match group.choose(now, &self.jitter) {
            Choice::Leader(member) => (member, None),
            Choice::Probe(member, probe) => (member, Some(probe)),
            Choice::Wait(until) => return Route::Wait(group, until),
            Choice::Unreachable => {
                self.refresh();
                return self.forwarder(now);
            }
        };
        // A seed that has answered already need not wait for an address that perhaps isn't
        // reachable, as behind a port-forward.
        if self.seeds_are_servers
            && !member.peer.is_open()
            && let Some(seed) = self.seeds.iter().find(|seed| seed.answers())
        {
            member.peer.connect_in_background();
            return Route::Forward(Arc::clone(seed));
        }
        Route::Member(group, member, probe)
    }

    /// Returns true if this group owns the shard, as far as is known.
    pub(crate) fn is_owner(&self, group: &Arc<GroupRoute>, placement: Placement) -> bool {
        self.owner(placement).is_some_and(|owner| Arc::ptr_eq(&owner, group))
    }

    fn owner(&self, placement: Placement) -> Option<Arc<GroupRoute>> {
        let Placement::Shard { shard, .. } = placement else { return None };
        let known = self.known.read();
        let known = known.as_ref()?;
        let owner = known.owners.get(shard.0 as usize)?;
        known.groups.get(&owner.group).cloned()
    }

    /// Returns any server that can be reached: it passes a call on to the right one.
    fn forwarder(&self, now: Instant) -> Route {
        let servers = self.servers(None);
        let reachable: Vec<_> = servers.into_iter().filter(|peer| !peer.is_resting(now)).collect();
        if reachable.is_empty() {
            return Route::Nowhere;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % reachable.len();
        Route::Forward(Arc::clone(&reachable[turn]))
    }

    /// Returns all servers, those of the owning group first.
    pub(crate) fn servers(&self, placement: Option<Placement>) -> Vec<Arc<Peer>> {
        let mut servers: Vec<Arc<Peer>> = Vec::new();
        let mut add = |peers: Vec<Arc<Peer>>| {
            for peer in peers {
                if !servers.iter().any(|known| Arc::ptr_eq(known, &peer)) {
                    servers.push(peer);
                }
            }
        };
        if let Some(group) = placement.and_then(|placement| self.owner(placement)) {
            add(group.peers());
        }
        if self.seeds_are_servers {
            add(self.seeds.clone());
        }
        if let Some(known) = self.known.read().as_ref() {
            known.groups.values().for_each(|group| add(group.peers()));
        }
        servers
    }

    /// Asks, in the background, for a newer map.
    pub(crate) fn refresh(&self) {
        self.wanted.notify_one();
    }

    /// Takes over a group's leader in `term` from a server's answer. Returns true if that is news.
    pub(crate) fn learn_leader(&self, group: GroupId, leader: &Replica, term: u64) -> bool {
        let known = self.known.read();
        let group = known.as_ref().and_then(|known| known.groups.get(&group));
        group.is_some_and(|group| group.hint(leader, term, &self.pool))
    }

    /// Takes over a shard's owner from a server's answer. Returns true if that is news: only a
    /// higher epoch is.
    pub(crate) fn learn_owner(&self, owner: &ShardOwner) -> bool {
        let mut known = self.known.write();
        let Some(known) = known.as_mut() else { return false };
        let Some(cached) = known.owners.get_mut(owner.shard.0 as usize).filter(|o| o.epoch < owner.epoch)
        else {
            return false;
        };
        *cached = Owner { group: owner.group, epoch: owner.epoch };
        let described = || {
            let replicas = owner.replicas.clone();
            Arc::new(GroupRoute::new(
                owner.group,
                &Group { uid: owner.uid, incarnation: Incarnation(0), replicas },
                &self.pool,
            ))
        };
        match known.groups.entry(owner.group) {
            Entry::Vacant(entry) => {
                entry.insert(described());
            }
            Entry::Occupied(mut entry) if entry.get().uid != owner.uid => {
                entry.insert(described());
            }
            Entry::Occupied(entry) if !entry.get().has_members() => {
                entry.get().set_members(&owner.replicas, &self.pool);
            }
            Entry::Occupied(_) => {}
        }
        if owner.replicas.is_empty() && !known.groups[&owner.group].has_members() {
            self.wanted.notify_one();
        }
        true
    }

    /// Takes over the newer parts of a map. Returns true if it could be read at all.
    fn learn_map(&self, wire: &v1::ShardMap, source: Source) -> bool {
        let map = match ShardMap::try_from(wire) {
            Ok(map) if !map.owners.is_empty() => map,
            Ok(_) => return false,
            Err(error) => {
                tracing::warn!(%error, "a shard map can't be used");
                return false;
            }
        };
        let mut guard = self.known.write();
        let known = guard.get_or_insert_with(|| Known {
            cluster: map.cluster,
            revision: MapRevision(0),
            hash: map.hash,
            owners: vec![Owner { group: GroupId(0), epoch: Epoch(0) }; map.owners.len()],
            groups: BTreeMap::new(),
        });
        if (known.cluster, known.hash, known.owners.len()) != (map.cluster, map.hash, map.owners.len()) {
            tracing::warn!(cluster = %map.cluster, known = %known.cluster, "ignored the shard map of another cluster");
            return false;
        }
        let is_first = known.groups.is_empty();
        for (cached, owner) in known.owners.iter_mut().zip(&map.owners) {
            if is_first || owner.epoch > cached.epoch {
                *cached = *owner;
            }
        }
        if source == Source::Manager || map.revision > known.revision {
            known.take_groups(&map, &self.pool);
        }
        known.revision = known.revision.max(map.revision);
        for group in &wire.groups {
            let leader = group.replicas.iter().find(|replica| replica.id == group.leader && replica.id != 0);
            if let (Some(leader), Some(route)) = (leader, known.groups.get(&GroupId(group.id))) {
                route.hint(&leader.clone().into(), group.leader_term, &self.pool);
            }
        }
        drop(guard);
        self.arrived.notify_waiters();
        true
    }

    fn go_blind(&self) {
        if !self.blind.swap(true, Ordering::Relaxed) {
            tracing::info!("no server has a shard map: every call is forwarded");
        }
        self.arrived.notify_waiters();
    }
}

impl Known {
    fn take_groups(&mut self, map: &ShardMap, pool: &Pool) {
        for (&id, group) in &map.groups {
            match self.groups.get(&id) {
                Some(old) if old.uid == group.uid && old.incarnation >= group.incarnation => {
                    old.set_members(&group.replicas, pool);
                }
                _ => {
                    self.groups.insert(id, Arc::new(GroupRoute::new(id, group, pool)));
                }
            }
        }
        let Known { groups, owners, .. } = self;
        groups.retain(|id, _| map.groups.contains_key(id) || owners.iter().any(|owner| owner.group == *id));
    }
}
