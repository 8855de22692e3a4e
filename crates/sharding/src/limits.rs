//! The limits of requests and sessions, and what they are where nobody says otherwise.

use serde::{Deserialize, Serialize};

/// The least limit of a server's memory, in bytes: one without data takes about half of it.
pub const LEAST_MEMORY_BYTES: u64 = 128 << 20;

/// The limits that all replicas of a group must agree on, since they decide how they apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The longest key, in bytes.
    pub max_key_bytes: u64,
    /// The longest value, in bytes, also as the result of appends.
    pub max_value_bytes: u64,
    /// The number of sessions that a shard remembers.
    pub max_sessions_per_shard: u64,
    /// The idle time after which a session may be forgotten, in milliseconds.
    pub session_ttl_ms: u64,
}

impl Limits {
    /// The limits where nobody says otherwise.
    pub const DEFAULT: Limits = Limits {
        max_key_bytes: 4 << 10,
        max_value_bytes: 1 << 20,
        max_sessions_per_shard: 16_384,
        session_ttl_ms: 600_000,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Limits::DEFAULT
    }
}
