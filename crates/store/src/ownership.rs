//! The ownership of shards, by which requests are routed: each is asked about before it is taken.

use skv_sharding::{Epoch, ShardId};

use crate::Rejection;
use crate::founded::Founded;
use crate::group::Store;

impl Store {
    /// Returns the shard of a key, and the reason why the group doesn't serve it now, if there is one.
    pub fn locate(&self, key: &[u8]) -> Result<(ShardId, Result<(), Rejection>), Rejection> {
        let founded = self.founded.read();
        let founded = founded.as_ref().ok_or(Rejection::NotFounded)?;
        let shard = founded.facts.shard_of(key)?;
        Ok((shard, serves(founded, shard)))
    }

    /// Checks that the group serves a shard now; the error is the reason why it doesn't.
    pub fn serves(&self, shard: ShardId) -> Result<(), Rejection> {
        serves(self.founded.read().as_ref().ok_or(Rejection::NotFounded)?, shard)
    }

    /// Returns the epoch since which the group owns a shard; `None` if it doesn't.
    pub fn owns(&self, shard: ShardId) -> Option<Epoch> {
        let founded = self.founded.read();
        let slot = founded.as_ref()?.slots.get(shard.0 as usize)?.read();
        slot.owned().map(|owned| owned.shard.epoch)
    }
}

fn serves(founded: &Founded, shard: ShardId) -> Result<(), Rejection> {
    let slot = founded.slots.get(shard.0 as usize).ok_or(Rejection::WrongGroup { next: None })?;
    slot.read().serving().map(drop)
}
