//! Commands that move shards, and those that show it, against a real store.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod changes;
mod map;
mod scaling;
mod store;
mod watching;
