//! Times and sizes that a person may choose.

use skv_raft::header::FEATURE_LEVEL;

/// Times and sizes that trade one good thing for another.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Tuning {
    /// The interval between the heartbeats of a leader, in ms.
    #[arg(long, env = "SKV_HEARTBEAT_MS", default_value_t = Tuning::DEFAULT.heartbeat_ms)]
    pub heartbeat_ms: u64,
    /// A replica stands for election when its leader has been silent for three to four times as
    /// long, in ms.
    #[arg(long, env = "SKV_ELECTION_TIMEOUT_MS", default_value_t = Tuning::DEFAULT.election_timeout_ms)]
    pub election_timeout_ms: u64,
    /// Write a snapshot after this many bytes of log, or after a quarter of the last snapshot if
    /// that is more.
    #[arg(long, env = "SKV_SNAPSHOT_LOG_BYTES", default_value_t = Tuning::DEFAULT.snapshot_log_bytes)]
    pub snapshot_log_bytes: u64,
    /// The size of one file of the log: at least 4 MiB, so that it holds a batch of the largest values.
    #[arg(long, env = "SKV_LOG_SEGMENT_BYTES", default_value_t = Tuning::DEFAULT.log_segment_bytes,
          value_parser = clap::value_parser!(u32).range(4 << 20..))]
    pub log_segment_bytes: u32,
    /// A replica is replaced by an empty one of the same server when it has been silent
    /// for this long, in ms.
    #[arg(long, env = "SKV_REPLACE_AFTER_MS", default_value_t = Tuning::DEFAULT.replace_after_ms)]
    pub replace_after_ms: u64,
    /// Bytes per second that this server hands over to other groups at most; 0: no limit.
    #[arg(long, env = "SKV_TRANSFER_BYTES_PER_SECOND", default_value_t = Tuning::DEFAULT.transfer_bytes_per_second)]
    pub transfer_bytes_per_second: u64,
    /// The level of the abilities that this server announces to others. It is that of the program, but in
    /// tests of different versions.
    #[arg(skip = FEATURE_LEVEL)]
    pub feature_level: u32,
}

impl Tuning {
    /// The times and sizes where nobody says otherwise.
    pub const DEFAULT: Tuning = Tuning {
        heartbeat_ms: 50,
        election_timeout_ms: 250,
        snapshot_log_bytes: 64 << 20,
        log_segment_bytes: 16 << 20,
        replace_after_ms: 30_000,
        // Twice as many are felt by those who use other shards.
        transfer_bytes_per_second: 8 << 20,
        feature_level: FEATURE_LEVEL,
    };
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning::DEFAULT
    }
}
