//! The whole state as a stream of items, and back.

use bytes::Bytes;
use foldhash::quality::FixedState;
use skv_proto::v1;
use skv_proto::v1::command::Kind;
use skv_proto::v1::session_state::Decided as DecidedItem;
use skv_proto::v1::snapshot_item::Item;
use skv_sharding::{Epoch, Revision, ShardId};

use crate::store::buckets::Buckets;
use crate::store::facts::{Facts, RecordError};
use crate::store::founded::Founded;
use crate::store::record::Record;
use crate::store::sessions::{Decided, Decision, Session, SessionId, Sessions};
use crate::store::shard::Shard;
use crate::store::{Answer, KeyValue};

/// The state of a group between two entries, shared with the store bucket by bucket.
#[derive(Debug)]
pub struct StoreView {
    group: v1::GroupState,
    shards: Vec<ShardView>,
}

#[derive(Debug)]
struct ShardView {
    state: v1::ShardState,
    keys: Buckets<Record>,
    sessions: Buckets<Session>,
}

impl StoreView {
    pub(super) fn new(time: u64, founded: Option<&Founded>) -> Self {
        let shards = founded.map_or(Vec::new(), |founded| {
            (0..)
                .zip(&founded.shards)
                .filter_map(|(id, shard)| Some(ShardView::new(id, shard.read().as_ref()?)))
                .collect()
        });
        let founded = founded.map(|founded| founded.facts.as_ref().into());
        Self { group: v1::GroupState { time, founded }, shards }
    }

    /// The cluster and group that it belongs to; zeros before the group is founded.
    pub fn identity(&self) -> (u64, u64) {
        self.group.founded.as_ref().map_or((0, 0), |f| (f.cluster_id, f.group_uid))
    }

    /// All that it holds, for [`Restore`]. Buckets are let go of as they are read.
    pub fn into_items(self) -> impl Iterator<Item = v1::SnapshotItem> + Send {
        let shards = self.shards.into_iter().flat_map(|shard| {
            std::iter::once(Item::Shard(shard.state))
                .chain(shard.keys.into_items().map(|record| Item::Key(record.into())))
                .chain(shard.sessions.into_items().map(|session| Item::Session(session.into())))
        });
        std::iter::once(Item::Group(self.group))
            .chain(shards)
            .map(|item| v1::SnapshotItem { item: Some(item) })
    }
}

impl ShardView {
    fn new(id: u32, shard: &Shard) -> Self {
        Self {
            state: v1::ShardState {
                shard: id,
                epoch: shard.epoch.0,
                revision: shard.revision.0,
                floor: shard.sessions.floor(),
                keys: shard.keys.len() as u64,
                sessions: shard.sessions.len() as u64,
            },
            keys: shard.keys.clone(),
            sessions: shard.sessions.view(),
        }
    }
}

/// Items that are no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// They contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
    /// The group's facts can't be.
    #[error(transparent)]
    Facts(#[from] RecordError),
}

use RestoreError::Contradiction;

/// Puts a state together from the items of a view.
#[derive(Debug)]
pub struct Restore {
    hasher: FixedState,
    group: Option<(u64, Option<Founded>)>,
    shard: Option<(v1::ShardState, Shard)>,
}

/// A state that [`Store::restore`](super::Store::restore) takes.
#[derive(Debug)]
pub struct Restored {
    pub(super) time: u64,
    pub(super) founded: Option<Founded>,
}

impl Restore {
    /// For the store that hashes its keys so.
    pub(super) fn new(hasher: FixedState) -> Self {
        Self { hasher, group: None, shard: None }
    }

    /// Adds the next item.
    pub fn add(&mut self, item: v1::SnapshotItem) -> Result<(), RestoreError> {
        match item.item.ok_or(Contradiction("an item of an unknown kind"))? {
            Item::Group(_) if self.group.is_some() => Err(Contradiction("a second group")),
            Item::Group(group) => {
                let founded = group.founded.map(Facts::try_from).transpose()?.map(Founded::new);
                self.group = Some((group.time, founded));
                Ok(())
            }
            Item::Shard(state) => {
                self.end_shard()?;
                let mut shard = Shard::new(Epoch(state.epoch));
                shard.revision = Revision(state.revision);
                shard.keys = Buckets::with_capacity(state.keys as usize);
                shard.sessions = Sessions::with_floor(state.floor, state.sessions as usize);
                self.shard = Some((state, shard));
                Ok(())
            }
            Item::Key(key) => {
                let (_, shard) = self.shard.as_mut().ok_or(Contradiction("a key outside of a shard"))?;
                shard.restore(key.try_into()?, &self.hasher);
                Ok(())
            }
            Item::Session(session) => {
                let limits = self.founded()?.facts.limits;
                let (_, shard) = self.shard.as_mut().ok_or(Contradiction("a session outside of a shard"))?;
                shard.sessions.restore(session.try_into()?, &limits, &self.hasher);
                Ok(())
            }
        }
    }

