//! What the rules are told from outside: how the cluster is meant to be, when a replica counts as
//! alive, and where new identities come from.

use std::time::Duration;

use skv_sharding::{Hash, Policy};

use crate::record::Limits;

/// A replica that registered within this time counts as alive. Replicas register every
/// second or two.
pub const ALIVE: Duration = Duration::from_secs(6);

/// A source of random numbers that aren't 0.
pub type Ids<'a> = dyn FnMut() -> u64 + 'a;

/// How the cluster is meant to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How many groups there are in the first configuration.
    pub groups: u32,
    /// How many replicas a group has.
    pub replicas: u32,
    /// The number of shards.
    pub shards: u32,
    /// How keys are mapped to shards.
    pub hash: Hash,
    /// By which rule shards are spread.
    pub policy: Policy,
    /// The groups share their servers in a ring, which stays as it was made.
    pub ring: bool,
    /// What new groups must agree on.
    pub limits: Limits,
}
