//! `cargo xtask test --quick`: the tests to run first. They need neither root, nor a network, nor
//! Go, and take no more than five minutes once they are built.

use crate::step::step;
use crate::{build, sim};

/// Tests of rules and formats, and the quick ones of the rest.
const RULES: [&str; 10] = [
    "--lib",
    "--bin=skv",
    "--bin=xtask",
    // The data plane: the effect of entries, and the log on a disk with faults.
    "--test=store",
    "--test=log_storage",
    // The shard manager.
    "--test=changing",
    "--test=founding",
    // Manifests; histories that are right, and histories that are wrong.
    "--test=manifests",
    "--test=right_histories",
    "--test=wrong_histories",
];
/// Tests of real processes: servers die and pause, their disks fill up, shards are in two groups.
const PROCESSES: [&str; 5] = ["--test=processes", "--", "crashes::", "disk::", "sharded::"];
/// Clusters that are simulated: the number of seeds of each kind.
const SIMULATIONS: [(&str, u64); 2] = [("--groups=1", 3), ("--groups=3", 3)];

pub(crate) fn run() -> anyhow::Result<()> {
    let programs = step("building the programs", build::test_programs)?;
    let tests = |chosen: &[&str]| {
        let mut tests = build::cargo();
        tests.args(["test", "--workspace", "--no-fail-fast"]).args(chosen).env("SKV_PROGRAMS", &programs);
        tests
    };
    let all: Vec<&str> = [&RULES[..], &PROCESSES[..1], &["--test=simulation"]].concat();
    step("building the tests", || build::run(tests(&all).arg("--no-run")))?;
    step("rules", || build::run(&mut tests(&RULES)))?;
    step("simulated clusters", || {
        // Cargo has built it for its test.
        let program = programs.join("skv-sim");
        SIMULATIONS.iter().try_for_each(|(kind, seeds)| sim::run_seeds(&program, 1..=*seeds, kind))
    })?;
    step("real processes", || build::run(&mut tests(&PROCESSES)))?;
    eprintln!("\nthe quick tests passed; all others are run by: cargo xtask test");
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::command;

    #[test]
    fn each_test_that_is_chosen_is_there() {
        let mut cargo = build::cargo();
        let metadata = command::output(cargo.args(["metadata", "--no-deps", "--format-version=1"])).unwrap();
        let metadata: Value = serde_json::from_str(&metadata).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        let targets = packages.iter().flat_map(|package| package["targets"].as_array().unwrap());
        let names: Vec<&str> = targets.map(|target| target["name"].as_str().unwrap()).collect();
        for chosen in RULES.iter().chain(&PROCESSES).filter_map(|chosen| chosen.split_once('=')) {
            assert!(names.contains(&chosen.1), "there is no {}", chosen.1);
        }
    }
}
