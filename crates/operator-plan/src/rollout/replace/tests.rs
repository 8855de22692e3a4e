//! The next replacement of a lost replica, in each situation.

use skv_sharding::ReplicaId;

use super::super::decide::tests::Scene;
use super::*;
use crate::claims::{Binding, Claim};

/// Groups of three of which servers have lost their node.
struct Case {
    scene: Scene,
    causes: BTreeMap<String, Cause>,
    status: ShardedKvStatus,
}

impl Case {
    /// Makes a case in which server 1 of g0 has been lost for 20 minutes.
    fn new() -> Case {
        Case::of(Scene::new(3).with_group(1, 3)).losing(0, 1)
    }

    fn of(scene: Scene) -> Case {
        let status = ShardedKvStatus { cluster: Some("c".to_owned()), ..ShardedKvStatus::default() };
        Case { scene, causes: BTreeMap::new(), status }
    }

    fn losing(mut self, group: u32, ordinal: u32) -> Case {
        let server = format!("demo-g{group}-{ordinal}");
        self.scene.unready(group, ordinal, PodState::Leaving);
        let claim = Claim {
            name: format!("data-{server}"),
            uid: format!("uid-data-{server}"),
            binding: Binding::Bound,
            volume: Some(format!("pv-{server}")),
            ..Claim::default()
        };
        self.scene.servers.get_mut(&ServerSet::Group(GroupId(group))).unwrap().claims.push(claim);
        let cause = Cause::NodeGone("node1".to_owned());
        self.status.lost.push(LostServer {
            server: server.clone(),
            claim_uid: Some(format!("uid-data-{server}")),
            since: Time(at(-20)),
            reason: cause.to_string(),
        });
        self.causes.insert(server, cause);
        self
    }

    fn claim(&mut self, group: u32, ordinal: u32) -> &mut Claim {
        let claims = &mut self.scene.servers.get_mut(&ServerSet::Group(GroupId(group))).unwrap().claims;
        claims.iter_mut().find(|claim| claim.is_of(&format!("demo-g{group}-{ordinal}"))).unwrap()
    }

    fn replaced(mut self, past: &[(i64, &str)]) -> Case {
        let past = past.iter().map(|(minutes, server)| ReplacedServer {
            server: (*server).to_owned(),
            uid: format!("uid-{server}"),
            at: Time(at(*minutes)),
        });
        self.status.replaced.extend(past);
        self
    }

    fn decide(&self) -> Lost {
        let situation = self.scene.situation();
        let under_way = self.scene.replacing.as_ref();
        let Case { causes, status, .. } = self;
        Losses { situation: &situation, causes, status, under_way, now: at(0) }.decide()
    }

    /// Returns the step as text; if there is none, the reason for waiting.
    fn next(&self) -> String {
        let Lost { next, waiting, .. } = self.decide();
        let step = next.map(|next| format!("abandon {}", next.pod.name));
        step.or(waiting).unwrap_or_else(|| "nothing".to_owned())
    }
}

/// Returns the time that is so many minutes after noon.
fn at(minutes: i64) -> Timestamp {
    let noon: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    noon.checked_add(SignedDuration::from_mins(minutes)).unwrap()
}

fn waits(why: &str) -> String {
    format!("demo-g0-1 is lost: its node node1 is gone; {why}")
}

#[test]
fn a_replica_is_replaced_when_it_has_been_lost_for_long() {
    let mut case = Case::new();
    assert_eq!(case.next(), "abandon demo-g0-1");
    case.status.lost[0].since = Time(at(-9));
    assert_eq!(case.next(), waits("it is replaced at 12:01 UTC"));
    case.status.lost.clear();
    assert_eq!(case.next(), waits("it is replaced at 12:10 UTC"), "it is seen for the first time");
    assert_eq!(case.decide().servers[0].since, Time(at(0)));
}

#[test]
fn a_server_that_is_lost_again_with_another_volume_waits_its_whole_time() {
    let mut case = Case::new();
    case.claim(0, 1).uid = "another".to_owned();
    assert_eq!(case.next(), waits("it is replaced at 12:10 UTC"));
    let lost = &case.decide().servers[0];
    assert_eq!((lost.since.0, lost.claim_uid.as_deref()), (at(0), Some("another")));
    // The next pod, of which nothing is known yet, has nothing to do with the replica before.
    case.causes.clear();
    case.scene.pod(0, 1).node = None;
    case.scene.pod(0, 1).state = PodState::Starting;
    assert_eq!(case.decide(), Lost::default());
    // An operator that noted no claim may have meant this one.
    let mut case = Case::new();
    case.status.lost[0].claim_uid = None;
    assert_eq!(case.next(), "abandon demo-g0-1");
    assert_eq!(case.decide().servers[0].claim_uid.as_deref(), Some("uid-data-demo-g0-1"));
}

