//! Leaders whose nodes are about to be emptied.

use super::super::drain;
use super::*;
use crate::observed::ObservedMap;

/// Returns a settled group of three, each on a node of its own: `n0`, `n1` and `n2`.
fn spread() -> Scene {
    let mut scene = Scene::new(3);
    for ordinal in 0..3 {
        scene.pod(0, ordinal).node = Some(format!("n{ordinal}"));
    }
    scene
}

fn cordon(scene: &mut Scene, nodes: &[&str]) {
    scene.cordoned.extend(nodes.iter().map(|node| (*node).to_owned()));
}

#[test]
fn a_leader_leaves_a_node_that_is_cordoned_for_one_that_is_not_and_stays_there() {
    let mut scene = spread();
    assert_eq!(scene.next(), "nothing");
    cordon(&mut scene, &["n0", "n1"]);
    assert_eq!(scene.next(), "hand over demo-g0-0 3");
    scene.evolve();
    assert_eq!(scene.next(), "nothing");
    // Neither does it go back when its old node is free again.
    scene.cordoned.clear();
    assert_eq!(scene.next(), "nothing");
    cordon(&mut scene, &["n0", "n1", "n2"]);
    assert_eq!(scene.next(), "nothing", "there is no better place");
}

#[test]
fn no_leader_goes_to_a_server_without_room_which_would_send_it_back() {
    let mut scene = spread();
    cordon(&mut scene, &["n0"]);
    assert_eq!(scene.next(), "hand over demo-g0-0 2");
    scene.members(0).full.insert(ReplicaId(2));
    assert_eq!(scene.next(), "hand over demo-g0-0 3");
    scene.members(0).full.insert(ReplicaId(3));
    assert_eq!(scene.next(), "nothing");

    // Neither does the last server of a rolling update, which would never lose the leadership.
    let mut scene = spread().outdated();
    scene.members(0).full.insert(ReplicaId(2));
    let steps = scene.steps();
    assert_eq!(steps[2..], ["hand over demo-g0-0 3", "evict demo-g0-0"]);
}

#[test]
fn it_stays_while_its_group_is_not_settled_or_other_work_is_under_way() {
    let mut scene = spread();
    cordon(&mut scene, &["n0"]);
    scene.unready(0, 1, PodState::Starting);
    assert_eq!(scene.next(), "nothing");
    let mut scene = spread();
    cordon(&mut scene, &["n0"]);
    scene.later.get_mut(&GroupId(0)).unwrap().matched.insert(ReplicaId(3), 9);
    assert_eq!(scene.next(), "nothing");
    let mut scene = spread().outdated();
    cordon(&mut scene, &["n0"]);
    assert_eq!(scene.next(), "evict demo-g0-2", "followers first");
}

/// A rolling update would else hand over to a server that hands over again.
#[test]
fn a_rolling_update_has_no_server_lead_on_a_cordoned_node_if_it_can_choose() {
    let mut scene = spread().outdated();
    cordon(&mut scene, &["n1"]);
    let steps = scene.steps();
    assert_eq!(steps[..3], ["evict demo-g0-2", "evict demo-g0-1", "hand over demo-g0-0 3"]);
    assert_eq!(steps.last().unwrap(), "evict demo-g0-0");
}

#[test]
fn one_looks_only_while_a_leader_is_on_a_cordoned_node_and_another_server_is_not() {
    let looks = |cordoned: &[&str], leader: &str| {
        let mut scene = spread();
        cordon(&mut scene, cordoned);
        let leaders = [(GroupId(0), leader.to_owned())].into();
        let map = ObservedMap { leaders, ..ObservedMap::default() };
        let Scene { servers, cordoned, .. } = scene;
        let cordoned = Some(cordoned);
        drain::needs_look(&Observed { servers, cordoned, map: Some(map), ..Observed::default() })
    };
    assert!(looks(&["n0"], "demo-g0-0"));
    assert!(!looks(&["n0"], "demo-g0-1"));
    assert!(!looks(&["n0", "n1", "n2"], "demo-g0-0"));
    assert!(!looks(&[], "demo-g0-0"));
}
