//! The table of cases by which these rules are tested, and with them every program that follows them: each
//! case begins with the reports of servers and shard manager, so that it also shows that a program hands
//! on the reports that it got.

use std::collections::{BTreeMap, BTreeSet};

use skv_proto::v1;
use skv_sharding::{GroupId, GroupUid};

use crate::Step;

/// The shards of a group that shares them.
const SHARE: u32 = 4;
/// The servers of each group.
const REPLICAS: u64 = 3;

/// A store as it is known, and the steps that follow.
#[derive(Debug, Clone)]
pub struct Case {
    /// A sentence about the rule.
    pub name: &'static str,
    /// The number of groups that is asked for.
    pub count: u32,
    /// The statuses by server, of each group that has servers.
    pub said: BTreeMap<GroupId, BTreeMap<String, v1::ReplicaStatus>>,
    /// The shard map.
    pub map: v1::ShardMap,
    /// The newest configuration.
    pub newest: v1::Configuration,
    /// The groups whose servers must run.
    pub running: BTreeSet<GroupId>,
    /// The steps that are due.
    pub steps: Vec<Step>,
    /// The notes that the steps come with.
    pub notes: Vec<&'static str>,
}

/// A group, by default one that runs, is founded, leads, and shares the shards.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Clone, Copy)]
struct Group {
    id: u32,
    /// The number of shards that it owns by the map.
    mapped: u32,
    /// The number of shards that its leader reports as owned and received.
    owned: u32,
    arriving: u32,
    has_servers: bool,
    shares: bool,
    drained: bool,
    founded: bool,
    leads: bool,
    /// The number of its replicas that report it retired.
    retired: u64,
    /// True if its last replica is of another group of the same number.
    has_stranger: bool,
}

impl Group {
    fn running(id: u32) -> Group {
        Group {
            id,
            mapped: SHARE,
            owned: SHARE,
            arriving: 0,
            has_servers: true,
            shares: true,
            drained: false,
            founded: true,
            leads: true,
            retired: 0,
            has_stranger: false,
        }
    }

    /// Returns a group that doesn't share the shards, and has none.
    fn empty(id: u32) -> Group {
        Group { shares: false, mapped: 0, owned: 0, ..Group::running(id) }
    }

    /// Returns a group whose replicas all know that it is retired, and that the shard manager has
    /// forgotten.
    fn forgotten(id: u32) -> Group {
        Group { founded: false, retired: REPLICAS, ..Group::empty(id) }
    }

    fn uid(self) -> u64 {
        u64::from(self.id) + 100
    }

    fn server(self, replica: u64) -> String {
        format!("demo-g{}-{}", self.id, replica - 1)
    }

    /// Returns the reports of its servers.
    fn statuses(self) -> BTreeMap<String, v1::ReplicaStatus> {
        let members =
            (1..=REPLICAS).map(|replica| v1::membership::Member { replica, server: self.server(replica) });
        let membership = v1::Membership {
            configs: vec![v1::membership::VoterSet { replicas: (1..=REPLICAS).collect() }],
            members: members.collect(),
        };
        let log_id = v1::LogId { term: 1, replica: 1, index: 1 };
        let stored = v1::StoredMembership { log_id: Some(log_id), membership: Some(membership) };
        let exists = self.founded || self.retired > 0;
        let status = |replica: u64| {
            if !exists {
                let state = v1::ReplicaState::Waiting.into();
                return v1::ReplicaStatus { group: self.id, replica, state, ..v1::ReplicaStatus::default() };
            }
            let leads = self.leads && replica == 1;
            let state = if leads { v1::ReplicaState::Leader } else { v1::ReplicaState::Follower };
            let is_stranger = self.has_stranger && replica == REPLICAS;
            v1::ReplicaStatus {
                group: self.id,
                group_uid: if is_stranger { 1 } else { self.uid() },
                replica,
                state: state.into(),
                ready: true,
                term: 1,
                membership: Some(stored.clone()),
                shards_owned: self.owned,
                shards_arriving: self.arriving,
                retired: replica <= self.retired,
                ..v1::ReplicaStatus::default()
            }
        };
        (1..=REPLICAS).map(|replica| (self.server(replica), status(replica))).collect()
    }
}

/// Returns shards one after the other, for each of these groups the given number.
fn ranges(shares: impl IntoIterator<Item = (u32, u32)>) -> Vec<v1::ShardRange> {
    let mut first = 0;
    let range = |(group, count)| {
        first += count;
        v1::ShardRange { first: first - count, count, group, epoch: 1 }
    };
    shares.into_iter().filter(|(_, count)| *count > 0).map(range).collect()
}

