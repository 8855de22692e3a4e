//! The items of snapshots and handoffs: between the store's types and the wire's.

use bytes::Bytes;
use skv_proto::v1;
use skv_proto::v1::command::Kind;
use skv_proto::v1::session_state::Decided as DecidedItem;
use skv_proto::v1::shard_state::{self, outgoing};
use skv_sharding::{Epoch, Revision};

use crate::handoff::{Changes, CopyId, Fence};
use crate::record::Record;
use crate::restore_error::RestoreError::{self, Contradiction};
use crate::sessions::{Decided, Decision, Session};
use crate::slot::{Holding, Outgoing, Phase};
use crate::{Answer, KeyValue};

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
            id: Some(id.into()),
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
        let id = wire.id.ok_or(Contradiction("a session without an id"))?.into();
        Ok(Self {
            id,
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

impl Holding {
    pub(super) fn to_wire(&self) -> Option<shard_state::Holding> {
        match self {
            Holding::Nothing => None,
            Holding::Owned(owned) => Some(shard_state::Holding::Owned(shard_state::Owned {
                epoch: owned.shard.epoch.0,
                outgoing: owned.outgoing.as_ref().map(Into::into),
            })),
            Holding::Staged(staged) => Some(shard_state::Holding::Received(shard_state::Received {
                epoch: staged.epoch.0,
                source: staged.source.group.0,
                source_uid: staged.source.uid.0,
                copy: staged.copy.0,
            })),
        }
    }
}

impl From<&Outgoing> for shard_state::Outgoing {
    fn from(from: &Outgoing) -> Self {
        let phase = match from.phase {
            Phase::Queued => outgoing::Phase::Queued,
            Phase::Copying(_) => outgoing::Phase::Copying,
            Phase::Frozen(_) => outgoing::Phase::Frozen,
        };
        let changes = from.phase.changes();
        Self {
            r#move: Some(from.to.into()),
            phase: phase as i32,
            since: changes.map_or(0, |changes| changes.begun_at().0),
            copy: changes.map_or(0, |changes| changes.copy().0),
        }
    }
}

impl TryFrom<shard_state::Outgoing> for Outgoing {
    type Error = RestoreError;
    fn try_from(wire: shard_state::Outgoing) -> Result<Self, RestoreError> {
        let changes = Changes::since(Revision(wire.since), CopyId(wire.copy));
        let phase = match outgoing::Phase::try_from(wire.phase) {
            Ok(outgoing::Phase::Queued) => Phase::Queued,
            Ok(outgoing::Phase::Copying) => Phase::Copying(changes),
            Ok(outgoing::Phase::Frozen) => Phase::Frozen(changes),
            Err(_) => return Err(Contradiction("a move in an unknown phase")),
        };
        let to = wire.r#move.ok_or(Contradiction("a move to nowhere"))?.into();
        Ok(Outgoing { to, phase })
    }
}

impl From<Fence> for shard_state::Fence {
    fn from(fence: Fence) -> Self {
        Self { seen: fence.seen.0, owned: fence.owned.0, next: fence.next.map(Into::into) }
    }
}

impl From<shard_state::Fence> for Fence {
    fn from(wire: shard_state::Fence) -> Self {
        Self { seen: Epoch(wire.seen), owned: Epoch(wire.owned), next: wire.next.map(Into::into) }
    }
}
