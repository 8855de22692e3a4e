//! The conditions for programs, as these read them.

use k8s_openapi::jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::condition::ConditionType::{Ready, Reconciling, Spread, Stalled};

/// The state of a resource in the eyes of a program that waits by kstatus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    InProgress,
    Failed,
    Current,
}

/// Judges a resource as kstatus does, by which Flux and Helm 4 wait: `checkGenericProperties` and
/// `checkReadyCondition` of `pkg/kstatus/status` in sigs.k8s.io/cli-utils.
fn standing(resource: &Value) -> Standing {
    let (generation, status) = (&resource["metadata"]["generation"], &resource["status"]);
    let observed = &status["observedGeneration"];
    if !observed.is_null() && observed != generation {
        return Standing::InProgress;
    }
    let conditions = status["conditions"].as_array().into_iter().flatten();
    for condition in conditions.clone().filter(|condition| condition["status"] == "True") {
        match condition["type"].as_str() {
            Some("Reconciling") => return Standing::InProgress,
            Some("Stalled") => return Standing::Failed,
            _ => {}
        }
    }
    match { conditions }.find(|condition| condition["type"] == "Ready") {
        Some(ready) if ready["status"] != "True" => Standing::InProgress,
        // Without any such condition it believes that all is well.
        _ => Standing::Current,
    }
}

fn of_generation(generation: i64, status: &ShardedKvStatus) -> Standing {
    standing(&json!({ "metadata": { "generation": generation }, "status": status }))
}

/// Returns the standing, after a check of the rules that Flux has for the conditions: at most one of the three
/// is true, all say something, and all are about the same generation.
fn judged(status: &ShardedKvStatus) -> Standing {
    let holding = [Ready, Reconciling, Stalled].map(|type_| condition(status, type_).0 == "True");
    assert!(holding.iter().filter(|holds| **holds).count() <= 1, "{:?}", status.conditions);
    for condition in &status.conditions {
        assert!(!condition.reason.is_empty() && !condition.message.is_empty(), "{condition:?}");
        assert_eq!(condition.observed_generation, status.observed_generation);
    }
    of_generation(1, status)
}

#[test]
fn a_resource_is_current_only_when_all_is_done_and_well() {
    let spec = ShardedKvSpec::default();
    let running = first(&seen([3, 3]));
    let of = |seen: &Observed| judged(&status_of(&spec, &running, seen, 2));
    assert_eq!(judged(&first(&Observed::default())), Standing::InProgress, "the first status of all");
    assert_eq!(judged(&running), Standing::Current);
    assert_eq!(of(&seen([3, 3])), Standing::Current);
    assert_eq!(of(&seen([3, 2])), Standing::InProgress);
    let mut moving = seen([3, 3]);
    moving.map.as_mut().unwrap().assignment.elsewhere = 7;
    assert_eq!(of(&moving), Standing::InProgress);
    let mut full = seen([3, 3]);
    full.map.as_mut().unwrap().disk_full = [GroupId(1)].into();
    assert_eq!(of(&full), Standing::InProgress, "it may have room again");
    let forbidden = Observed { forbidden: vec!["exceeded quota".to_owned()], ..seen([3, 2]) };
    assert_eq!(of(&forbidden), Standing::Failed);
    let refusing = Observed { refusals: vec!["unknown format".to_owned()], ..seen([3, 2]) };
    assert_eq!(of(&refusing), Standing::Failed);
}

#[test]
fn what_waits_for_a_person_has_failed_and_what_is_tried_again_has_not() {
    assert_eq!(judged(&changed(None)), Standing::InProgress);
    assert_eq!(judged(&changed(Some(Failure::Passing("busy")))), Standing::InProgress);
    assert_eq!(judged(&changed(Some(Failure::Lasting("no right")))), Standing::Failed);
    let running = first(&seen([3, 3]));
    let lost = Outcome { lost: vec![GroupId(1)], ..Outcome::default() };
    let status = with_outcome(&ShardedKvSpec::default(), &running, &seen([3, 1]), &lost, 2);
    assert_eq!(judged(&status), Standing::Failed);
    assert_eq!(condition(&status, Progressing).0, "True", "people see what it waits for");
    let refused = Outcome { refused: Some("no expansion".to_owned()), ..Outcome::default() };
    let status = with_outcome(&ShardedKvSpec::default(), &running, &seen([3, 3]), &refused, 2);
    assert_eq!(judged(&status), Standing::Failed);
}

