//! The rules, one by one. [`world`] tries them in any order.

mod changing;
mod lost_record;
mod registering;
mod resizing;
mod retiring;
mod room;
mod together;
mod world;

use std::time::Duration;

use skv_sharding::{
    ClusterId, Epoch, GroupId, GroupUid, Hash, Incarnation, Lineage, MapRevision, Owner, Policy, Replica,
    ReplicaId, ShardId, ShardSet,
};

use super::{
    ALIVE, Decision, Event, Full, Heard, Held, Plan, Refusal, Registration, Report, Settings, register,
};
use crate::record::{GroupRecord, Limits, Record};

const LIMITS: Limits = Limits {
    max_key_bytes: 4096,
    max_value_bytes: 1 << 20,
    max_sessions_per_shard: 100,
    session_ttl_ms: 1000,
};

fn replica(id: u64, server: &str) -> Replica {
    Replica {
        id: ReplicaId(id),
        server: server.to_owned(),
        client_address: format!("{server}:{}", 1000 + id),
        peer_address: format!("{server}:{}", 2000 + id),
        instance: id.to_string(),
    }
}

pub(super) fn settings() -> Settings {
    Settings {
        groups: 2,
        replicas: 3,
        shards: 6,
        hash: Hash::Fnv1,
        policy: Policy::Minimal,
        ring: false,
        limits: LIMITS,
    }
}

/// A manager whose store never fails, and the time.
pub(super) struct Bench {
    pub(super) settings: Settings,
    pub(super) record: Option<Record>,
    pub(super) heard: Heard,
    pub(super) now: Duration,
    pub(super) writes: Vec<Event>,
    last_id: u64,
}

impl Bench {
    pub(super) fn new() -> Self {
        Bench {
            settings: settings(),
            record: None,
            heard: Heard::default(),
            now: Duration::ZERO,
            writes: Vec::new(),
            last_id: 1000,
        }
    }

    pub(super) fn decide(&mut self, registration: &Registration) -> Result<Decision, Refusal> {
        let last_id = &mut self.last_id;
        let mut ids = || {
            *last_id += 1;
            *last_id
        };
        let (record, heard) = (self.record.as_ref(), &mut self.heard);
        let mut decision = register(&self.settings, record, heard, registration, self.now, &mut ids)?;
        if let Some((record, events)) = decision.change.take() {
            assert_eq!(record.revision, decision.revision);
            self.heard.saw(&record);
            self.record = Some(record);
            self.writes.extend(events);
        }
        Ok(decision)
    }

    pub(super) fn say(&mut self, registration: &Registration) -> Plan {
        self.decide(registration).unwrap().plan
    }

    pub(super) fn refuse(&mut self, registration: &Registration) -> Refusal {
        self.decide(registration).unwrap_err()
    }

    pub(super) fn record(&self) -> &Record {
        self.record.as_ref().unwrap()
    }

    pub(super) fn group(&self, group: u32) -> &GroupRecord {
        &self.record().groups[&GroupId(group)]
    }

    /// Moves the clock far enough that no replica counts as alive any more.
    pub(super) fn silence(&mut self) {
        self.now += ALIVE;
    }

    /// Has all first members register empty. Returns the plan of the last one.
    pub(super) fn found(&mut self) -> Plan {
        let all = (0..2).flat_map(|group| (0..3).map(move |n| (group, n)));
        all.map(|(group, n)| self.say(&empty(group, n))).last().unwrap()
    }

    /// Returns the registration of a replica with data, whose group is as the record has it.
    pub(super) fn data(&self, group: u32, n: u64) -> Registration {
        let record = self.record();
        let known = self.group(group);
        let report = Report {
            uid: known.uid,
            incarnation: known.incarnation,
            lineage: Lineage::default(),
            members: known
                .members
                .iter()
                .map(|m| Replica { client_address: String::new(), ..m.clone() })
                .collect(),
            owned: record.shard_map().shards_of(GroupId(group)).collect(),
            obeyed_revision: record.revision,
            shards: record.shards(),
            hash: record.hash,
            confirmed: false,
            term: 1,
            leader: None,
            passed: Vec::new(),
            committed: 0,
            full: Full::default(),
            epoch: Epoch(0),
            retired: false,
        };
        Registration { held: Held::Data { cluster: record.cluster, report }, ..empty(group, n) }
    }

    /// Returns the registration of the leader.
    pub(super) fn leader(&self, group: u32, n: u64) -> Registration {
        confirmed(self.data(group, n))
    }
}

/// Returns the n-th first member of a group.
pub(super) fn member(group: u32, n: u64) -> Replica {
    replica(u64::from(group) * 100 + n + 1, &format!("kv-g{group}-{n}"))
}

pub(super) fn empty(group: u32, n: u64) -> Registration {
    Registration {
        group: GroupId(group),
        replica: member(group, n),
        held: Held::Nothing,
        map_revision: MapRevision(0),
    }
}

/// Returns the registration of an empty replica on the server of a first member.
pub(super) fn replacement(group: u32, n: u64, id: u64) -> Registration {
    Registration { replica: replica(id, &member(group, n).server), ..empty(group, n) }
}

pub(super) fn confirmed(registration: Registration) -> Registration {
    let id = registration.replica.id;
    with(registration, |report| {
        report.confirmed = true;
        report.leader = Some(id);
    })
}

pub(super) fn with(mut registration: Registration, change: impl FnOnce(&mut Report)) -> Registration {
    if let Held::Data { report, .. } = &mut registration.held {
        change(report);
    }
    registration
}

pub(super) fn waits(plan: &Plan) -> bool {
    matches!(plan, Plan::Wait { .. })
}

pub(super) fn serves(plan: &Plan) -> bool {
    matches!(plan, Plan::Serve { .. })
}
