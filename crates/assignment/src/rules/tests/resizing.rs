//! Groups that should have more or fewer replicas than they have.

use super::*;

/// Returns a leader's report that these are the members now.
fn members(bench: &Bench, servers: &[u64]) -> Registration {
    with(bench.leader(0, 0), |report| {
        report.members = servers.iter().map(|&n| member(0, n)).collect();
    })
}

fn candidates(plan: Plan) -> Vec<Replica> {
    match plan {
        Plan::Serve { candidates, .. } => candidates,
        other => panic!("{other:?}"),
    }
}

/// Returns a group that was founded with three replicas and has five by now.
fn grown() -> Bench {
    let mut bench = Bench::new();
    bench.found();
    bench.settings.replicas = 5;
    for n in [3, 4] {
        assert!(matches!(bench.say(&empty(0, n)), Plan::Join { .. }));
    }
    let asked = candidates(bench.say(&bench.leader(0, 0)));
    assert_eq!(asked, [member(0, 3), member(0, 4)]);
    assert_eq!(candidates(bench.say(&members(&bench, &[0, 1, 2, 3, 4]))), []);
    bench
}

#[test]
fn a_removed_replica_is_sent_away_and_asked_for_when_more_are_wanted_again() {
    let mut bench = grown();
    bench.settings.replicas = 3;
    assert!(serves(&bench.say(&bench.data(0, 4))), "a member stays one until its leader says otherwise");
    bench.say(&members(&bench, &[0, 1, 2]));
    let removed = bench.data(0, 4);
    assert!(matches!(bench.refuse(&removed), Refusal::TooManyServers { .. }));

    bench.settings.replicas = 5;
    assert!(serves(&bench.say(&removed)));
    let asked = candidates(bench.say(&bench.leader(0, 0)));
    assert_eq!(asked, [member(0, 4)], "the same replica, whose log is whole");
}

#[test]
fn a_lost_disk_is_replaced_though_the_group_is_to_shrink() {
    let mut bench = grown();
    bench.settings.replicas = 3;
    bench.silence();
    let new = replacement(0, 1, 77);
    bench.say(&new);
    assert_eq!(candidates(bench.say(&bench.leader(0, 0))), [new.replica]);
}

#[test]
fn a_server_too_many_is_no_candidate_any_more() {
    let mut bench = Bench::new();
    bench.found();
    bench.settings.replicas = 5;
    bench.say(&empty(0, 3));
    bench.settings.replicas = 3;
    assert_eq!(candidates(bench.say(&bench.data(0, 1))), [], "no follower takes it on");
    bench.say(&bench.leader(0, 0));
    assert_eq!(bench.group(0).candidates, []);
    // The candidate doesn't come in when a member's place is empty for a moment, either.
    bench.say(&members(&bench, &[0, 1]));
    assert_eq!(candidates(bench.say(&bench.leader(0, 0))), []);
}

#[test]
fn of_more_candidates_than_are_missing_the_living_are_asked_for() {
    let mut bench = Bench::new();
    bench.found();
    bench.settings.replicas = 5;
    bench.say(&empty(0, 3));
    bench.silence();
    bench.say(&empty(0, 4));
    bench.settings.replicas = 4;
    assert_eq!(candidates(bench.say(&bench.leader(0, 0))), [member(0, 4)]);
}
