//! The store against a small model of the rules, over random traffic: commands sent,
//! sent again and reordered, time passing, snapshots taken and restored on the way.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use skv_proto::v1;
use skv_proto::v1::command::Kind;
use skv_store::{Answer, Outcome, Rejection, Store, encode_batch, encode_tick};

use crate::support::*;

const TTL: u64 = 1000;
const MAX_SESSIONS: usize = 3;
const MAX_VALUE: usize = 30;
const OLD_VALUE_BUDGET: usize = 60;
const WINDOW: u64 = 1024;

fn limits() -> v1::Limits {
    v1::Limits {
        max_key_bytes: 100,
        max_value_bytes: MAX_VALUE as u64,
        max_sessions_per_shard: MAX_SESSIONS as u64,
        session_ttl_ms: TTL,
        max_old_value_bytes_per_shard: OLD_VALUE_BUDGET as u64,
    }
}

/// The result of a command, in plain types.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expected {
    Put { success: bool, revision: u64 },
    Append { old: Option<String>, revision: u64 },
    Delete { success: bool, found: bool, revision: u64 },
    Rejected(Rejection),
}

impl From<Outcome> for Expected {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Ok(Answer::Put { success, revision }) => Expected::Put { success, revision: revision.0 },
            Ok(Answer::Append { old, revision }) => Expected::Append {
                old: old.map(|old| String::from_utf8(old.value().to_vec()).unwrap()),
                revision: revision.0,
            },
            Ok(Answer::Delete { success, found, revision }) => {
                Expected::Delete { success, found, revision: revision.0 }
            }
            Err(rejection) => Expected::Rejected(rejection),
        }
    }
}

type SessionId = (u64, u64);

#[derive(Debug)]
struct ModelSession {
    acked_below: u64,
    used: (u64, u64),
    /// The decided requests by sequence number: the revision, the bytes that the old value keeps, the
    /// answer.
    decided: BTreeMap<u64, (u64, usize, Expected)>,
}

/// A shard, each rule in the plainest way.
#[derive(Debug, Default)]
struct Model {
    time: u64,
    revision: u64,
    floor: u64,
    keys: BTreeMap<String, (String, u64)>,
    sessions: BTreeMap<SessionId, ModelSession>,
    /// Every request that was ever executed.
    executed: BTreeSet<(SessionId, u64)>,
}

impl Model {
    fn forget(&mut self, id: SessionId) {
        self.floor = self.floor.max(id.0);
        self.sessions.remove(&id);
    }

    fn pass(&mut self, time: u64) {
        self.time = self.time.max(time);
        let due: Vec<_> =
            self.sessions.iter().filter(|(_, s)| s.used.1 + TTL <= self.time).map(|(id, _)| *id).collect();
        for id in due {
            self.forget(id);
        }
    }

    fn execute(&mut self, command: &v1::Command) -> Expected {
        let Some(id) = command.id else {
            return self.mutate(command).map_or_else(Expected::Rejected, |(a, _)| a);
        };
        let session_id = id.session.map(|s| (s.opened_at, s.random)).unwrap();
        let session = self.sessions.get(&session_id);
        if session.is_none() && session_id.0 <= self.floor {
            return Expected::Rejected(Rejection::SessionExpired { floor: self.floor });
        }
        if session.is_none() && session_id.0 > self.time + 60_000 {
            return Expected::Rejected(Rejection::ClockSkew { time: self.time });
        }
        let acked_below = session.map_or(1, |s| s.acked_below).max(id.acked_below);
        let seq = id.seq;
        if seq < acked_below {
            return Expected::Rejected(Rejection::StaleSequence { seq, acked_below });
        }
        if seq >= acked_below + WINDOW {
            return Expected::Rejected(Rejection::WindowExceeded { seq, acked_below });
        }
        if let Some((_, _, answer)) = session.and_then(|s| s.decided.get(&seq)) {
            let kind = match answer {
                Expected::Put { .. } => Kind::Put,
                Expected::Delete { .. } => Kind::Delete,
                Expected::Append { .. } | Expected::Rejected(_) => Kind::Append,
            };
            let same = kind == command.kind();
            return if same { answer.clone() } else { Expected::Rejected(Rejection::ReusedRequestId) };
        }
        let (answer, old_bytes) = match self.mutate(command) {
            Ok(done) => done,
            Err(rejection) => return Expected::Rejected(rejection),
        };
        assert!(self.executed.insert((session_id, seq)), "{session_id:?} {seq} is executed a second time");
        if !self.sessions.contains_key(&session_id) && self.sessions.len() == MAX_SESSIONS {
            let (&oldest, _) = self.sessions.iter().min_by_key(|(_, s)| s.used).unwrap();
            self.forget(oldest);
        }
        let fresh = ModelSession { acked_below, used: (0, 0), decided: BTreeMap::new() };
        let session = self.sessions.entry(session_id).or_insert(fresh);
        session.acked_below = acked_below;
        session.used = (self.revision, self.time);
        session.decided.insert(seq, (self.revision, old_bytes, answer.clone()));
        session.decided.retain(|seq, _| *seq >= acked_below);
        self.keep_to_budget();
        answer
    }

    fn keep_to_budget(&mut self) {
        loop {
            let decided = || self.sessions.values().flat_map(|s| s.decided.values());
            if decided().map(|d| d.1).sum::<usize>() <= OLD_VALUE_BUDGET {
                return;
            }
            let oldest = decided().filter(|d| d.1 > 0).map(|d| d.0).min().unwrap();
            for decided in self.sessions.values_mut().flat_map(|s| s.decided.values_mut()) {
                if decided.0 == oldest {
                    let revision = skv_sharding::Revision(oldest);
                    *decided = (oldest, 0, Expected::Rejected(Rejection::AlreadyApplied { revision }));
                }
            }
        }
    }

