//! A few seeds of the simulation, each in a process of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::process::{Command, Output};

fn simulate(seed: u64, groups: u32) -> Output {
    let arguments = [format!("--seed={seed}"), format!("--groups={groups}")];
    Command::new(env!("CARGO_BIN_EXE_skv-sim")).args(arguments).output().unwrap()
}

/// Simulates so many seeds; answers what happened in all of them.
fn simulate_all(seeds: u64, groups: u32) -> String {
    let mut traces = String::new();
    for seed in 1..=seeds {
        let output = simulate(seed, groups);
        let trace = String::from_utf8_lossy(&output.stderr);
        let replay = format!("replay with: cargo xtask sim --seed {seed} --groups {groups}");
        assert!(output.status.success(), "{replay}\n{trace}");
        assert!(trace.contains("strikes"), "seed {seed} met no fault\n{trace}");
        traces.push_str(&trace);
    }
    traces
}

#[test]
fn what_clients_see_under_faults_is_linearizable() {
    let removals = simulate_all(20, 1).matches("it is removed").count();
    assert!(removals > 20, "only {removals} replicas were removed");
}

/// Each run ends when every shard is in one group by the groups' own word, and evenly spread.
#[test]
fn what_clients_see_while_shards_move_under_faults_is_linearizable() {
    let traces = simulate_all(20, 3);
    let changes = traces.matches(": configuration ").count();
    assert!(changes > 60, "only {changes} changes were made");
    for what in ["join", "leave", "move", "unpin", "Apart", "PowerLoss", "ManagersDown"] {
        assert!(traces.contains(what), "no {what}");
    }
}

#[test]
fn two_runs_of_one_seed_are_the_same() {
    let (first, second) = (simulate(7, 3), simulate(7, 3));
    assert!(!first.stdout.is_empty());
    assert_eq!(String::from_utf8_lossy(&first.stderr), String::from_utf8_lossy(&second.stderr));
    assert!(first.stdout == second.stdout, "the histories differ");
}

#[test]
fn another_seed_is_another_run() {
    assert_ne!(simulate(1, 1).stdout, simulate(2, 1).stdout);
}
