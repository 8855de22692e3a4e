//! Members that are too many, of which some don't work.

use super::*;

/// Makes a group that is to have fewer servers, of which some are gone for good.
fn shrinking(servers: u32, wanted: u32, gone: &[u32]) -> Scene {
    let mut scene = Scene::new(servers);
    scene.resolved.spec.replicas = wanted;
    for ordinal in gone {
        scene.silence(0, *ordinal);
        scene.pod(0, *ordinal).state = PodState::Down("Unschedulable".to_owned());
    }
    scene
}

#[test]
fn one_that_is_gone_for_good_leaves_before_those_without_which_there_is_no_majority() {
    let mut scene = shrinking(3, 1, &[1]);
    // Without the last one, only one of two would work.
    assert_eq!(scene.steps(), ["remove demo-g0-1", "remove demo-g0-2"]);
    assert_eq!(scene.decide().shrink, [GroupId(0)].into());

    let mut scene = shrinking(5, 1, &[1, 2]);
    let expected = ["remove demo-g0-2", "remove demo-g0-1", "remove demo-g0-4", "remove demo-g0-3"];
    assert_eq!(scene.steps(), expected);
    assert_eq!(shrinking(5, 3, &[3]).steps(), ["remove demo-g0-3", "remove demo-g0-4"]);
    assert_eq!(shrinking(3, 1, &[2]).steps(), ["remove demo-g0-2", "remove demo-g0-1"]);
}

#[test]
fn a_leader_that_is_too_many_hands_over_before_one_that_is_gone_leaves() {
    let mut scene = shrinking(3, 1, &[1]);
    scene.lead(0, ReplicaId(3));
    assert_eq!(scene.steps(), ["hand over demo-g0-2 1", "remove demo-g0-1", "remove demo-g0-2"]);
}

#[test]
fn one_that_lacks_entries_or_is_not_ready_leaves_before_one_that_works() {
    assert_eq!(shrinking(3, 1, &[]).next(), "remove demo-g0-2");
    let mut scene = shrinking(3, 1, &[]);
    scene.lag(0, 1);
    assert_eq!(scene.next(), "remove demo-g0-1");
    let mut scene = shrinking(3, 1, &[]);
    scene.unready(0, 1, PodState::Stuck);
    assert_eq!(scene.next(), "remove demo-g0-1");
}

#[test]
fn one_whose_place_another_replica_has_leaves_before_one_that_works() {
    let mut scene = shrinking(3, 1, &[1]);
    scene.members(0).heard.insert("demo-g0-1".to_owned());
    scene.members(0).hosted.insert("demo-g0-1".to_owned(), ReplicaId(12));
    scene.members(0).waiting.insert("demo-g0-1".to_owned());
    assert_eq!(scene.next(), "remove demo-g0-1");
}
