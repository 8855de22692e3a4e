//! The messages for each situation.

mod argocd;
mod programs;

use k8s_openapi::jiff::ToSpan as _;
use skv_proto::v1;
use skv_resource::Replacing;
use skv_sharding::{ClusterId, GroupId};
use skv_turnover::Assignment;

use super::*;
use crate::condition::ConditionType::{Available, Degraded, Progressing, Stalled, Valid};
use crate::condition::notices;
use crate::observed::{ObservedMap, ObservedSet};
use crate::pods::{PodState, ServerPod};

fn names() -> Names {
    Names { resource: "demo".to_owned(), namespace: "prod".to_owned() }
}

fn resolved(spec: &ShardedKvSpec, seen: &Observed) -> Resolved {
    Resolved::of(names(), spec, seen).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + second.seconds()
}

/// Returns two groups of three, with these numbers of ready servers.
fn seen(ready: [u32; 2]) -> Observed {
    let pod = |ordinal| ServerPod {
        name: format!("demo-{ordinal}"),
        uid: String::new(),
        ordinal,
        restart_hash: String::new(),
        node: None,
        peer_address: None,
        state: PodState::Ready,
    };
    let group = |ready| ObservedServers {
        set: Some(ObservedSet { replicas: 3, ..ObservedSet::default() }),
        pods: (0..ready).map(|ordinal| (ordinal, pod(ordinal))).collect(),
        claims: Vec::new(),
    };
    Observed {
        servers: (0..).map(GroupId).map(ServerSet::Group).zip(ready.map(group)).collect(),
        ready_managers: 2,
        managers_rolled_out: true,
        images: ["shardedkv:1".to_owned()].into(),
        map: Some(ObservedMap {
            cluster: ClusterId(7),
            configuration: 1,
            leaders: [(GroupId(0), "demo-g0-1".to_owned())].into(),
            disk_full: BTreeSet::new(),
            memory_full: BTreeSet::new(),
            assignment: Assignment {
                shards: [(GroupId(0), 120), (GroupId(1), 120)].into(),
                ..Assignment::default()
            },
        }),
        ..Observed::default()
    }
}

fn status_of(spec: &ShardedKvSpec, old: &ShardedKvStatus, seen: &Observed, second: i64) -> ShardedKvStatus {
    with_outcome(spec, old, seen, &Outcome::default(), second)
}

fn with_outcome(
    spec: &ShardedKvSpec,
    old: &ShardedKvStatus,
    seen: &Observed,
    outcome: &Outcome,
    second: i64,
) -> ShardedKvStatus {
    let circumstances = Circumstances {
        validity: &Verdict::valid(&[]),
        seen,
        outcome,
        changed: false,
        looked: true,
        failure: None,
    };
    observed(&resolved(spec, seen), old, &circumstances, Some(1), at(second))
}

fn condition(status: &ShardedKvStatus, type_: ConditionType) -> (&str, &str) {
    let found = status.conditions.iter().find(|condition| condition.type_ == type_.name()).unwrap();
    (&found.status, &found.reason)
}

fn first(seen: &Observed) -> ShardedKvStatus {
    status_of(&ShardedKvSpec::default(), &ShardedKvStatus::default(), seen, 1)
}

#[test]
fn a_store_that_starts_is_progressing_and_not_degraded() {
    let status = first(&Observed::default());
    assert_eq!(condition(&status, Available), ("False", "Starting"));
    assert_eq!(condition(&status, Progressing), ("True", "Starting"));
    assert!(notices(&[], &status.conditions).is_empty(), "nobody need be warned");
    assert_eq!(condition(&status, Degraded), ("False", "Healthy"));
    assert_eq!((status.ready.as_str(), status.shards.as_str()), ("0/6", "0/240"));
    assert_eq!(status.summary, "waiting for servers of g0, g1");
}

