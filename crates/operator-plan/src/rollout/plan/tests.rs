//! The state from which StatefulSets are built.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use skv_resource::ShardedKvSpec;
use skv_sharding::GroupUid;
use skv_turnover::Assignment;

use super::*;
use crate::names::{GROUP_LABEL, Names};
use crate::observed::{Objects, ObservedMap, ObservedSet, observe};

const G0: ServerSet = ServerSet::Group(GroupId(0));

/// Returns the plan for a store of one group, which wants three servers.
fn plan(seen: Observed) -> Plan {
    let names = Names { resource: "demo".to_owned(), namespace: "prod".to_owned() };
    let spec = ShardedKvSpec { groups: 1, replicas: 3, ..ShardedKvSpec::default() };
    let resolved = Resolved::of(names, &spec, &seen).unwrap();
    Plan::of_cache(&ShardedKv::new("demo", spec), resolved, seen)
}

/// Returns a record in which the first group has this number of members.
fn record(members: u32) -> Option<Record> {
    let members: Vec<Value> = (0..members).map(|n| json!({ "server": format!("demo-g0-{n}") })).collect();
    Record::of(&json!({ "groups": { "0": { "members": members } } }))
}

/// Returns the state that the volumes of five servers show.
fn volumes() -> Observed {
    let claim = |ordinal: u32| -> PersistentVolumeClaim {
        let metadata = json!({ "name": format!("data-demo-g0-{ordinal}"), "labels": { GROUP_LABEL: "g0" } });
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    };
    let objects = Objects { claims: (0..5).map(claim).collect(), ..Objects::default() };
    observe(&objects, Timestamp::UNIX_EPOCH)
}

fn replicas(seen: Observed, record: impl FnOnce() -> Option<Record>) -> u32 {
    plan(seen).existing(record)[&G0].replicas
}

#[test]
fn each_member_gets_its_server_again_when_neither_a_statefulset_nor_a_pod_is_left() {
    assert_eq!(replicas(volumes(), || record(7)), 7, "three of seven are no majority");
    assert_eq!(replicas(volumes(), || record(5)), 5);
    assert_eq!(replicas(Observed::default(), || record(1)), 3, "it is to become three");
    assert_eq!(replicas(Observed::default(), || None), 3, "it begins");
    let map = ObservedMap {
        assignment: Assignment {
            founded: [(GroupId(0), GroupUid(1))].into(),
            sharing: [GroupId(0)].into(),
            ..Assignment::default()
        },
        ..ObservedMap::default()
    };
    let known = volumes().with_map(&ShardedKvSpec::default(), Some(map));
    assert_eq!(replicas(known, || record(5)), 5, "the shard manager knows the group");
}

#[test]
fn no_volume_that_was_kept_brings_a_server_back_that_has_left() {
    assert_eq!(replicas(volumes(), || record(3)), 3);
}

#[test]
fn no_record_is_read_where_something_is_left_to_count() {
    let set = ObservedSet { replicas: 5, ..ObservedSet::default() };
    let servers = ObservedServers { set: Some(set), ..ObservedServers::default() };
    let seen = Observed { servers: [(G0, servers)].into(), ..Observed::default() };
    assert_eq!(replicas(seen, || panic!("the StatefulSet says it")), 5);
}