#[test]
fn lost_servers_have_one_order() {
    let mut case = Case::new().losing(0, 2);
    case.causes.remove("demo-g0-1");
    case.scene.servers.get_mut(&ServerSet::Group(GroupId(0))).unwrap().pods.remove(&1);
    assert_eq!(case.decide().servers, case.status.lost);
}

#[test]
fn nothing_is_replaced_where_that_is_off_or_in_memory() {
    let changes: [fn(&mut ShardedKvSpec); 2] =
        [|spec| spec.replacement.enabled = false, |spec| spec.storage.memory_only = true];
    for change in changes {
        let mut case = Case::new();
        change(&mut case.scene.resolved.spec);
        assert_eq!(case.decide(), Lost::default());
    }
}

#[test]
fn nothing_is_replaced_that_its_group_may_need() {
    let no_majority = waits("g0 isn't seen to hold a majority without it");
    let mut case = Case::new();
    case.scene.unready(0, 2, PodState::Starting);
    assert_eq!(case.next(), no_majority);
    assert_eq!(Case::new().losing(0, 2).next(), no_majority);
    let mut case = Case::new();
    case.scene.lose_leader(0);
    assert_eq!(case.next(), no_majority);
    let only = Case::of(Scene::new(1)).losing(0, 0).next();
    assert!(only.ends_with("g0 isn't seen to hold a majority without it"), "{only}");
    assert_eq!(Case::of(Scene::new(5)).losing(0, 1).losing(0, 2).next(), "abandon demo-g0-1");
}

#[test]
fn one_is_replaced_at_a_time_and_none_while_another_server_is_on_its_way() {
    let mut case = Case::new();
    case.scene.unready(1, 2, PodState::Starting);
    assert_eq!(case.next(), waits("demo-g1-2 isn't ready either, and may be on its way"));
    // One that is lost as well is on no way.
    let mut case = Case::new().losing(1, 2);
    assert_eq!(case.next(), "abandon demo-g0-1");
    case.scene.replacing = Some(Replacing { pod: "demo-g1-2".to_owned(), uid: "before".to_owned() });
    case.causes.remove("demo-g1-2");
    assert_eq!(case.next(), waits("demo-g1-2 is being replaced"));
    // An eviction that its node can't carry out any more is no reason to wait.
    let mut case = Case::new();
    case.scene.replacing = Some(Replacing { pod: "demo-g0-1".to_owned(), uid: "uid-demo-g0-1".to_owned() });
    assert_eq!(case.next(), "abandon demo-g0-1");
}

#[test]
fn a_replacement_that_only_waits_for_the_lost_one_keeps_it_waiting_no_more() {
    let begun = |server: &str, uid: &str| {
        let mut case = Case::new();
        case.scene.replacing = Some(Replacing { pod: server.to_owned(), uid: uid.to_owned() });
        case
    };
    for server in ["demo-g0-2", "demo-g1-2"] {
        assert_eq!(begun(server, "before").next(), "abandon demo-g0-1", "{server} is back");
        // It was recorded, and not carried out before the loss.
        assert_eq!(begun(server, &format!("uid-{server}")).next(), "abandon demo-g0-1");
    }
    let not_back: [fn(&mut Scene); 4] = [
        |scene| scene.unready(1, 2, PodState::Starting),
        |scene| scene.silence(1, 2),
        |scene| scene.lag(1, 2),
        |scene| scene.lose_leader(1),
    ];
    for change in not_back {
        let mut case = begun("demo-g1-2", "before");
        change(&mut case.scene);
        assert_eq!(case.next(), waits("demo-g1-2 is being replaced"));
    }
    let mut case = Case::of(Scene::new(5)).losing(0, 1);
    case.scene.replacing = Some(Replacing { pod: "demo-g0-4".to_owned(), uid: "before".to_owned() });
    case.scene.unready(0, 4, PodState::Starting);
    assert_eq!(case.next(), waits("demo-g0-4 is being replaced"));
    case.scene.resolved.spec.replicas = 3;
    assert_eq!(case.next(), "abandon demo-g0-1", "nobody waits for one that is to leave");
}

/// It stays as it is while its group, once it had admitted it, would need it: the lost one comes first.
#[test]
fn a_server_that_runs_without_a_vote_keeps_no_lost_one_waiting() {
    let mut case = Case::of(Scene::new(5)).losing(0, 1);
    case.scene.unready(0, 4, PodState::Stuck);
    assert_eq!(case.next(), waits("demo-g0-4 isn't ready either, and may be on its way"));
    case.scene.replacing = Some(Replacing { pod: "demo-g0-4".to_owned(), uid: "before".to_owned() });
    assert_eq!(case.next(), waits("demo-g0-4 is being replaced"));
    case.scene.members(0).voters.remove(&ReplicaId(5));
    assert_eq!(case.next(), "abandon demo-g0-1");
    case.scene.replacing = None;
    assert_eq!(case.next(), "abandon demo-g0-1");
    case.scene.pod(0, 4).state = PodState::Starting;
    assert_eq!(case.next(), waits("demo-g0-4 isn't ready either, and may be on its way"));
}

