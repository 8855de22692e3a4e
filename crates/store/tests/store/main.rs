//! The store: what entries do to it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod apply;
mod handoff;
mod model;
mod sessions;
mod support;
