//! A model of the replicated store: values, revisions, and the session table as the rules
//! demand it.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use skv_proto::v1::answer::Answer;
use skv_proto::v1::operation::Operation;
use skv_proto::{Error, v1};
use skv_sharding::{Hash, ShardId};

#[derive(Default)]
struct Session {
    acked_below: u64,
    answers: BTreeMap<u64, Answer>,
}

pub(crate) struct Store {
    pub(crate) hash: Hash,
    shards: u32,
    values: BTreeMap<Vec<u8>, (Vec<u8>, u64)>,
    revisions: HashMap<ShardId, u64>,
    sessions: HashMap<(ShardId, u64), Session>,
    pub(crate) applied: u64,
}

impl Store {
    pub(crate) fn new(shards: u32) -> Store {
        Store {
            hash: Hash::Fnv1,
            shards,
            values: BTreeMap::new(),
            revisions: HashMap::new(),
            sessions: HashMap::new(),
            applied: 0,
        }
    }

    pub(crate) fn value(&self, key: &[u8]) -> Vec<u8> {
        self.values.get(key).map(|(value, _)| value.clone()).unwrap_or_default()
    }

    /// Applies an operation at most once.
    pub(crate) fn apply(&mut self, operation: &Operation) -> Answer {
        let (key, id) = match operation {
            Operation::Get(r) => (&r.key, None),
            Operation::Put(r) => (&r.key, r.id),
            Operation::Append(r) => (&r.key, r.id),
            Operation::Delete(r) => (&r.key, r.id),
        };
        let shard = self.hash.shard(key, self.shards).unwrap();
        let Some(id) = id else { return self.execute(operation, shard) };
        let session = self.sessions.entry((shard, id.session.unwrap().random)).or_default();
        session.acked_below = session.acked_below.max(id.acked_below);
        session.answers = session.answers.split_off(&session.acked_below);
        let (seq, acked_below) = (id.seq, session.acked_below);
        if seq < acked_below {
            return Answer::Error(Error::StaleSequence { seq, acked_below }.into());
        }
        if seq >= acked_below + Error::WINDOW {
            return Answer::Error(Error::WindowExceeded { seq, acked_below }.into());
        }
        if let Some(answer) = session.answers.get(&seq) {
            return answer.clone();
        }
        let answer = self.execute(operation, shard);
        self.applied += 1;
        self.sessions
            .entry((shard, id.session.unwrap().random))
            .or_default()
            .answers
            .insert(seq, answer.clone());
        answer
    }

    fn execute(&mut self, operation: &Operation, shard: ShardId) -> Answer {
        let (Operation::Get(v1::GetRequest { key, .. })
        | Operation::Put(v1::PutRequest { key, .. })
        | Operation::Append(v1::AppendRequest { key, .. })
        | Operation::Delete(v1::DeleteRequest { key, .. })) = operation;
        let old = self.values.get(&key[..]).cloned();
        let found = old.is_some();
        let (old, old_revision) = old.unwrap_or_default();
        if matches!(operation, Operation::Get(_)) {
            return Answer::Get(v1::GetResponse { value: old.into(), found, revision: old_revision });
        }
        let revision = self.revisions.entry(shard).or_default();
        *revision += 1;
        let revision = *revision;
        let holds = |condition: Option<u64>| condition.is_none_or(|wanted| wanted == old_revision);
        match operation {
            Operation::Put(put) if !holds(put.if_revision) => {
                Answer::Put(v1::PutResponse { success: false, revision: old_revision })
            }
            Operation::Put(put) => {
                self.values.insert(key.to_vec(), (put.value.to_vec(), revision));
                Answer::Put(v1::PutResponse { success: true, revision })
            }
            Operation::Append(append) => {
                let value = [&old[..], &append.args[..]].concat();
                self.values.insert(key.to_vec(), (value, revision));
                Answer::Append(v1::AppendResponse { old_value: Bytes::from(old), revision, found })
            }
            Operation::Delete(delete) if !holds(delete.if_revision) => {
                Answer::Delete(v1::DeleteResponse { success: false, revision: old_revision, found })
            }
            Operation::Delete(_) => {
                self.values.remove(&key[..]);
                Answer::Delete(v1::DeleteResponse { success: true, revision: 0, found })
            }
            Operation::Get(_) => unreachable!("answered above"),
        }
    }
}
