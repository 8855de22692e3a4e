//! A few seeds of the simulation, each in a process of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::process::{Command, Output};

fn simulate(seed: u64) -> Output {
    Command::new(env!("CARGO_BIN_EXE_skv-sim")).args(["--seed", &seed.to_string()]).output().unwrap()
}

#[test]
fn what_clients_see_under_faults_is_linearizable() {
    let mut removals = 0;
    for seed in 1..=20 {
        let output = simulate(seed);
        let trace = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "replay with: cargo xtask sim --seed {seed}\n{trace}");
        assert!(trace.contains("strikes"), "seed {seed} met no fault\n{trace}");
        removals += trace.matches("it is removed").count();
    }
    assert!(removals > 20, "only {removals} replicas were removed");
}

#[test]
fn two_runs_of_one_seed_are_the_same() {
    let (first, second) = (simulate(7), simulate(7));
    assert!(!first.stdout.is_empty());
    assert_eq!(String::from_utf8_lossy(&first.stderr), String::from_utf8_lossy(&second.stderr));
    assert!(first.stdout == second.stdout, "the histories differ");
}

#[test]
fn another_seed_is_another_run() {
    assert_ne!(simulate(1).stdout, simulate(2).stdout);
}
