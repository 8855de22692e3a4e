//! The corpus, and rounds of all kinds for some seconds, by two processes beside each other. The seeds are the same
//! each time; `cargo xtask soak fuzz` goes on for hours with others.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::process::Command;

/// The time of either, with the corpus. Both need a processor, so that the suite takes as much longer.
const SECONDS: u32 = 60;
const KINDS: [&str; 9] =
    ["messages", "entries", "snapshots", "logs", "files", "records", "services", "peers", "pages"];

/// Plays the corpus, and rounds from this seed on.
fn fuzz_from(first: u64) {
    let mut fuzz = Command::new(env!("CARGO_BIN_EXE_skv-fuzz"));
    let output = fuzz.arg(format!("--seed={first}")).arg(format!("--seconds={SECONDS}")).output().unwrap();
    let (report, events) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // A process that dies of a round has named it, and nothing else.
    let mut rounds = events.lines().filter_map(|line| line.strip_prefix("seed ")?.split_once(':'));
    let last = rounds.next_back().map(|(seed, _)| format!("cargo xtask soak fuzz --seed {seed}"));
    assert!(
        output.status.success(),
        "{}: {report}\n{events}\nthe last round is replayed with: {last:?}",
        output.status
    );
    for kind in KINDS {
        assert!(report.contains(&format!("\"{kind}\":")), "no {kind} from seed {first} on: {report}");
    }
}

#[test]
fn nothing_that_comes_in_ends_anything_or_takes_more_memory_than_it_may() {
    fuzz_from(1);
}

#[test]
fn nothing_that_comes_in_after_other_things_does_either() {
    fuzz_from(1_000_000);
}