fn ids(numbers: &[u32]) -> Vec<GroupId> {
    numbers.iter().copied().map(GroupId).collect()
}

fn join(groups: &[u32]) -> Step {
    Step::Join(ids(groups))
}

fn leave(groups: &[u32]) -> Step {
    Step::Leave(ids(groups))
}

fn retire(group: Group) -> Step {
    Step::Retire { group: GroupId(group.id), uid: GroupUid(group.uid()), server: group.server(1) }
}

/// Returns a case from which no step follows yet.
fn case<const N: usize>(name: &'static str, count: u32, groups: [Group; N]) -> Case {
    let in_map = |group: &Group| v1::Group {
        id: group.id,
        uid: group.uid(),
        drained: group.drained,
        ..v1::Group::default()
    };
    let first = groups.iter().find(|group| group.shares).map_or(0, |group| group.id);
    // A group that has left no longer shares the shards: its own go to the first that does.
    let planned = |group: &Group| (if group.shares { group.id } else { first }, group.mapped);
    Case {
        name,
        count,
        said: groups
            .iter()
            .filter(|group| group.has_servers)
            .map(|group| (GroupId(group.id), group.statuses()))
            .collect(),
        map: v1::ShardMap {
            groups: groups.iter().filter(|group| group.founded).map(in_map).collect(),
            ranges: ranges(groups.iter().map(|group| (group.id, group.mapped))),
            ..v1::ShardMap::default()
        },
        newest: v1::Configuration {
            groups: groups.iter().filter(|group| group.shares).map(|group| group.id).collect(),
            ranges: ranges(groups.iter().map(planned)),
            ..v1::Configuration::default()
        },
        running: groups.iter().filter(|group| group.has_servers).map(|group| GroupId(group.id)).collect(),
        steps: Vec::new(),
        notes: Vec::new(),
    }
}

impl Case {
    /// Sets the groups whose servers must run; by default they are those that have servers.
    fn runs(self, groups: &[u32]) -> Case {
        Case { running: ids(groups).into_iter().collect(), ..self }
    }

    fn steps<const N: usize>(self, steps: [Step; N]) -> Case {
        Case { steps: steps.into(), ..self }
    }

