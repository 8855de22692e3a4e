//! The corpus, and rounds of all kinds for some seconds. `cargo xtask soak fuzz` goes on for hours.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::process::Command;

/// The time of the rounds, after the corpus. They need a processor, so that the suite takes as much longer.
const SECONDS: u32 = 40;

#[test]
fn nothing_that_comes_in_ends_anything_or_takes_more_memory_than_it_may() {
    let mut fuzz = Command::new(env!("CARGO_BIN_EXE_skv-fuzz"));
    let output = fuzz.arg(format!("--seconds={SECONDS}")).output().unwrap();
    let (report, events) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {report}\n{events}", output.status);
    for kind in ["messages", "entries", "snapshots", "logs", "files", "records", "services", "peers", "pages"]
    {
        assert!(report.contains(&format!("\"{kind}\":")), "no round of {kind}: {report}");
    }
}
