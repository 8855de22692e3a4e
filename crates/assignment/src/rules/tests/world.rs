//! Replicas that obey plans, lose their disks and restart, and a record that is lost or
//! put back from an older copy, in any order: nothing is ever founded twice (invariant 7),
//! and once the trouble is over all replicas serve.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SERVERS: usize = 6;
const QUORUM: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    Register { server: usize, just_started: bool },
    Wipe { server: usize },
    Wait { seconds: u64 },
    RestartManager,
    LoseRecord,
    CopyRecord,
    RestoreRecord,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => (0..SERVERS, any::<bool>()).prop_map(|(server, just_started)| Step::Register { server, just_started }),
        2 => (0..SERVERS).prop_map(|server| Step::Wipe { server }),
        2 => (0..8u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::RestartManager),
        1 => Just(Step::LoseRecord),
        1 => Just(Step::CopyRecord),
        1 => Just(Step::RestoreRecord),
    ]
}

/// The disk of one server.
#[derive(Debug, Clone, Copy)]
struct Disk {
    id: u64,
    place: Option<(ClusterId, GroupUid)>,
    data: bool,
}

/// The state of a group according to its own log.
#[derive(Debug, Clone)]
struct Truth {
    uid: GroupUid,
    cluster: ClusterId,
    members: Vec<Replica>,
    owned: Vec<(ShardId, Epoch)>,
    obeyed: MapRevision,
    term: u64,
}

struct World {
    bench: Bench,
    disks: Vec<Disk>,
    groups: BTreeMap<u32, Truth>,
    copy: Option<Record>,
    /// The revision of each server's copy of the map.
    maps: [MapRevision; SERVERS],
    next_id: u64,
}

fn group_of(server: usize) -> u32 {
    server as u32 / 3
}

impl World {
    fn new() -> Self {
        let disks = (0..SERVERS as u64).map(|n| Disk { id: n + 1, place: None, data: false }).collect();
        World {
            bench: Bench::new(),
            disks,
            groups: BTreeMap::new(),
            copy: None,
            maps: [MapRevision(0); SERVERS],
            next_id: 100,
        }
    }

    fn replica(&self, server: usize) -> Replica {
        replica(self.disks[server].id, &format!("kv-{server}"))
    }

    /// Returns the members of a group whose disks are still what they were.
    fn intact(&self, group: u32) -> Vec<usize> {
        let recorded = self.bench.record.as_ref().map(|record| &record.groups[&GroupId(group)].members);
        let members = self.groups.get(&group).map(|truth| &truth.members).or(recorded);
        let is_member = |&s: &usize| members.is_some_and(|m| m.iter().any(|m| m.id.0 == self.disks[s].id));
        (0..SERVERS).filter(is_member).collect()
    }

    /// Returns the leader: the lowest member with data, if those with data are a quorum.
    fn leader(&self, group: u32) -> Option<usize> {
        let with_data: Vec<usize> = self.intact(group).into_iter().filter(|&s| self.disks[s].data).collect();
        (with_data.len() >= QUORUM).then(|| with_data[0])
    }

    fn founded(&self) -> bool {
        (0..2).all(|group| self.leader(group).is_some())
    }

    fn register(&mut self, server: usize, just_started: bool) {
        let (disk, group) = (self.disks[server], group_of(server));
        let leads = self.leader(group) == Some(server);
        let held = match (disk.place, self.groups.get(&group)) {
            (None, _) => Held::Nothing,
            (Some((cluster, _)), Some(truth)) if disk.data && !just_started => Held::Data {
                cluster,
                report: Report {
                    uid: truth.uid,
                    incarnation: Incarnation(0),
                    lineage: Lineage::default(),
                    members: truth.members.clone(),
                    owned: truth.owned.clone(),
                    epoch: Epoch(0),
                    retired: false,
                    obeyed_revision: truth.obeyed,
                    shards: 6,
                    hash: Hash::Fnv1,
                    confirmed: leads,
                    term: truth.term,
                    leader: self.leader(group).map(|s| ReplicaId(self.disks[s].id)),
                    passed: Vec::new(),
                    committed: 0,
                    full: Full::default(),
                },
            },
            (Some((cluster, _)), _) => Held::Place { cluster },
        };
        let map_revision = if held == Held::Nothing { MapRevision(0) } else { self.maps[server] };
        let replica = self.replica(server);
        let registration = Registration { group: GroupId(group), replica, held, map_revision };
        let before = self.bench.record.clone();
        let decision = self.bench.decide(&registration);
        self.check_record(before.as_ref());
        if let Ok(decision) = decision {
            self.obey(server, leads, decision);
        }
        self.watch(server);
    }

    /// Has a server hear of the map, and keep the newest.
    fn watch(&mut self, server: usize) {
        let published = self.bench.record.as_ref().map(|record| record.revision);
        self.maps[server] = self.maps[server].max(published.unwrap_or_default());
    }