#[test]
fn a_store_that_runs_is_complete() {
    let status = first(&seen([3, 3]));
    assert_eq!(condition(&status, Available), ("True", "QuorumReady"));
    assert_eq!(condition(&status, Progressing), ("False", "Complete"));
    assert_eq!(condition(&status, Degraded), ("False", "Healthy"));
    assert_eq!(
        (status.ready.as_str(), status.shards.as_str(), status.version.as_str()),
        ("6/6", "240/240", "1")
    );
    let group = &status.groups[0];
    assert_eq!((group.name.as_str(), group.leader.as_deref(), group.shards), ("g0", Some("demo-g0-1"), 120));
    assert_eq!(status.selector.matches('=').count(), 4);
    assert_eq!(status.cluster.as_deref(), Some("0000000000000007"));
}

#[test]
fn a_server_that_goes_away_degrades_and_a_majority_stays_available() {
    let spec = ShardedKvSpec::default();
    let running = first(&seen([3, 3]));
    let status = status_of(&spec, &running, &seen([3, 2]), 2);
    assert_eq!(condition(&status, Available).0, "True");
    assert_eq!(condition(&status, Degraded), ("True", "ReplicasNotReady"));
    let still = status_of(&spec, &status, &seen([3, 1]), 3);
    assert_eq!(condition(&still, Available), ("False", "NoQuorum"));
    assert_eq!(condition(&still, Degraded).0, "True");
    let again = status_of(&spec, &still, &seen([3, 3]), 4);
    assert_eq!(condition(&again, Degraded).0, "False");
}

#[test]
fn what_keeps_pods_from_running_is_said_at_once() {
    let mut seen = seen([3, 2]);
    seen.problems = vec!["demo-g1-0: ImagePullBackOff: no such image".to_owned()];
    let status = first(&seen);
    assert_eq!(condition(&status, Degraded), ("True", "PodsNotRunning"));
    assert_eq!(status.summary, "demo-g1-0: ImagePullBackOff: no such image");
}

#[test]
fn want_of_room_degrades_the_groups_that_have_it_until_there_is_room() {
    let (spec, running) = (ShardedKvSpec::default(), first(&seen([3, 3])));
    let mut full = seen([3, 3]);
    full.map.as_mut().unwrap().memory_full = [GroupId(1)].into();
    let status = status_of(&spec, &running, &full, 2);
    assert_eq!(condition(&status, Degraded), ("True", "MemoryFull"));
    assert_eq!(status.summary, "no room in the memory of g1: what makes data grow is refused");
    assert_eq!(condition(&status, Available).0, "True", "reads go on");
    let news = notices(&running.conditions, &status.conditions);
    assert!(news.iter().any(|event| event.is_warning && event.reason == "MemoryFull"), "{news:?}");

    full.map.as_mut().unwrap().disk_full = [GroupId(0), GroupId(1)].into();
    let status = status_of(&spec, &status, &full, 3);
    assert_eq!(condition(&status, Degraded), ("True", "DiskFull"));
    assert_eq!(status.summary, "no room on the disks of g0, g1: writes are refused");
    let status = status_of(&spec, &status, &seen([3, 3]), 4);
    assert_eq!(condition(&status, Degraded), ("False", "Healthy"));
}

#[test]
fn the_shard_manager_tells_which_groups_lack_room() {
    let group = |id, disk_full, memory_full| v1::Group { id, disk_full, memory_full, ..v1::Group::default() };
    let groups = vec![group(0, true, false), group(1, false, true), group(2, false, false)];
    let map = v1::ShardMap { groups, ..v1::ShardMap::default() };
    let seen = ObservedMap::of(&map, &v1::Configuration::default());
    assert_eq!((seen.disk_full, seen.memory_full), ([GroupId(0)].into(), [GroupId(1)].into()));
}

