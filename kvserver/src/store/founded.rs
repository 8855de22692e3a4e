//! A group that knows who it is, and its shards.

use std::sync::Arc;

use parking_lot::RwLock;
use skv_sharding::ShardId;

use crate::store::facts::Facts;
use crate::store::shard::Shard;

/// What a group is and holds.
#[derive(Debug)]
pub(super) struct Founded {
    pub(super) facts: Arc<Facts>,
    /// One for each shard of the cluster; `None`: another group owns it. A reader and the
    /// applier meet here only.
    pub(super) shards: Box<[RwLock<Option<Shard>>]>,
}

impl Founded {
    pub(super) fn new(facts: Facts) -> Self {
        let shards = (0..facts.shards).map(|_| RwLock::new(None)).collect();
        Self { facts: Arc::new(facts), shards }
    }

    /// Of each owned shard, something.
    pub(super) fn owned<'a, T>(
        &'a self,
        of: impl Fn(&Shard) -> T + 'a,
    ) -> impl Iterator<Item = (ShardId, T)> + 'a {
        (0..)
            .map(ShardId)
            .zip(&self.shards)
            .filter_map(move |(id, shard)| Some((id, of(shard.read().as_ref()?))))
    }
}
