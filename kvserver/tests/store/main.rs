//! The store, its snapshots, and the state machine that openraft drives.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod apply;
mod handoff;
mod model;
mod sessions;
mod snapshot_files;
mod state_machine;
mod support;
