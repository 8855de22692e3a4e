//! The state machine and the log that openraft drives, on disks in memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod interrupted;
mod judged;
mod log_suite;
mod snapshot_files;
mod state_machine;
#[path = "../../../store/tests/store/support.rs"]
mod support;
