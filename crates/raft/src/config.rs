//! openraft's configuration.

use openraft::{Config, ConfigError, SnapshotPolicy};

/// The speed at which a group notices that its leader is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// The interval in ms at which a leader shows that it is alive.
    pub heartbeat_ms: u64,
    /// The measure in ms of the time after which a replica without its leader stands for election.
    /// openraft waits for the longest election timeout, twice this, before anybody may, and then for a
    /// random one of this to twice this: altogether three to four times this.
    pub election_timeout_ms: u64,
}

/// Returns the configuration of every group.
pub(crate) fn raft_config(timing: Timing) -> Result<Config, ConfigError> {
    let election_max = timing.election_timeout_ms * 2;
    Config {
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: timing.election_timeout_ms,
        election_timeout_max: election_max,
        enable_pre_vote: Some(true),
        // The state machine lives in memory: a restarted leader must not go on as leader
        // before it has applied its log again.
        enable_leader_restore: Some(false),
        // Without it a partition that lets one replica reach both others can keep a dead leader in
        // its role (openraft #2080). It must be at least a lease and an election.
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
        // Only our network would enforce it, and that goes by progress (`transfer.rs`).
        install_snapshot_timeout: u64::MAX,
        // A follower's log may end before what it acknowledged, if its disk went back in time. Its
        // leader must go on, and count it for what it has (`reversion.rs`).
        allow_log_reversion: Some(true),
        backoff: "50ms 100ms 200ms ...500ms".into(),
        ..Config::default()
    }
    .validate()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_must_be_heard_before_an_election_begins() {
        raft_config(Timing { heartbeat_ms: 50, election_timeout_ms: 250 }).unwrap();
        raft_config(Timing { heartbeat_ms: 250, election_timeout_ms: 50 }).unwrap_err();
    }
}
