//! The settings of the targets' shard managers.

use shardmanager::record::Limits;
use shardmanager::rules::Settings;
use skv_sharding::{Hash, Policy};

/// Returns the settings for this many groups of one replica, which share this many shards.
pub(super) fn settings(groups: u32, shards: u32) -> Settings {
    Settings {
        groups,
        replicas: 1,
        shards,
        hash: Hash::Fnv1,
        policy: Policy::Minimal,
        ring: false,
        limits: Limits::DEFAULT,
    }
}