    fn obey(&mut self, server: usize, leads: bool, decision: Decision) {
        let (group, id) = (group_of(server), ReplicaId(self.disks[server].id));
        match decision.plan {
            Plan::Bootstrap { uid, bootstrap, .. } => {
                let cluster = decision.cluster.expect("a plan names the cluster");
                let truth = self.groups.entry(group).or_insert_with(|| Truth {
                    uid,
                    cluster,
                    members: bootstrap.members.clone(),
                    owned: bootstrap.shards.iter().map(|shard| (shard, bootstrap.epoch)).collect(),
                    obeyed: decision.revision,
                    term: 1,
                });
                assert_eq!((truth.uid, truth.cluster), (uid, cluster), "a second founding of g{group}");
                self.disks[server].place = Some((cluster, uid));
                self.disks[server].data = true;
            }
            Plan::Join { uid, .. } => {
                let cluster = decision.cluster.expect("a plan names the cluster");
                self.disks[server].place = Some((cluster, uid));
                if let Some(truth) = self.groups.get(&group) {
                    assert_eq!((truth.uid, truth.cluster), (uid, cluster), "sent to another group");
                    // Members vote and are fed by their leader; others are admitted by it first.
                    let is_member = truth.members.iter().any(|m| m.id == id);
                    self.disks[server].data |= is_member;
                }
            }
            Plan::Serve { candidates, .. } if leads => {
                for candidate in &candidates {
                    self.admit(group, candidate, decision.revision);
                }
            }
            Plan::Serve { .. } | Plan::Wait { .. } => {}
            Plan::Retired => panic!("nobody was retired"),
        }
    }

    /// Admits a candidate as a leader does: it obeys no older map revision, and replaces only a member
    /// that is gone.
    fn admit(&mut self, group: u32, candidate: &Replica, revision: MapRevision) {
        let intact: Vec<ReplicaId> =
            self.intact(group).iter().map(|&s| ReplicaId(self.disks[s].id)).collect();
        let Some(server) = self.disks.iter().position(|disk| disk.id == candidate.id.0) else { return };
        let truth = self.groups.get_mut(&group).expect("it has a leader");
        assert!(
            revision >= truth.obeyed,
            "g{group} obeyed {}, and is given an older map revision {revision}",
            truth.obeyed
        );
        let gone = truth.members.iter_mut().find(|m| m.server == candidate.server && !intact.contains(&m.id));
        if let Some(gone) = gone {
            *gone = candidate.clone();
            truth.obeyed = revision;
            self.disks[server].data = true;
        }
    }

    fn check_record(&self, before: Option<&Record>) {
        let Some(record) = &self.bench.record else { return };
        assert_eq!(record.check(), Ok(()));
        assert!(before.is_none_or(|before| before.revision <= record.revision), "the revision fell");
        for (&group, truth) in &self.groups {
            assert_eq!(record.cluster, truth.cluster, "a second cluster");
            assert_eq!(record.groups[&GroupId(group)].uid, truth.uid, "a second g{group}");
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Register { server, just_started } => self.register(*server, *just_started),
            Step::Wipe { server } => {
                let intact = self.intact(group_of(*server));
                let is_needed = intact.contains(server) && intact.len() <= QUORUM;
                if !is_needed {
                    self.next_id += 1;
                    self.disks[*server] = Disk { id: self.next_id, place: None, data: false };
                    self.maps[*server] = MapRevision(0);
                    match self.groups.get_mut(&group_of(*server)) {
                        Some(truth) => truth.term += 1,
                        // A server that dies unnoticed before a founding may be counted in; one per group
                        // is survived.
                        None => self.bench.silence(),
                    }
                }
            }
            Step::Wait { seconds } => self.bench.now += Duration::from_secs(*seconds),
            Step::RestartManager => {
                self.bench.heard = Heard::default();
                // The manager reads the record before it takes registrations.
                self.bench.record.iter().for_each(|record| self.bench.heard.saw(record));
            }
            // Nothing can be lost before a group is founded; in the moment between, only wiping all helps.
            Step::LoseRecord if self.founded() => self.bench.record = None,
            Step::CopyRecord => self.copy = self.bench.record.clone().or(self.copy.take()),
            Step::RestoreRecord => {
                if let Some(copy) = self.copy.clone() {
                    self.bench.heard.saw(&copy);
                    self.bench.record = Some(copy);
                }
            }
            Step::LoseRecord => {}
        }
    }

    fn recover(&mut self) {
        for _ in 0..40 {
            self.bench.now += Duration::from_secs(1);
            (0..SERVERS).for_each(|server| self.register(server, false));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_is_founded_twice_and_everybody_serves_in_the_end(
        steps in proptest::collection::vec(step(), 0..150)
    ) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.recover();

        let writes = world.bench.writes.len();
        world.recover();
        prop_assert_eq!(world.bench.writes.len(), writes, "a steady state writes nothing");
        let record = world.bench.record.as_ref().expect("there is a map");
        prop_assert_eq!(record.owners.len(), 6);
        for server in 0..SERVERS {
            prop_assert!(world.disks[server].data, "server {} got no data: {:?}", server, world.disks[server]);
            let members = &record.groups[&GroupId(group_of(server))].members;
            prop_assert!(members.contains(&world.replica(server)), "{:?}", members);
            prop_assert_eq!(world.maps[server], record.revision, "server {} keeps an older map", server);
        }
        for (group, truth) in &world.groups {
            prop_assert!(record.revision >= truth.obeyed);
            prop_assert_eq!(record.groups[&GroupId(*group)].members.len(), truth.members.len());
        }
    }
}
