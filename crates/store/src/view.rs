//! The whole state as a stream of items.

use parking_lot::RwLock;
use skv_proto::v1;
use skv_proto::v1::snapshot_item::Item;
use skv_sharding::ShardId;

use crate::buckets::Buckets;
use crate::founded::Founded;
use crate::handoff::Tombstone;
use crate::record::Record;
use crate::retained::Hold;
use crate::sessions::{Session, SessionId};
use crate::slot::{Holding, Slot};

/// The state of a group between two entries, shared with the store bucket by bucket.
#[derive(Debug)]
pub struct StoreView {
    group: v1::GroupState,
    shards: Vec<ShardView>,
    /// The memory that the state takes, in bytes.
    memory: u64,
}

#[derive(Debug)]
struct ShardView {
    state: v1::ShardState,
    keys: Buckets<Record>,
    sessions: Buckets<Session>,
    tombstones: Buckets<Tombstone>,
    forgotten: Vec<SessionId>,
    /// Held until all of the shard is read.
    hold: Hold,
}

impl StoreView {
    pub(super) fn new(time: u64, founded: Option<&Founded>) -> Self {
        let shards = founded.map_or(Vec::new(), |founded| {
            let view =
                |(id, slot): (ShardId, &RwLock<Slot>)| ShardView::of(id, &slot.read(), founded.hold(id));
            founded.slots().filter_map(view).collect()
        });
        let memory = founded.map_or(0, Founded::held);
        let founded = founded.map(|founded| founded.facts.as_ref().into());
        Self { group: v1::GroupState { time, founded }, shards, memory }
    }

    /// Returns the cluster and group that it belongs to; zeros before the group is founded.
    pub fn identity(&self) -> (u64, u64) {
        self.group.founded.as_ref().map_or((0, 0), |f| (f.cluster_id, f.group_uid))
    }

    /// Returns the memory that the state takes, in bytes.
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// Returns all of its items, for [`Restore`](super::Restore). Buckets are let go of as they are
    /// read.
    pub fn into_items(self) -> impl Iterator<Item = v1::SnapshotItem> + Send {
        let shards = self.shards.into_iter().flat_map(|shard| {
            let hold = shard.hold;
            std::iter::once(Item::Shard(shard.state))
                .chain(shard.keys.into_items().map(|record| Item::Key(record.into())))
                .chain(shard.sessions.into_items().map(|session| Item::Session(session.into())))
                .chain(shard.tombstones.into_items().map(|tombstone| Item::Tombstone(tombstone.into())))
                .chain(shard.forgotten.into_iter().map(|id| Item::Forgotten(id.into())))
                .inspect(move |_| _ = &hold)
        });
        std::iter::once(Item::Group(self.group))
            .chain(shards)
            .map(|item| v1::SnapshotItem { item: Some(item) })
    }
}

impl ShardView {
    /// Returns the state of a shard; `None` if the group has never had anything of it.
    fn of(id: ShardId, slot: &Slot, hold: Hold) -> Option<Self> {
        if slot.is_untouched() {
            return None;
        }
        let [key_count, session_count, tombstone_count, forgotten_count] = slot.counts();
        let (keys, sessions, tombstones, forgotten) = match &slot.holding {
            Holding::Nothing => Default::default(),
            Holding::Owned(owned) => (
                owned.shard.keys.clone(),
                owned.shard.sessions.view(),
                owned.changes().map(|changes| changes.tombstones().clone()).unwrap_or_default(),
                owned.shard.sessions.forgotten().to_vec(),
            ),
            Holding::Staged(staged) => (
                staged.shard.keys.clone(),
                staged.sessions.clone(),
                staged.tombstones.clone(),
                staged.forgotten.iter().copied().collect(),
            ),
        };
        let owned = slot.owned().map(|owned| &owned.shard);
        let state = v1::ShardState {
            shard: id.0,
            revision: owned.map_or(0, |shard| shard.revision.0),
            floor: owned.map_or(0, |shard| shard.sessions.floor()),
            keys: key_count,
            sessions: session_count,
            tombstones: tombstone_count,
            forgotten: forgotten_count,
            fence: Some(slot.fence.into()),
            holding: slot.holding.to_wire(),
        };
        Some(Self { state, keys, sessions, tombstones, forgotten, hold })
    }
}
