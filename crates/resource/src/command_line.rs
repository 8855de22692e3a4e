//! The flags by which processes receive a specification, wherever they run.

use std::fmt::Display;

use crate::{Placement, ShardedKvSpec, Storage};

/// A program's flags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandLine(Vec<String>);

impl CommandLine {
    /// Adds a flag with a value.
    pub fn option(&mut self, name: &str, value: impl Display) {
        self.0.push(format!("{name}={value}"));
    }

    /// Adds a flag without one.
    pub fn flag(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    /// Adds the place of a server's data: this directory, unless it keeps everything in memory.
    pub fn data(&mut self, storage: &Storage, directory: impl Display) {
        if storage.memory_only {
            self.flag("--memory-only");
        } else {
            self.option("--data-dir", directory);
        }
    }

    /// Adds the flags of every shard manager under a specification.
    pub fn shard_manager(&mut self, spec: &ShardedKvSpec) {
        self.option("--log-format", spec.server.log_format.name());
        self.option("--groups", spec.groups);
        self.option("--replicas", spec.replicas);
        self.option("--shards", spec.shards);
        self.option("--hash", spec.hash);
        self.option("--policy", spec.policy);
        if spec.placement == Placement::Ring {
            self.flag("--ring");
        }
        self.option("--max-key-bytes", spec.limits.max_key_bytes);
        self.option("--max-value-bytes", spec.limits.max_value_bytes);
        self.option("--max-sessions-per-shard", spec.limits.max_sessions_per_shard);
        self.option("--session-ttl-ms", spec.limits.session_ttl_seconds * 1000);
    }

    /// Adds the flags of every server under a specification.
    pub fn server(&mut self, spec: &ShardedKvSpec) {
        if spec.server.log_operations {
            self.flag("--log-operations");
        }
        self.option("--log-format", spec.server.log_format.name());
        if let Some(memory) = &spec.server.memory {
            self.option("--memory", memory.bytes());
        }
        self.option("--heartbeat-ms", spec.tuning.heartbeat_ms);
        self.option("--election-timeout-ms", spec.tuning.election_timeout_ms);
        self.option("--snapshot-log-bytes", spec.tuning.snapshot_log_bytes);
        self.option("--transfer-bytes-per-second", spec.tuning.transfer_bytes_per_second);
    }

    /// Returns the value of a flag among the arguments of a process.
    pub fn value_of<'a>(name: &str, arguments: &'a [String]) -> Option<&'a str> {
        arguments.iter().find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='))
    }

    /// Returns the arguments, in the order in which they were added.
    pub fn into_arguments(self) -> Vec<String> {
        self.0
    }
}
