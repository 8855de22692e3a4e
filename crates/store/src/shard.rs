//! A shard: its keys, its sessions, its revision; and the effect of a command on it.

use std::hash::BuildHasher as _;

use foldhash::quality::FixedState;
use skv_proto::v1::{self, command::Kind};
use skv_sharding::{Epoch, Revision};

use crate::buckets::Buckets;
use crate::digest::{self, Digest};
use crate::handoff::Changes;
use crate::record::Record;
use crate::sessions::{RequestId, Sessions};
use crate::{Answer, KeyValue, Limits, Outcome, Rejection};

/// The context that commands need besides the shard.
pub(super) struct Context<'a> {
    /// The group's time in ms.
    pub(super) time: u64,
    pub(super) limits: &'a Limits,
    pub(super) hasher: &'a FixedState,
    /// The buffer in which a record is put together.
    pub(super) scratch: &'a mut Vec<u8>,
}

/// The keys and sessions of one shard.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) epoch: Epoch,
    pub(super) revision: Revision,
    pub(super) keys: Buckets<Record>,
    pub(super) key_value_bytes: u64,
    /// The bytes of all records that were replaced or removed so far.
    pub(super) replaced: u64,
    key_digest: Digest,
    pub(super) sessions: Sessions,
}

impl Shard {
    /// Returns a shard without keys and sessions.
    pub(super) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            revision: Revision(0),
            keys: Buckets::default(),
            key_value_bytes: 0,
            replaced: 0,
            key_digest: Digest::default(),
            sessions: Sessions::default(),
        }
    }

    /// Returns the record of a key, whose hash the caller knows.
    pub(super) fn get(&self, hash: u64, key: &[u8]) -> Option<&Record> {
        self.keys.find(hash, |record| record.pair.key() == key)
    }

    /// Applies a command at most once. First the session is asked, then the condition;
    /// a rejection leaves the shard as it was (invariant 3).
    pub(super) fn execute(
        &mut self,
        command: &v1::Command,
        changes: Option<&mut Changes>,
        context: &mut Context<'_>,
    ) -> Outcome {
        let id = command.id.as_ref().map(RequestId::try_from).transpose()?;
        if let Some(id) = &id
            && let Some(outcome) = self.sessions.admit(id, command.kind(), context.time, context.hasher)
        {
            return outcome;
        }
        let answer = self.mutate(command, changes, context)?;
        if let Some(id) = &id {
            let Context { time, limits, hasher, .. } = context;
            self.sessions.record(id, answer.clone(), self.revision, *time, limits, hasher);
        }
        Ok(answer)
    }

    /// Adds a record from a snapshot.
    pub(super) fn restore(&mut self, record: Record, hasher: &FixedState) {
        let hash = hasher.hash_one(record.pair.key());
        self.put(hash, record, hasher);
    }

    /// Returns a description of the shard's content, to be compared with another's.
    pub(super) fn contents(&self) -> v1::Contents {
        v1::Contents {
            keys: self.keys.len() as u64,
            key_digest: self.key_digest.0,
            sessions: self.sessions.len() as u64,
            session_digest: self.sessions.digest().0,
        }
    }

    fn mutate(
        &mut self,
        command: &v1::Command,
        changes: Option<&mut Changes>,
        context: &mut Context<'_>,
    ) -> Outcome {
        let hash = context.hasher.hash_one(&command.key[..]);
        let current = self.get(hash, &command.key);
        let before = current.map(|record| record.revision);
        let current_revision = before.unwrap_or_default();
        let next = Revision(self.revision.0 + 1);

        let condition_failed = command.if_revision.is_some_and(|wanted| wanted != current_revision.0);
        let answer = match command.kind() {
            Kind::Put if condition_failed => Answer::Put { success: false, revision: current_revision },
            Kind::Delete if condition_failed => {
                Answer::Delete { success: false, found: current.is_some(), revision: current_revision }
            }
            Kind::Put => {
                self.write(hash, &command.key, &[], &command.value, next, context)?;
                Answer::Put { success: true, revision: next }
            }
            Kind::Append => {
                let old = current.map(|record| record.pair.clone());
                let head = old.as_ref().map_or(&[][..], KeyValue::value);
                self.write(hash, &command.key, head, &command.value, next, context)?;
                Answer::Append { old, revision: next }
            }
            Kind::Delete => {
                let found = self.remove(hash, &command.key, context.hasher);
                Answer::Delete { success: true, found, revision: Revision(0) }
            }
        };
        if let Some(changes) = changes {
            match (&answer, before) {
                (Answer::Put { success: true, .. } | Answer::Append { .. }, _) => {
                    changes.wrote(hash, &command.key, before, next, context.hasher);
                }
                (Answer::Delete { success: true, .. }, Some(before)) => {
                    changes.deleted(hash, &command.key, before, next, context.hasher);
                }
                _ => {}
            }
        }
        self.revision = next;
        Ok(answer)
    }

    /// Takes a key out; returns true if it existed.
    pub(super) fn remove(&mut self, hash: u64, key: &[u8], hasher: &FixedState) -> bool {
        let eq = |record: &Record| record.pair.key() == key;
        let removed = self.keys.remove(hash, eq, |r| hasher.hash_one(r.pair.key()));
        if let Some(removed) = &removed {
            self.uncount(removed);
        }
        removed.is_some()
    }

    /// Stores `head` and `tail` as the key's value, unless it would be too long.
    fn write(
        &mut self,
        hash: u64,
        key: &[u8],
        head: &[u8],
        tail: &[u8],
        revision: Revision,
        context: &mut Context<'_>,
    ) -> Result<(), Rejection> {
        let limit = context.limits.max_value_bytes;
        if (head.len() + tail.len()) as u64 > limit {
            return Err(Rejection::ValueTooLarge { limit });
        }
        let record = Record { pair: KeyValue::new(key, head, tail, context.scratch), revision };
        self.put(hash, record, context.hasher);
        Ok(())
    }

    fn put(&mut self, hash: u64, record: Record, hasher: &FixedState) {
        self.key_value_bytes += record.pair.size() as u64;
        self.key_digest.add(digest::of_key(record.pair.key(), record.revision));
        let same = |a: &Record, b: &Record| a.pair.key() == b.pair.key();
        if let Some(replaced) = self.keys.insert(hash, record, same, |r| hasher.hash_one(r.pair.key())) {
            self.uncount(&replaced);
        }
    }

    fn uncount(&mut self, gone: &Record) {
        self.key_value_bytes -= gone.pair.size() as u64;
        self.replaced += gone.pair.size() as u64;
        self.key_digest.remove(digest::of_key(gone.pair.key(), gone.revision));
    }
}
