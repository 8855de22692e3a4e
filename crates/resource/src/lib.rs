//! The `ShardedKV` resource: its schema, its defaults, and its validation; and the `ShardMap`, in which a
//! shard manager keeps its record.
//!
//! The same manifest describes processes on a laptop and pods in a cluster. Nothing here connects to
//! anything: [`parse`] reads a manifest, [`validate`] judges one, and [`definitions`] are those that an
//! API server takes.

mod command_line;
mod crd;
mod founded;
mod manifest;
mod shard_map;
mod spec;
mod status;
mod validate;

pub use command_line::CommandLine;
pub use crd::definitions;
pub use manifest::{API_VERSION, KIND, Manifest, ManifestError, Metadata, parse};
pub use shard_map::{ShardMap, ShardMapFields};
pub use spec::{
    DisruptionBudget, Image, Limits, LogFormat, NetworkPolicy, NodePorts, ParseSizeError, Placement,
    PodMetadata, Ports, PullPolicy, Retention, Scheduling, Server, ShardManager, ShardedKv, ShardedKvSpec,
    Size, Storage, TRANSFER_BYTES_PER_SECOND, Tuning,
};
pub use status::{Founded, GroupStatus, Replacing, ShardedKvStatus};
pub use validate::{Problem, validate};
