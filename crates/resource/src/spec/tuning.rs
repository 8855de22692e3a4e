//! Times and sizes that trade one good thing for another.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Times and sizes that trade one good thing for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-kubernetes-validations" = [
        { "rule": "self.electionTimeoutMs >= 3 * self.heartbeatMs", "message": "must be at least three heartbeats", "fieldPath": ".electionTimeoutMs" }
    ]))]
pub struct Tuning {
    /// The interval between the heartbeats of a leader, in milliseconds.
    #[schemars(range(min = 10, max = 10000))]
    pub heartbeat_ms: u64,
    /// A replica stands for election when its leader has been silent for three to four times as long, in
    /// milliseconds. At least three heartbeats.
    #[schemars(range(min = 50, max = 60000))]
    pub election_timeout_ms: u64,
    /// A replica writes a snapshot after this many bytes of log, or after a quarter of the
    /// last snapshot if that is more.
    #[schemars(range(min = 1024))]
    pub snapshot_log_bytes: u64,
    /// The maximum number of bytes of moving shards that each server sends per second; 0 means no limit. A
    /// higher limit ends moves sooner, and disturbs the users of other shards more meanwhile.
    pub transfer_bytes_per_second: u64,
}

/// The bytes per second that a server sends at most by default, also without the option.
pub const TRANSFER_BYTES_PER_SECOND: u64 = 8 << 20;

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            heartbeat_ms: 50,
            election_timeout_ms: 250,
            snapshot_log_bytes: 64 << 20,
            transfer_bytes_per_second: TRANSFER_BYTES_PER_SECOND,
        }
    }
}
