//! The `ShardedKV` resource: its schema, its defaults, and its validation; and the `ShardMap`, in which a
//! shard manager keeps its record.
//!
//! The same manifest describes processes on a laptop and pods in a cluster. Nothing here connects to
//! anything: [`parse`] reads a manifest, [`read_known`] a specification of another version, [`validate`]
//! judges one, and [`definitions`] are those that an API server takes.

mod command_line;
mod crd;
mod founded;
mod kept;
mod manifest;
mod shard_map;
mod spec;
mod status;
mod unknown;
mod validate;

pub use command_line::CommandLine;
pub use crd::definitions;
pub use kept::Kept;
pub use manifest::{API_VERSION, KIND, Manifest, ManifestError, Metadata, parse};
pub use shard_map::{ShardMap, ShardMapFields};
pub use spec::{
    ClientService, DisruptionBudget, Image, IpFamily, IpFamilyPolicy, Limits, LogFormat, NetworkPolicy,
    NodePorts, ParseSizeError, Placement, PodMetadata, PodTemplate, Ports, PullPolicy, Replacement,
    Retention, Scheduling, Server, ServiceType, ShardManager, ShardedKv, ShardedKvSpec, Size, Storage,
    TRANSFER_BYTES_PER_SECOND, TrafficDistribution, Tuning,
};
pub use status::{
    Founded, GroupStatus, HeldEviction, LostServer, ReplacedServer, Replacing, ShardedKvStatus,
};
pub use unknown::read_known;
pub use validate::{Problem, validate};