    /// Returns the answer, and the bytes that keeping it costs.
    fn mutate(&mut self, command: &v1::Command) -> Result<(Expected, usize), Rejection> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (key, value) = (text(&command.key), text(&command.value));
        let current = self.keys.get(&key).cloned();
        let current_revision = current.as_ref().map_or(0, |c| c.1);
        let failed = command.if_revision.is_some_and(|r| r != current_revision);
        let revision = self.revision + 1;
        let old = current.as_ref().map(|c| c.0.clone());
        let next = match command.kind() {
            _ if failed => None,
            Kind::Put => Some(value),
            Kind::Append => Some(old.clone().unwrap_or_default() + &value),
            Kind::Delete => None,
        };
        if next.as_ref().is_some_and(|next| next.len() > MAX_VALUE) {
            return Err(Rejection::ValueTooLarge { limit: MAX_VALUE as u64 });
        }
        self.revision = revision;
        let kept = old.as_ref().map_or(0, |old| key.len() + old.len());
        let found = old.is_some();
        Ok(match command.kind() {
            Kind::Put if failed => (Expected::Put { success: false, revision: current_revision }, 0),
            Kind::Delete if failed => {
                (Expected::Delete { success: false, found, revision: current_revision }, 0)
            }
            Kind::Delete => {
                self.keys.remove(&key);
                (Expected::Delete { success: true, found, revision: 0 }, 0)
            }
            kind => {
                self.keys.insert(key, (next.unwrap(), revision));
                match kind {
                    Kind::Append => (Expected::Append { old, revision }, kept),
                    _ => (Expected::Put { success: true, revision }, 0),
                }
            }
        })
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// A new command.
    Send(v1::Command),
    /// The nth command before, sent again.
    Again(usize),
    Wait(u64),
    Tick,
    /// The state goes through a snapshot, into a store with another hash seed.
    Restore(u64),
}

fn session() -> impl Strategy<Value = SessionId> {
    let opened_at = prop_oneof![1u64..2000, Just(61_500), Just(500)];
    (opened_at, 0u64..2)
}

fn any_command() -> impl Strategy<Value = v1::Command> {
    let keys = keys_of(0, 3);
    let id = (session(), 1u64..8, 0u64..7, 0u8..40);
    let kind = prop_oneof![Just(Kind::Put), Just(Kind::Append), Just(Kind::Append), Just(Kind::Delete)];
    let condition = proptest::option::weighted(0.3, prop_oneof![Just(0), 1u64..20]);
    (kind, 0..keys.len(), "[a-z]{0,12}", condition, proptest::option::weighted(0.9, id)).prop_map(
        move |(kind, key, value, condition, id)| {
            let command = command(kind, &keys[key], &value);
            // An Append has no condition.
            let command = v1::Command { if_revision: condition.filter(|_| kind != Kind::Append), ..command };
            match id {
                None => command,
                Some((session, seq, _, 0)) => by(session, seq + WINDOW, 1, command),
                Some((session, seq, back, _)) => by(session, seq, seq.saturating_sub(back), command),
            }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => any_command().prop_map(Step::Send),
        8 => (0usize..30).prop_map(Step::Again),
        2 => (0u64..400).prop_map(Step::Wait),
        1 => Just(Step::Tick),
        1 => any::<u64>().prop_map(Step::Restore),
    ]
}

/// Returns the values of the model's shard, as the store has them.
fn values(store: &Store) -> BTreeMap<String, (String, u64)> {
    let found = keys_of(0, 3).into_iter().filter_map(|key| {
        let (value, revision) = store.get(key.as_bytes()).unwrap()?;
        Some((key, (String::from_utf8(value.to_vec()).unwrap(), revision.0)))
    });
    found.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_rules_say(steps in proptest::collection::vec(step(), 1..120)) {
        let mut store = founded(1, limits());
        let mut model = Model::default();
        let mut sent = Vec::new();
        let mut time = 500;
        for step in steps {
            let command = match step {
                Step::Send(command) => {
                    sent.push(command.clone());
                    command
                }
                Step::Again(back) => match sent.iter().rev().nth(back) {
                    Some(command) => command.clone(),
                    None => continue,
                },
                Step::Wait(ms) => {
                    time += ms;
                    continue;
                }
                Step::Tick => {
                    store.apply(&encode_tick(time)).unwrap();
                    model.pass(time);
                    continue;
                }
                Step::Restore(seed) => {
                    store = restored(&store, seed);
                    continue;
                }
            };
            model.pass(time);
            prop_assert_eq!(Expected::from(apply(&store, time, command.clone())), model.execute(&command));
            let state = shard_state(&store, 0);
            prop_assert_eq!((state.revision, state.floor), (model.revision, model.floor));
            prop_assert_eq!(state.sessions, model.sessions.len() as u64);
            prop_assert_eq!(values(&store), model.keys.clone());
        }
    }

    #[test]
    fn replicas_stay_equal_whatever_they_restored(
        batches in proptest::collection::vec(
            (0u64..400, proptest::collection::vec(any_command(), 1..20), proptest::option::weighted(0.2, any::<u64>())),
            1..12,
        ),
    ) {
        let mut time = 500;
        let (one, mut other) = (founded(1, limits()), founded(2, limits()));
        for (wait, commands, restore) in batches {
            time += wait;
            let entry = encode_batch(time, commands);
            prop_assert_eq!(one.apply(&entry), other.apply(&entry));
            if let Some(seed) = restore {
                other = restored(&other, seed);
            }
            prop_assert_eq!(dump(&one), dump(&other));
            prop_assert_eq!(one.stats(), other.stats());
        }
    }
}
