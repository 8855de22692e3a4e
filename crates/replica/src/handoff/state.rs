//! The shards that come to a replica's group, and those that leave it, as its leader remembers them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use skv_sharding::{Epoch, ShardId};
use skv_store::Departure;

use crate::handoff::brake::Slowed;
use crate::handoff::watched::Watched;

/// The shards that come to a replica's group, and leave it.
#[derive(Debug, Default)]
pub struct Handoffs {
    /// The shards whose writers are slowed down.
    pub slowed: Arc<Slowed>,
    /// The progress of the shards that come, when the leader last looked.
    pub(crate) watched: Mutex<Watched>,
    /// The epochs that targets of moves have refused because they passed them.
    passed: Mutex<BTreeMap<ShardId, Epoch>>,
}

impl Handoffs {
    /// Notes that the target of a move has passed its epoch. Returns true if that is new.
    pub(super) fn note_passed(&self, shard: ShardId, epoch: Epoch) -> bool {
        self.passed.lock().insert(shard, epoch) != Some(epoch)
    }

    /// Returns the moves of these whose targets have passed their epochs, and forgets all others.
    pub(crate) fn passed(&self, departures: &[Departure]) -> Vec<(ShardId, Epoch)> {
        let mut passed = self.passed.lock();
        let is_one = |shard: ShardId, epoch: Epoch| {
            departures.iter().any(|departure| (departure.to.shard, departure.to.epoch) == (shard, epoch))
        };
        passed.retain(|&shard, epoch| is_one(shard, *epoch));
        passed.iter().map(|(&shard, &epoch)| (shard, epoch)).collect()
    }
}
