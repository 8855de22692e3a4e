//! The replicated state of a group: its identity, and the shards that it owns with their keys and
//! sessions.
//!
//! Pure: no IO, no clock, no random source. The content of a store follows from the entries that were
//! applied, and from nothing else; so all replicas hold the same.
//!
//! - `group`: the store; `founded`: its state once it is founded; `facts`: what is known of the group; `ownership`:
//!   the shards that it serves
//! - `entry`: the encoding of log entries; `usual`: judges the usual one undecoded; `answer`: the results of
//!   applying one
//! - `slot`: the place of a shard; `shard`: its keys and the effect of a command; `sessions`: at most once;
//!   `record`: a key with its value; `handoff`: the rules by which a shard changes hands
//! - `buckets`: the hash table, shared with snapshots; `digest`: a checksum; `deferred_drop`: frees little by little
//! - `view`: the state as a stream; `item`: an item of it; `outline`: their order; `restore`: the state from one,
//!   `restore_error`: or none
//! - `account`: the memory that it takes; `retained`: what earlier states keep; `growth`: what an entry would add
//! - `stats`: its sizes

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
mod ownership;
mod record;
mod restore;
mod restore_error;
mod retained;
mod sessions;
mod shard;
mod slot;
mod stats;
mod usual;
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