#[test]
fn shards_that_move_are_counted_until_all_have_arrived() {
    let (spec, running) = (ShardedKvSpec::default(), first(&seen([3, 3])));
    let mut moving = seen([3, 3]);
    moving.map.as_mut().unwrap().assignment.elsewhere = 37;
    let status = status_of(&spec, &running, &moving, 2);
    assert_eq!(condition(&status, Progressing), ("True", "Moving"));
    assert_eq!(status.summary, "37 of 240 shards are on their way");
    let outcome = Outcome {
        turnover: vec!["g2 leaves: 37 of its shards are still to go".to_owned()],
        ..Outcome::default()
    };
    let status = with_outcome(&spec, &running, &moving, &outcome, 2);
    let both = "37 of 240 shards are on their way; g2 leaves: 37 of its shards are still to go";
    assert_eq!(status.summary, both);
    let outcome = Outcome { doing: Some("replacing demo-g0-2".to_owned()), ..Outcome::default() };
    let status = with_outcome(&spec, &running, &moving, &outcome, 2);
    assert_eq!(condition(&status, Progressing), ("True", "Changing"));
    assert_eq!(status.summary, "replacing demo-g0-2; 37 of 240 shards are on their way");
    let status = status_of(&spec, &status, &seen([3, 3]), 3);
    assert_eq!(condition(&status, Progressing), ("False", "Complete"));
}

#[test]
fn a_group_without_shards_is_missed_by_nobody() {
    let (spec, running) = (ShardedKvSpec::default(), first(&seen([3, 3])));
    let mut coming = seen([3, 0]);
    coming.map.as_mut().unwrap().assignment.shards = [(GroupId(0), 240)].into();
    let status = status_of(&spec, &running, &coming, 2);
    assert_eq!(condition(&status, Available), ("True", "QuorumReady"));
    assert_eq!(condition(&status, Progressing), ("True", "Starting"));
    assert_eq!(condition(&status, Degraded), ("False", "Healthy"));
}

#[test]
fn it_is_not_complete_before_the_shard_manager_has_said_so() {
    let (spec, running) = (ShardedKvSpec::default(), first(&seen([3, 3])));
    let mut without = seen([3, 3]);
    without.map = None;
    let status = status_of(&spec, &running, &without, 2);
    assert_eq!(condition(&status, Progressing), ("False", "Complete"), "what it said last stands");
    let before = ShardedKvStatus { observed_generation: Some(0), ..running };
    let status = status_of(&spec, &before, &without, 2);
    assert_eq!(condition(&status, Progressing), ("True", "Starting"), "of another specification it said it");
}

#[test]
fn what_is_being_done_is_said() {
    let (spec, running) = (ShardedKvSpec::default(), first(&seen([3, 3])));
    let replacing = Replacing { pod: "demo-g1-2".to_owned(), uid: "u".to_owned() };
    let old = ShardedKvStatus { replacing: Some(replacing), ..running };
    let doing = Outcome { doing: Some("replacing demo-g1-2".to_owned()), ..Outcome::default() };
    let status = with_outcome(&spec, &old, &seen([3, 2]), &doing, 2);
    assert_eq!(condition(&status, Progressing), ("True", "Changing"));
    assert_eq!(condition(&status, Degraded).0, "False", "one server less is what was wanted");
    assert_eq!(status.summary, "replacing demo-g1-2");
    assert_eq!(status.replacing, old.replacing);
    let done = Outcome { replaced: true, ..Outcome::default() };
    let status = with_outcome(&spec, &status, &seen([3, 3]), &done, 3);
    assert_eq!(
        (status.replacing, status.summary.as_str()),
        (None, "Everything is as the specification says")
    );
}

/// Returns the status after a pass that changed something, and then perhaps failed.
fn changed(failure: Option<Failure<'_>>) -> ShardedKvStatus {
    let (spec, seen) = (ShardedKvSpec::default(), seen([3, 3]));
    let (validity, outcome) = (Verdict::valid(&[]), Outcome::default());
    let circumstances = Circumstances {
        validity: &validity,
        seen: &seen,
        outcome: &outcome,
        changed: true,
        looked: true,
        failure,
    };
    observed(&resolved(&spec, &seen), &ShardedKvStatus::default(), &circumstances, Some(1), at(1))
}

