//! The settings of the rules: the intended cluster, the time for which a replica counts as alive, and
//! the source of new identities.

use std::time::Duration;

use skv_sharding::{Hash, Policy};

use crate::record::Limits;

/// The time for which a replica counts as alive after a registration. Replicas register every second or
/// two.
pub const ALIVE: Duration = Duration::from_secs(6);

/// A source of random numbers that aren't 0.
pub type Ids<'a> = dyn FnMut() -> u64 + 'a;

/// The intended cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The number of groups in the first configuration.
    pub groups: u32,
    /// The number of replicas of a group.
    pub replicas: u32,
    /// The number of shards.
    pub shards: u32,
    /// The hash that maps keys to shards.
    pub hash: Hash,
    /// The rule by which shards are spread.
    pub policy: Policy,
    /// True if the groups share their servers in a ring, which stays as it was made.
    pub ring: bool,
    /// The limits that new groups must agree on.
    pub limits: Limits,
}