    /// The state, once all items were added.
    pub fn finish(mut self) -> Result<Restored, RestoreError> {
        self.end_shard()?;
        let (time, founded) = self.group.ok_or(Contradiction("no group"))?;
        Ok(Restored { time, founded })
    }

    fn founded(&self) -> Result<&Founded, RestoreError> {
        self.group
            .as_ref()
            .and_then(|(_, founded)| founded.as_ref())
            .ok_or(Contradiction("a shard without a group"))
    }

    fn end_shard(&mut self) -> Result<(), RestoreError> {
        let Some((state, shard)) = self.shard.take() else { return Ok(()) };
        if state.keys != shard.keys.len() as u64 || state.sessions != shard.sessions.len() as u64 {
            return Err(Contradiction("a shard with other numbers of keys or sessions than it says"));
        }
        let slot = self.founded()?.shards.get(ShardId(state.shard).0 as usize);
        let mut slot = slot.ok_or(Contradiction("a shard beyond the number of shards"))?.write();
        if slot.is_some() {
            return Err(Contradiction("a shard twice"));
        }
        *slot = Some(shard);
        Ok(())
    }
}

impl From<Record> for v1::KeyState {
    fn from(record: Record) -> Self {
        Self {
            key_length: record.pair.key_length(),
            revision: record.revision.0,
            record: Bytes::from_owner(record.pair),
        }
    }
}

impl TryFrom<v1::KeyState> for Record {
    type Error = RestoreError;
    fn try_from(wire: v1::KeyState) -> Result<Self, RestoreError> {
        Ok(Self { pair: pair(&wire.record, wire.key_length)?, revision: Revision(wire.revision) })
    }
}

fn pair(record: &[u8], key_length: u32) -> Result<KeyValue, RestoreError> {
    KeyValue::from_bytes(record, key_length).ok_or(Contradiction("a key longer than its record"))
}

impl From<Session> for v1::SessionState {
    fn from(session: Session) -> Self {
        let Session { id, acked_below, used_revision, used_at, decided } = session;
        Self {
            id: Some(v1::SessionId { opened_at: id.opened_at, random: id.random }),
            acked_below,
            used_revision: used_revision.0,
            used_at,
            decided: decided.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::SessionState> for Session {
    type Error = RestoreError;
    fn try_from(wire: v1::SessionState) -> Result<Self, RestoreError> {
        let id = wire.id.ok_or(Contradiction("a session without an id"))?;
        Ok(Self {
            id: SessionId { opened_at: id.opened_at, random: id.random },
            acked_below: wire.acked_below,
            used_revision: Revision(wire.used_revision),
            used_at: wire.used_at,
            decided: wire.decided.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}

impl From<Decided> for DecidedItem {
    fn from(decided: Decided) -> Self {
        let item = DecidedItem { seq: decided.seq, ..DecidedItem::default() };
        match decided.decision {
            Decision::Answered(Answer::Put { success, revision }) => {
                Self { kind: Kind::Put as i32, success, revision: revision.0, ..item }
            }
            Decision::Answered(Answer::Delete { success, found, revision }) => {
                Self { kind: Kind::Delete as i32, success, found, revision: revision.0, ..item }
            }
            Decision::Answered(Answer::Append { old, revision }) => Self {
                kind: Kind::Append as i32,
                found: old.is_some(),
                revision: revision.0,
                key_length: old.as_ref().map_or(0, KeyValue::key_length),
                old_record: old.map_or(Bytes::new(), Bytes::from_owner),
                ..item
            },
            Decision::Forgotten(revision) => {
                Self { kind: Kind::Append as i32, forgotten: true, revision: revision.0, ..item }
            }
        }
    }
}

impl TryFrom<DecidedItem> for Decided {
    type Error = RestoreError;
    fn try_from(wire: DecidedItem) -> Result<Self, RestoreError> {
        let kind = Kind::try_from(wire.kind).map_err(|_| Contradiction("an answer of an unknown kind"))?;
        let (success, found, revision) = (wire.success, wire.found, Revision(wire.revision));
        let answer = match kind {
            Kind::Append if wire.forgotten => {
                return Ok(Self { seq: wire.seq, decision: Decision::Forgotten(revision) });
            }
            Kind::Put => Answer::Put { success, revision },
            Kind::Delete => Answer::Delete { success, found, revision },
            Kind::Append => {
                let old = found.then(|| pair(&wire.old_record, wire.key_length)).transpose()?;
                Answer::Append { old, revision }
            }
        };
        Ok(Self { seq: wire.seq, decision: Decision::Answered(answer) })
    }
}