#[test]
fn what_was_just_changed_is_not_complete() {
    let status = changed(None);
    assert_eq!(condition(&status, Progressing), ("True", "Changing"));
}

#[test]
fn servers_that_are_too_many_are_waited_for() {
    let status = first(&seen([3, 4]));
    assert_eq!(condition(&status, Progressing), ("True", "Changing"));
    assert_eq!(status.summary, "waiting for servers that are too many to stop");
}

#[test]
fn a_majority_that_is_gone_for_good_comes_with_the_way_out() {
    let lost = Outcome { lost: vec![GroupId(1)], ..Outcome::default() };
    let status = with_outcome(&ShardedKvSpec::default(), &first(&seen([3, 3])), &seen([3, 1]), &lost, 2);
    assert_eq!(condition(&status, Degraded), ("True", "QuorumLost"));
    assert!(
        status.summary.contains("g1") && status.summary.contains("skv group reset"),
        "{}",
        status.summary
    );
}

#[test]
fn a_majority_that_is_gone_for_good_is_told_of_while_nobody_can_look() {
    let (spec, seen) = (ShardedKvSpec::default(), seen([3, 1]));
    let lost = Outcome { lost: vec![GroupId(1)], ..Outcome::default() };
    let before = with_outcome(&spec, &ShardedKvStatus::default(), &seen, &lost, 2);
    let circumstances = Circumstances {
        validity: &Verdict::valid(&[]),
        seen: &seen,
        outcome: &Outcome::default(),
        changed: false,
        looked: false,
        failure: Some(Failure::Passing("can't list pods: timeout")),
    };
    let after = observed(&resolved(&spec, &seen), &before, &circumstances, Some(1), at(3));
    for type_ in [Degraded, Stalled] {
        assert_eq!(condition(&after, type_), ("True", "QuorumLost"));
    }
    let looked = status_of(&spec, &after, &seen, 4);
    assert_eq!(condition(&looked, Degraded), ("True", "ReplicasNotReady"));
}

#[test]
fn volumes_that_can_not_grow_are_said() {
    let refused = Outcome { refused: Some("no expansion".to_owned()), ..Outcome::default() };
    let status =
        with_outcome(&ShardedKvSpec::default(), &ShardedKvStatus::default(), &seen([3, 3]), &refused, 2);
    assert_eq!(condition(&status, Progressing), ("False", "VolumesCannotGrow"));
    assert_eq!(status.summary, "no expansion");
}

#[test]
fn a_failure_to_apply_comes_first() {
    let status = changed(Some(Failure::Lasting("can't apply Service demo: no")));
    assert_eq!(condition(&status, Progressing), ("False", "ApplyFailed"));
    assert_eq!(status.summary, "can't apply Service demo: no");
    assert!(notices(&[], &status.conditions).iter().any(|event| event.reason == "ApplyFailed"));
}

#[test]
fn a_failure_that_may_pass_is_work_under_way_and_no_news() {
    let status = changed(Some(Failure::Passing("can't apply Service demo: it was changed meanwhile")));
    assert_eq!(condition(&status, Progressing), ("True", "Retrying"));
    assert_eq!(status.summary, "can't apply Service demo: it was changed meanwhile");
    assert!(notices(&[], &status.conditions).is_empty());
}

#[test]
fn a_pause_is_said_and_health_is_still_watched() {
    let spec = ShardedKvSpec { paused: true, ..ShardedKvSpec::default() };
    let running = first(&seen([3, 3]));
    let status = status_of(&spec, &running, &seen([3, 2]), 2);
    assert_eq!(condition(&status, Progressing), ("False", "Paused"));
    assert_eq!(status.summary, "paused; 1 of 6 servers are not ready");
}