#[test]
fn a_resource_whose_servers_share_a_node_is_current_and_people_are_told() {
    let running = first(&seen([3, 3]));
    let mut crowded = seen([3, 3]);
    for servers in crowded.servers.values_mut() {
        servers.pods.values_mut().for_each(|pod| pod.node = Some("n1".to_owned()));
    }
    let status = status_of(&ShardedKvSpec::default(), &running, &crowded, 2);
    assert_eq!(condition(&status, Spread), ("False", "SharedNode"));
    assert_eq!(judged(&status), Standing::Current);
    let told = notices(&running.conditions, &status.conditions);
    assert!(told.iter().any(|notice| notice.is_warning && notice.reason == "SharedNode"), "{told:?}");
}

#[test]
fn a_paused_resource_is_neither_done_nor_failed() {
    let spec = ShardedKvSpec { paused: true, ..ShardedKvSpec::default() };
    let status = status_of(&spec, &first(&seen([3, 3])), &seen([3, 3]), 2);
    assert_eq!(judged(&status), Standing::InProgress);
    assert_eq!(condition(&status, Ready), ("False", "Paused"));
    assert_eq!((condition(&status, Reconciling).0, condition(&status, Stalled).0), ("False", "False"));
}

#[test]
fn a_resource_that_was_never_valid_has_failed() {
    let verdict = Verdict::invalid(Reason::Invalid, "spec.replicas: 2 tolerates no failure".to_owned());
    let (status, news) = refused(&Value::Null, verdict.clone(), Some(1), at(1)).unwrap();
    assert_eq!(news.len(), 1, "{news:?}");
    let read: ShardedKvStatus = serde_json::from_value(status.clone()).unwrap();
    assert_eq!(judged(&read), Standing::Failed);
    assert_eq!(condition(&read, Ready), ("False", "Invalid"));
    let (again, news) = refused(&status, verdict, Some(1), at(2)).unwrap();
    assert_eq!((again, news), (status, Vec::new()), "nothing is written twice");
}

#[test]
fn a_status_that_is_older_than_the_specification_says_nothing() {
    assert_eq!(of_generation(2, &first(&seen([3, 3]))), Standing::InProgress);
}

/// The status that a resource has from its definition.
#[test]
fn a_resource_that_no_operator_has_seen_is_not_current() {
    let [definition, _] = skv_resource::definitions();
    let schema = definition.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
    let status = &schema.properties.as_ref().unwrap()["status"];
    let status = &status.default.as_ref().unwrap().0;
    assert_eq!(standing(&json!({ "metadata": { "generation": 1 }, "status": status })), Standing::InProgress);
    let read: ShardedKvStatus = serde_json::from_value(status.clone()).unwrap();
    assert_eq!(status_of(&ShardedKvSpec::default(), &read, &seen([3, 3]), 1), first(&seen([3, 3])));
}

/// `kubectl wait --for=condition=Ready` reads nothing but this condition's status.
#[test]
fn it_is_ready_from_the_moment_at_which_all_is_well() {
    let since = |status: &ShardedKvStatus| {
        let ready = status.conditions.iter().find(|condition| condition.type_ == Ready.name()).unwrap();
        (ready.status.clone(), ready.last_transition_time.0.duration_since(at(0)))
    };
    let spec = ShardedKvSpec::default();
    let starting = first(&Observed::default());
    let running = status_of(&spec, &starting, &seen([3, 3]), 2);
    let still = status_of(&spec, &running, &seen([3, 3]), 3);
    assert_eq!(since(&starting), ("False".to_owned(), SignedDuration::from_secs(1)));
    assert_eq!(since(&still), ("True".to_owned(), SignedDuration::from_secs(2)));
    let degraded = status_of(&spec, &still, &seen([3, 2]), 4);
    assert_eq!(since(&degraded), ("False".to_owned(), SignedDuration::from_secs(4)));
}