    fn says<const N: usize>(self, notes: [&'static str; N]) -> Case {
        Case { notes: notes.into(), ..self }
    }
}

/// Returns all cases: those of groups that come, those of groups that go, those of both.
pub fn all() -> Vec<Case> {
    [coming(), leaving(), ending(), coming_again()].concat()
}

fn coming() -> Vec<Case> {
    let [g0, g1, g2] = [0, 1, 2].map(Group::running);
    let unfounded = Group { founded: false, ..Group::empty(2) };
    let leaderless = Group { leads: false, ..Group::empty(2) };
    let drained = Group { drained: true, ..Group::empty(1) };
    vec![
        case("where all is as asked for nothing is done", 2, [g0, g1]),
        case("a new group runs first", 3, [g0, g1])
            .runs(&[0, 1, 2])
            .says(["g2 is to join: waiting for g2 to be founded"]),
        case("then it is founded", 3, [g0, g1, unfounded])
            .says(["g2 is to join: waiting for g2 to be founded"]),
        case("then it is led", 3, [g0, g1, leaderless])
            .says(["g2 is to join: waiting for a leader of g2 that has a quorum"]),
        case("then it joins", 3, [g0, g1, Group::empty(2)]).steps([join(&[2])]).says(["g2 joins"]),
        case("new groups join together", 3, [g0, Group::empty(1), Group::empty(2)])
            .steps([join(&[1, 2])])
            .says(["g1, g2 join"]),
        case("none joins while one is missing", 3, [g0, Group::empty(1), unfounded])
            .says(["g1, g2 are to join: waiting for g2 to be founded"]),
        case(
            "none joins while one that shares is without a leader",
            2,
            [Group { leads: false, ..g0 }, Group::empty(1)],
        )
        .says(["g1 is to join: waiting for a leader of g0 that has a quorum"]),
        case("a drained group stays so until fewer are asked for", 3, [g0, drained, g2]),
        case("the drained one goes first", 2, [g0, drained, g2])
            .steps([retire(drained)])
            .says(["g1 is empty, and is retired"]),
        case("of two that go each takes its own step", 1, [g0, drained, g2])
            .steps([leave(&[2]), retire(drained)])
            .says(["g2 leaves", "g1 is empty, and is retired"]),
    ]
}

fn leaving() -> Vec<Case> {
    let [g0, g1, g2, g3] = [0, 1, 2, 3].map(Group::running);
    let gone = Group { shares: false, ..g2 };
    vec![
        case("those that are too many leave together", 2, [g0, g1, g2, g3])
            .steps([leave(&[2, 3])])
            .says(["g2, g3 leave"]),
        case("one that shares no shards goes before one that does", 1, [Group::empty(0), g1])
            .steps([retire(Group::empty(0))])
            .says(["g0 is empty, and is retired"]),
        case("one that leaves keeps its leader until all is gone", 2, [g0, g1, gone])
            .says(["g2 leaves: 4 of its shards are still to go"]),
        case("the map may say so alone", 2, [g0, g1, Group { mapped: 1, ..Group::empty(2) }])
            .says(["g2 leaves: 1 of its shards are still to go"]),
        case("the group may say so alone", 2, [g0, g1, Group { owned: 2, ..Group::empty(2) }])
            .says(["g2 leaves: 2 of its shards are still to go"]),
        case("it may still receive some", 2, [g0, g1, Group { arriving: 1, ..Group::empty(2) }])
            .says(["g2 leaves: it still receives 1 shards"]),
        case("without a leader it stays", 2, [g0, g1, Group { leads: false, ..gone }])
            .says(["g2 is to leave, but no leader of it has a quorum"]),
        case(
            "a group without servers gets them, and gives what it has",
            2,
            [g0, g1, Group { has_servers: false, ..gone }],
        )
        .runs(&[0, 1, 2])
        .says(["g2 is to leave: its servers, which are gone, are made again"]),
        case("nobody leaves where no other shares the shards", 1, [Group { retired: 1, ..g0 }])
            .says(["g0 is to leave: no other group shares the shards"]),
    ]
}

fn ending() -> Vec<Case> {
    let [g0, g1] = [0, 1].map(Group::running);
    let retired = Group { retired: REPLICAS, ..Group::empty(2) };
    vec![
        case("an empty group is retired", 2, [g0, g1, Group::empty(2)])
            .steps([retire(Group::empty(2))])
            .says(["g2 is empty, and is retired"]),
        case("a retired one waits to be forgotten", 2, [g0, g1, retired])
            .says(["g2 is retired: waiting for the shard manager to forget it"]),
        case("a forgotten one ends", 2, [g0, g1, Group::forgotten(2)])
            .runs(&[0, 1])
            .says(["g2 is no more: its servers stop"]),
        case("not before its voters know it", 2, [g0, g1, Group { retired: 2, ..Group::forgotten(2) }])
            .says(["g2 is to go: waiting for demo-g2-2 to learn that g2 is retired"]),
        case(
            "unless nobody tells them",
            2,
            [g0, g1, Group { retired: 2, leads: false, ..Group::forgotten(2) }],
        )
        .runs(&[0, 1])
        .says(["g2 is no more: its servers stop"]),
        case(
            "not while a replica is of another group",
            2,
            [g0, g1, Group { retired: 2, has_stranger: true, ..Group::forgotten(2) }],
        )
        .says(["g2 is to go: waiting for the shard manager, to which it isn't known yet"]),
    ]
}

fn coming_again() -> Vec<Case> {
    let [g0, g1, g2] = [0, 1, 2].map(Group::running);
    let retired = Group { retired: REPLICAS, ..Group::empty(2) };
    vec![
        case("one that leaves, and is wanted again, joins again", 3, [g0, g1, Group { shares: false, ..g2 }])
            .steps([join(&[2])])
            .says(["g2 joins"]),
        case("a retired one that is wanted again is gone first", 3, [g0, g1, retired]).says([
            "g2 is to join: waiting for the old g2 to be gone",
            "g2 is retired: waiting for the shard manager to forget it",
        ]),
        case("and ends like others", 3, [g0, g1, Group::forgotten(2)])
            .runs(&[0, 1])
            .says(["g2 is to join: waiting for the old g2 to be gone", "g2 is no more: its servers stop"]),
        case(
            "one that somebody has retired leaves although it is wanted",
            3,
            [g0, g1, Group { retired: 1, ..g2 }],
        )
        .steps([leave(&[2])])
        .says(["g2 leaves"]),
        case("no group that works leaves in place of a retired one", 2, [g0, Group { retired: 1, ..g1 }, g2])
            .steps([leave(&[1])])
            .says(["g1 leaves"]),
    ]
}