#[test]
fn an_invalid_resource_says_why_and_forgets_nothing() {
    let running = first(&seen([3, 3]));
    let seen = seen([3, 1]);
    let circumstances = Circumstances {
        validity: &Verdict::invalid(Reason::Invalid, "spec.shards: is fixed".to_owned()),
        seen: &seen,
        outcome: &Outcome::default(),
        changed: false,
        looked: true,
        failure: None,
    };
    let by_the_last = resolved(&ShardedKvSpec::default(), &seen);
    let status = observed(&by_the_last, &running, &circumstances, Some(2), at(2));
    assert_eq!(condition(&status, Valid), ("False", "Invalid"));
    assert_eq!(condition(&status, Available), ("False", "NoQuorum"), "what runs is still watched");
    assert_eq!((status.summary.as_str(), status.observed_generation), ("spec.shards: is fixed", Some(2)));
    assert_eq!((&status.founded, &status.accepted), (&running.founded, &running.accepted));
    assert!(status.accepted.is_some());
}

#[test]
fn fields_that_are_passed_over_are_named() {
    let conditions = conditions(&[], [Verdict::valid(&["spec.colour".to_owned()])], None, at(1));
    assert_eq!((conditions[0].status.as_str(), conditions[0].reason.as_str()), ("True", "UnknownFields"));
    assert!(conditions[0].message.ends_with("doesn't know: spec.colour"), "{}", conditions[0].message);
}

#[test]
fn a_shard_manager_that_is_away_for_long_degrades_and_the_data_is_available() {
    let (spec, running) = (ShardedKvSpec::default(), first(&seen([3, 3])));
    let away = Observed { managers_away: true, ready_managers: 0, map: None, ..seen([3, 3]) };
    let status = status_of(&spec, &running, &away, 2);
    assert_eq!(condition(&status, Degraded), ("True", "ShardManagerUnavailable"));
    assert_eq!(condition(&status, Available).0, "True");
}

#[test]
fn what_servers_and_kubernetes_say_of_a_problem_is_said() {
    let running = first(&seen([3, 3]));
    let refused = "demo-g1-2: its snapshot has format 9, and this program reads up to 3";
    let ailing = Observed { refusals: vec![refused.to_owned()], ..seen([3, 2]) };
    let status = status_of(&ShardedKvSpec::default(), &running, &ailing, 2);
    assert_eq!(condition(&status, Degraded), ("True", "ReplicaRefuses"));
    assert_eq!(status.summary, refused);
    let quota = "create Pod demo-g1-2 in StatefulSet demo-g1 failed: exceeded quota";
    let ailing = Observed { forbidden: vec![quota.to_owned()], ..ailing };
    let status = status_of(&ShardedKvSpec::default(), &running, &ailing, 2);
    assert_eq!(condition(&status, Degraded), ("True", "PodsForbidden"));
    assert_eq!(status.summary, quota);
}

#[test]
fn volumes_are_complete_when_they_have_grown() {
    let mut growing = seen([3, 3]);
    growing.growth.under_way = vec!["data-demo-g0-0 has 1Gi of 2Gi".to_owned()];
    let status = first(&growing);
    assert_eq!(condition(&status, Progressing), ("True", "VolumesGrowing"));
    assert_eq!(status.summary, "waiting for volumes to grow: data-demo-g0-0 has 1Gi of 2Gi");
    growing.growth.hopeless = vec!["data-demo-g0-1 has 1Gi of 2Gi (no room)".to_owned()];
    let status = first(&growing);
    assert_eq!(condition(&status, Progressing), ("False", "VolumesCannotGrow"));
}

#[test]
fn what_the_shard_manager_said_last_stands_while_it_is_away() {
    let running = first(&seen([3, 3]));
    let mut without = seen([3, 3]);
    without.map = None;
    let status = status_of(&ShardedKvSpec::default(), &running, &without, 2);
    assert_eq!(status.groups, running.groups);
    assert_eq!((status.cluster, status.configuration), (running.cluster, 1));
}