/// A server that doesn't run isn't admitted, so that the only voter of a group that was revived needs no second one.
#[test]
fn lost_servers_of_a_revived_group_that_have_no_vote_are_replaced() {
    let mut case = Case::new();
    case.scene.members(0).voters.retain(|replica, _| *replica == ReplicaId(1));
    assert_eq!(case.next(), waits("g0 isn't seen to hold a majority without it"), "it answers");
    case.scene.silence(0, 1);
    assert_eq!(case.next(), "abandon demo-g0-1");
}

#[test]
fn a_budget_bounds_the_replacements_of_an_hour() {
    let case = Case::new().replaced(&[(-50, "demo-g1-0"), (-30, "demo-g1-1")]);
    assert_eq!(case.next(), waits("the budget of 2 within an hour is spent: the next at 12:10 UTC"));
    let case = Case::new().replaced(&[(-61, "demo-g1-0"), (-30, "demo-g1-1")]);
    let history = case.decide().next.unwrap().history;
    let times: Vec<Timestamp> = history.iter().map(|past| past.at.0).collect();
    assert_eq!(times, [at(-30), at(0)]);
    // This step was recorded before, and perhaps not carried out.
    let case = Case::new().replaced(&[(-50, "demo-g1-0"), (-1, "demo-g0-1")]);
    let history = case.decide().next.unwrap().history;
    assert_eq!(history, case.status.replaced);
}

#[test]
fn the_volume_is_kept_where_there_is_one_unless_it_is_to_be_deleted() {
    let given_up = |cause: Cause, volumes: Retention| {
        let mut case = Case::new();
        case.causes.insert("demo-g0-1".to_owned(), cause);
        case.scene.resolved.spec.replacement.volumes = volumes;
        let Abandoned { pod, at_once, claim, claim_uid, keep, .. } = case.decide().next.unwrap();
        assert_eq!((pod.name.as_str(), pod.uid.as_str()), ("demo-g0-1", "uid-demo-g0-1"));
        assert_eq!((claim.as_str(), claim_uid.as_str()), ("data-demo-g0-1", "uid-data-demo-g0-1"));
        (at_once, keep)
    };
    let (kept, gone) = (Some("pv-demo-g0-1".to_owned()), Cause::NodeGone("node1".to_owned()));
    assert_eq!(given_up(gone.clone(), Retention::Retain), (true, kept.clone()));
    assert_eq!(given_up(gone, Retention::Delete), (true, None));
    let tainted = Cause::OutOfService("node1".to_owned());
    assert_eq!(given_up(tainted, Retention::Retain), (true, kept.clone()));
    // Its pod has no node, or one that answers.
    assert_eq!(given_up(Cause::VolumeStranded, Retention::Retain), (false, kept));
    assert_eq!(given_up(Cause::VolumeGone, Retention::Retain), (false, None));
}

#[test]
fn a_lost_server_stays_lost_until_its_next_pod_shows_otherwise() {
    let mut case = Case::new();
    case.causes.clear();
    case.scene.servers.get_mut(&ServerSet::Group(GroupId(0))).unwrap().pods.remove(&1);
    assert_eq!(
        (case.decide().servers, case.next()),
        (case.status.lost.clone(), waits("waiting for its pod"))
    );
    let mut case = Case::new();
    case.causes.clear();
    case.scene.pod(0, 1).node = None;
    case.scene.pod(0, 1).state = PodState::Starting;
    assert_eq!(case.decide().servers, case.status.lost, "it wasn't placed yet");
    case.scene.pod(0, 1).node = Some("node2".to_owned());
    assert_eq!(case.decide(), Lost::default());
    let mut case = Case::new();
    case.scene.resolved.spec.replicas = 1;
    assert_eq!(case.decide(), Lost::default(), "it is to leave");
}

#[test]
fn losses_are_looked_for_once_a_pod_does_not_come_up_and_until_none_is_left() {
    let mut case = Case::new();
    let looks = |case: &Case| needs_look(&case.scene.resolved, Some(&case.status), &case.scene.servers);
    assert!(looks(&case));
    case.status.lost.clear();
    assert!(looks(&case));
    case.status.cluster = None;
    assert!(!looks(&case), "nothing is founded yet");
    let mut case = Case::new();
    case.scene.pod(0, 1).state = PodState::Ready;
    assert!(looks(&case), "the status isn't true any more");
    case.status.lost.clear();
    assert!(!looks(&case));
}
