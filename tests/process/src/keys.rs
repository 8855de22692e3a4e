//! Keys that lie in a certain shard.

use skv_sharding::{Hash, ShardId};

/// Returns keys of one shard of `shards`, without end.
pub fn keys_of(shard: u32, shards: u32) -> impl Iterator<Item = String> {
    let is_there = move |key: &String| Hash::Fnv1.shard(key.as_bytes(), shards) == Ok(ShardId(shard));
    (0..).map(|number| format!("key-{number}")).filter(is_there)
}
