//! The replicated state of a group: its identity, and the shards that it owns with their keys and
//! sessions.
//!
//! Pure: no IO, no clock, no random source. The content of a store follows from the entries that were
//! applied, and from nothing else; so all replicas hold the same.

mod account;
mod answer;
mod buckets;
mod deferred_drop;
mod digest;
mod entry;
mod facts;
mod founded;
mod group;
mod growth;
mod handoff;
mod item;
mod outline;
mod record;
mod restore;
mod restore_error;
mod retained;
mod sessions;
mod shard;
mod slot;
mod stats;
mod view;

pub use answer::{Answer, Applied, Outcome, Rejection};
pub use entry::{
    ApplyError, ENTRY_VERSION, encode_assign, encode_batch, encode_found, encode_handoff, encode_obey,
    encode_reset, encode_retire, encode_tick, readable,
};
pub use facts::{Facts, Limits, RecordError};
pub use group::Store;
pub use growth::Growth;
pub use handoff::{
    Arrival, Backlog, BaseCopy, CopyId, Departure, Difference, HandoffStep, MalformedStep, Move, Peer,
    Position, Progress, ShardState, StepRefusal, Summary,
};
pub use outline::Inspection;
pub use record::KeyValue;
pub use restore::{Restore, Restored};
pub use restore_error::RestoreError;
pub use stats::Stats;
pub use view::StoreView;
