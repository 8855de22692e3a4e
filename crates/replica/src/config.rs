//! openraft's configuration.

use openraft::{Config, ConfigError, SnapshotPolicy};

use crate::tuning::Tuning;

/// The configuration of every group.
pub(super) fn raft_config(tuning: &Tuning) -> Result<Config, ConfigError> {
    let election_max = tuning.election_timeout_ms * 2;
    Config {
        heartbeat_interval: tuning.heartbeat_ms,
        election_timeout_min: tuning.election_timeout_ms,
        election_timeout_max: election_max,
        enable_pre_vote: Some(true),
        // The state machine lives in memory: a restarted leader must not go on as leader
        // before it has applied its log again.
        enable_leader_restore: Some(false),
        // Without it a partition that lets one replica reach both others can keep a dead
        // leader in office (openraft #2080). At least a lease and an election.
        quorum_loss_probe_interval: Some(election_max * 2),
        max_payload_entries: 2048,
        max_append_entries: Some(4096),
        // Followers get the entries while the leader's own disk still syncs.
        broadcast_submitted_on_append: Some(true),
        api_batch_linger_ms: 0,
        api_channel_size: Some(8192),
        // We ask for snapshots by bytes of log, and purge what they cover ourselves.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        // Nobody but our network would enforce it, and that goes by progress (`raft/transfer.rs`).
        install_snapshot_timeout: u64::MAX,
        backoff: "50ms 100ms 200ms ...500ms".into(),
        ..Config::default()
    }
    .validate()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        raft_config(&Tuning::default()).unwrap();
    }
}
