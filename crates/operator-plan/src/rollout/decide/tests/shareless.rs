//! Groups that share no shards: whom they hold up, and whom they don't.

use super::*;

/// Two groups share the shards; g2 shares none, and has no leader.
fn beside_one_that_ails(replicas: u32) -> Scene {
    let mut scene = Scene::new(replicas).with_group(1, replicas).with_group(2, replicas);
    scene.shareless.insert(GroupId(2));
    scene.lose_leader(2);
    scene
}

#[test]
fn a_group_that_shares_no_shards_holds_up_nobody_and_is_left_alone() {
    let mut scene = beside_one_that_ails(3).outdated();
    assert_eq!(scene.steps(), REPLACING_TWO_GROUPS);
    assert_eq!(scene.next(), [HAS_NO_LEADER, AND_IS_KEPT].concat());
    scene.lead_again(2);
    assert_eq!(scene.next(), "evict demo-g2-2", "its turn comes when it is well");
}

#[test]
fn a_group_that_shares_no_shards_and_is_up_to_date_holds_up_nobody() {
    let mut scene = Scene::new(3).with_group(1, 3).outdated().with_group(2, 3);
    scene.shareless.insert(GroupId(2));
    scene.pod(2, 1).state = PodState::Down("Unschedulable".to_owned());
    assert_eq!(scene.steps().len(), 8);
    assert_eq!(scene.next(), "nothing", "and nothing is left to do");
}

#[test]
fn a_group_that_shares_the_shards_holds_up_all() {
    let mut scene = beside_one_that_ails(3).outdated();
    scene.shareless.clear();
    assert_eq!(scene.next(), [HAS_NO_LEADER, AND_IS_KEPT].concat());
    let mut scene = beside_one_that_ails(3).outdated();
    scene.leader(1).changing = true;
    assert_eq!(scene.next(), ["waiting for g1: its members are changing", AND_IS_KEPT].concat());
}

#[test]
fn fewer_replicas_leave_also_beside_a_group_that_ails_and_none_leaves_that() {
    let mut scene = beside_one_that_ails(5);
    scene.resolved.spec.replicas = 3;
    let expected = ["remove demo-g0-4", "remove demo-g0-3", "remove demo-g1-4", "remove demo-g1-3"];
    assert_eq!(scene.steps(), expected);
    assert_eq!(scene.decide().shrink, [GroupId(0), GroupId(1)].into());
    for group in [0, 1] {
        scene.servers.get_mut(&of_group(group)).unwrap().set.as_mut().unwrap().replicas = 3;
    }
    assert_eq!(scene.next(), HAS_NO_LEADER);
}

#[test]
fn a_replacement_in_a_group_that_ails_and_shares_no_shards_holds_up_others_until_it_answers() {
    let next = |scene: &Scene| scene.next().replace(AND_IS_KEPT, "");
    let mut scene = beside_one_that_ails(3).outdated();
    let replacing = Replacing { pod: "demo-g2-1".to_owned(), uid: "uid-demo-g2-1".to_owned() };
    scene.replacing = Some(replacing);
    assert_eq!(next(&scene), "evict demo-g0-2", "it was recorded, and isn't done now");
    assert!(scene.decide().replaced);

    // It was done; the old one still answers while it stops.
    scene.pod(2, 1).state = PodState::Leaving;
    let unready = "replacing demo-g2-1: demo-g2-0 isn't ready: it hasn't been for more than two minutes";
    assert_eq!(next(&scene), unready);
    // The successor may have a bad image.
    let replica = scene.members(2).hosted["demo-g2-1"];
    scene.silence(2, 1);
    let successor = scene.pod(2, 1);
    (successor.uid, successor.restart_hash) = ("uid-next".to_owned(), NEW.to_owned());
    successor.state = PodState::Down("ErrImagePull".to_owned());
    assert_eq!(next(&scene), unready);
    assert!(!scene.decide().replaced);
    scene.pod(2, 1).state = PodState::Starting;
    assert_eq!(next(&scene), unready);
    scene.members(2).hosted.insert("demo-g2-1".to_owned(), replica);
    assert_eq!(next(&scene), "evict demo-g0-2", "it is the group that ails");
    assert!(scene.decide().replaced);
    scene.shareless.clear();
    assert_eq!(next(&scene), unready);
}
