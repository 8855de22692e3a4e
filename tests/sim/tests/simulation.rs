//! A few seeds of the simulation, each in a process of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::process::{Command, Output};

/// The names of all faults of a cluster.
const FAULTS: [&str; 13] = [
    "PowerLoss",
    "SlowDisk",
    "MemoryFull",
    "Isolated",
    "Apart",
    "OneWay",
    "Bridge",
    "Lossy",
    "CutFromManagers",
    "CutFromClerks",
    "ManagersDown",
    "RecordLost",
    "RecordPutBack",
];
/// The option for groups that shards move between.
const MOVING: &str = "--groups=3";

fn simulate(seed: u64, scenario: &str) -> Output {
    let program = env!("CARGO_BIN_EXE_skv-sim");
    Command::new(program).arg(format!("--seed={seed}")).args(scenario.split(' ')).output().unwrap()
}

/// Returns the events of a run, which must have ended well.
fn succeed(seed: u64, scenario: &str) -> String {
    let output = simulate(seed, scenario);
    let trace = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "replay with: cargo xtask sim --seed {seed} {scenario}\n{trace}");
    trace
}

/// Simulates faults with this number of seeds; returns the events of all of them.
fn simulate_all(seeds: u64, scenario: &str) -> String {
    let mut traces = String::new();
    for seed in 1..=seeds {
        let trace = succeed(seed, scenario);
        assert!(trace.contains("strikes"), "seed {seed} met no fault\n{trace}");
        traces.push_str(&trace);
    }
    traces
}

fn assert_all_struck(traces: &str, faults: impl Iterator<Item = &'static str>) {
    for fault in faults {
        assert!(traces.contains(&format!("strikes: {fault}")), "no {fault}");
    }
}

#[test]
fn what_clients_see_under_faults_is_linearizable() {
    let traces = simulate_all(20, "--groups=1");
    assert_all_struck(&traces, FAULTS.into_iter().filter(|fault| *fault != "Apart"));
    let removals = traces.matches("it is removed").count();
    assert!(removals > 20, "only {removals} replicas were removed");
}

/// Each run ends when every shard is in one group by the groups' own reports, and evenly spread.
#[test]
fn what_clients_see_while_shards_move_under_faults_is_linearizable() {
    let traces = simulate_all(20, MOVING);
    assert_all_struck(&traces, FAULTS.into_iter());
    let changes = traces.matches(": configuration ").count();
    assert!(changes > 60, "only {changes} changes were made");
    for what in ["join", "leave", "move", "unpin"] {
        assert!(traces.contains(what), "no {what}");
    }
}

#[test]
fn nobody_else_notices_that_source_and_target_of_moves_are_apart_for_long() {
    succeed(1, "--scenario=apart");
}

/// The log is purged, and a new replica gets the whole state.
#[test]
fn snapshots_may_take_long() {
    succeed(1, "--scenario=slow-snapshots");
}

/// The time of the test is enough for sessions to be forgotten, and for many changes of the leader.
#[test]
fn full_disks_stop_writes_and_nothing_else() {
    succeed(1, "--scenario=full-disks --minutes=30");
}

#[test]
fn clocks_may_jump_by_years() {
    let trace = succeed(1, "--scenario=clocks");
    assert!(trace.contains("strikes: Clock"), "{trace}");
}

/// A shard of a newer group waits until all servers of its target are newer too.
#[test]
fn servers_are_updated_one_after_the_other_amid_moves() {
    let trace = succeed(1, "--scenario=versions");
    assert_eq!(trace.matches("strikes: Update").count(), 6, "{trace}");
}

/// The part of a shard that has come takes no memory where there is no room for the rest.
#[test]
fn a_target_without_room_lets_go_of_the_shards_that_it_has_begun_to_take() {
    let trace = succeed(1, "--scenario=crowded");
    assert!(trace.contains("the target has nothing"), "{trace}");
}

/// Each is found out by its leader, and a new replica takes its place.
#[test]
fn disks_of_followers_may_go_back_in_time() {
    let trace = succeed(1, "--scenario=rolled-back");
    assert_eq!(trace.matches("a new replica is a voter").count(), 4, "{trace}");
}

#[test]
fn a_reset_amid_a_move_settles_when_the_managers_are_back() {
    succeed(1, "--scenario=revived");
}

/// The survivor missed the elections, and the shard managers didn't.
#[test]
fn a_group_that_is_revived_in_lower_terms_is_the_group() {
    let traces = simulate_all(2, "--scenario=lower-terms");
    assert_eq!(traces.matches("leads in the lower term").count(), 2, "{traces}");
}

#[test]
fn two_runs_of_one_seed_are_the_same() {
    let (first, second) = (simulate(7, MOVING), simulate(7, MOVING));
    assert!(!first.stdout.is_empty());
    assert_eq!(String::from_utf8_lossy(&first.stderr), String::from_utf8_lossy(&second.stderr));
    assert!(first.stdout == second.stdout, "the histories differ");
}

#[test]
fn another_seed_is_another_run() {
    assert_ne!(simulate(1, "--groups=1").stdout, simulate(2, "--groups=1").stdout);
}
