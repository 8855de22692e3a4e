//! The `ShardedKV` resource: its schema, its defaults, and what a valid one looks like.
//!
//! The same manifest describes processes on a laptop and pods in a cluster. Nothing here
//! talks to anybody: [`parse`] reads a manifest, [`ShardedKv::validate`] judges one.

mod manifest;
mod spec;
mod validate;

pub use manifest::{API_VERSION, KIND, ManifestError, Metadata, ShardedKv, parse};
pub use spec::{Limits, LogFormat, Placement, Server, ShardedKvSpec, Storage, Tuning};
pub use validate::Problem;