#[test]
fn times_change_only_with_the_condition_and_the_same_sight_gives_the_same_status() {
    let spec = ShardedKvSpec::default();
    let running = first(&seen([3, 3]));
    assert_eq!(status_of(&spec, &running, &seen([3, 3]), 100), running);
    let degraded = status_of(&spec, &running, &seen([3, 2]), 200);
    let time = |status: &ShardedKvStatus, type_: ConditionType| {
        status.conditions.iter().find(|c| c.type_ == type_.name()).unwrap().last_transition_time.0
    };
    assert_eq!((time(&degraded, Available), time(&degraded, Degraded)), (at(1), at(200)));
}

#[test]
fn events_tell_what_changed_and_nothing_twice() {
    let spec = ShardedKvSpec::default();
    let starting = first(&Observed::default());
    let reasons = |old: &ShardedKvStatus, new: &ShardedKvStatus| -> Vec<String> {
        notices(&old.conditions, &new.conditions).into_iter().map(|event| event.reason).collect()
    };
    let running = status_of(&spec, &starting, &seen([3, 3]), 2);
    assert_eq!(reasons(&starting, &running), ["QuorumReady", "Complete"]);
    assert!(reasons(&running, &status_of(&spec, &running, &seen([3, 3]), 3)).is_empty());
    let degraded = status_of(&spec, &running, &seen([3, 2]), 4);
    assert_eq!(reasons(&running, &degraded), ["Starting", "ReplicasNotReady"]);
}

#[test]
fn servers_of_a_ring_are_counted_once_and_a_group_is_available_by_its_own() {
    let spec = ShardedKvSpec {
        placement: skv_resource::Placement::Ring,
        groups: 5,
        shards: 5,
        replicas: 3,
        ..ShardedKvSpec::default()
    };
    let seen = |away: &[u32]| {
        let mut seen = seen([3, 3]);
        let mut servers = seen.servers.remove(&ServerSet::Group(GroupId(0))).unwrap();
        let pod = servers.pods[&0].clone();
        servers.set.as_mut().unwrap().replicas = 5;
        servers.pods =
            (0..5).filter(|place| !away.contains(place)).map(|place| (place, pod.clone())).collect();
        seen.servers = [(ServerSet::Ring, servers)].into();
        let map = &mut seen.map.as_mut().unwrap().assignment;
        map.shards = (0..5).map(|group| (GroupId(group), 1)).collect();
        map.sharing = (0..5).map(GroupId).collect();
        seen
    };
    let starting = status_of(&spec, &ShardedKvStatus::default(), &Observed::default(), 1);
    assert_eq!((starting.ready.as_str(), starting.group_count), ("0/5", 0));
    let running = status_of(&spec, &starting, &seen(&[]), 2);
    assert_eq!(condition(&running, Progressing), ("False", "Complete"));
    assert_eq!((running.ready.as_str(), running.shards.as_str(), running.group_count), ("5/5", "5/5", 5));

    let status = status_of(&spec, &running, &seen(&[1]), 3);
    assert_eq!(condition(&status, Available).0, "True");
    assert_eq!(condition(&status, Degraded), ("True", "ReplicasNotReady"));
    assert!(status.summary.starts_with("1 of 5 servers"), "{}", status.summary);
    let ready: Vec<u32> = status.groups.iter().map(|group| group.ready_replicas).collect();
    assert_eq!(ready, [2, 2, 3, 3, 2]);
    let status = status_of(&spec, &running, &seen(&[1, 2]), 3);
    assert_eq!(condition(&status, Available), ("False", "NoQuorum"));
    let available = status.conditions.iter().find(|condition| condition.type_ == Available.name()).unwrap();
    assert_eq!(available.message, "no majority is ready of g0, g1");

    // A pod that is being replaced is meant to be away: once, not once for each of its groups.
    let replacing = Replacing { pod: "demo-1".to_owned(), uid: String::new() };
    let old = ShardedKvStatus { replacing: Some(replacing), ..running };
    assert_eq!(condition(&status_of(&spec, &old, &seen(&[1]), 4), Degraded).0, "False");
}
