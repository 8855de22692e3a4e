//! The store: the effects of entries on it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod apply;
mod asked;
mod handoff;
mod memory;
mod model;
mod sessions;
mod snapshots;
mod support;
