//! The options of a shard manager: flags, or the environment variable beside each. All variables begin with
//! `SKV_MANAGER_`; `SKV_MANAGER` itself is the address that servers and `skv` are given.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use skv_assignment::record::Limits;
use skv_assignment::rules::Settings;
use skv_sharding::{Hash, MAX_SHARDS, Policy};
use skv_startup::LogFormat;

use crate::store::ObjectName;

/// Owns the shard map of one ShardedKV: founds its groups, knows where their replicas are,
/// and tells clients which group has which shard.
///
/// The data is served without it. Its record is one small file; if that is lost, the map
/// is rebuilt from what the groups report.
#[derive(Debug, Clone, Parser)]
#[command(name = "shardmanager", version)]
pub struct Options {
    /// The address to serve gRPC on.
    #[arg(long, env = "SKV_MANAGER_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:7400")]
    pub listen: SocketAddr,

    /// The address to serve /metrics, /livez and /readyz on, over HTTP.
    #[arg(long, env = "SKV_MANAGER_HTTP_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:7401")]
    pub http_listen: SocketAddr,

    /// Connections that may be open at a time: fewer if the limit of open files (ulimit -n) leaves no
    /// room for N. Those beyond are closed at once.
    #[arg(long, env = "SKV_MANAGER_MAX_CONNECTIONS", value_name = "N",
          default_value_t = skv_listen::MOST_CONNECTIONS, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,

    /// Directory of the record; made if need be. One process works on it at a time.
    #[arg(long, env = "SKV_MANAGER_DATA_DIR", value_name = "DIR", required_unless_present = "kubernetes")]
    pub data_dir: Option<PathBuf>,

    /// Keep the record in this ShardMap of the Kubernetes cluster that we run in. Any number
    /// of processes may work on it at a time.
    #[arg(long, env = "SKV_MANAGER_KUBERNETES", value_name = "NAMESPACE/NAME", conflicts_with = "data_dir")]
    pub kubernetes: Option<ObjectName>,

    /// Groups of the first configuration. Groups are numbered from 0.
    #[arg(long, env = "SKV_MANAGER_GROUPS", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub groups: u32,

    /// Replicas per group.
    #[arg(long, env = "SKV_MANAGER_REPLICAS", value_name = "R", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub replicas: u32,

    /// Number of shards. Fixed for the life of the cluster.
    #[arg(long, env = "SKV_MANAGER_SHARDS", value_name = "S", default_value_t = 240,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SHARDS)))]
    pub shards: u32,

    /// The function that maps keys to shards: fnv1, fnv1a, integer (decimal keys, key mod shards) or
    /// integer-or-fnv1 (whichever fits the key). Fixed for the life of the cluster.
    #[arg(long, env = "SKV_MANAGER_HASH", value_name = "HASH", default_value_t = Hash::Fnv1)]
    pub hash: Hash,

    /// The policy that spreads shards over groups: minimal (as even as can be, by the fewest moves) or
    /// modulo (shard i in the (i mod groups)th group). Fixed for the life of the cluster.
    #[arg(long, env = "SKV_MANAGER_POLICY", value_name = "POLICY", default_value_t = Policy::Minimal)]
    pub policy: Policy,

    /// The groups share their servers in a ring, which stays as it was made: no group joins or
    /// leaves, and no shard is pinned.
    #[arg(long, env = "SKV_MANAGER_RING")]
    pub ring: bool,

    /// Longest key in bytes. This and the limits below are fixed when the cluster is founded.
    #[arg(long, env = "SKV_MANAGER_MAX_KEY_BYTES", value_name = "BYTES", default_value_t = Limits::DEFAULT.max_key_bytes,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub max_key_bytes: u64,

    /// Longest value in bytes, also of one that appends made.
    #[arg(long, env = "SKV_MANAGER_MAX_VALUE_BYTES", value_name = "BYTES", default_value_t = Limits::DEFAULT.max_value_bytes,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub max_value_bytes: u64,

    /// Sessions that a shard remembers; past it the least recently used is forgotten.
    #[arg(long, env = "SKV_MANAGER_MAX_SESSIONS_PER_SHARD", value_name = "N", default_value_t = Limits::DEFAULT.max_sessions_per_shard,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub max_sessions_per_shard: u64,

    /// A session unused for this many milliseconds is forgotten.
    #[arg(long, env = "SKV_MANAGER_SESSION_TTL_MS", value_name = "MS", default_value_t = Limits::DEFAULT.session_ttl_ms,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub session_ttl_ms: u64,

    /// Groups are reached from outside of the Kubernetes cluster by node ports, which are numbered
    /// from this one: it is our own, and that of group N is 1 + N above it. `GetShardIndex`
    /// answers the group's [default: the port of the group's leader].
    #[arg(long, env = "SKV_MANAGER_FIRST_NODE_PORT", value_name = "PORT")]
    pub first_node_port: Option<u16>,

    /// Form of the log on standard error. RUST_LOG chooses what is logged.
    #[arg(long, env = "SKV_MANAGER_LOG_FORMAT", value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

impl Options {
    /// Returns the intended cluster.
    pub fn settings(&self) -> Settings {
        Settings {
            groups: self.groups,
            replicas: self.replicas,
            shards: self.shards,
            hash: self.hash,
            policy: self.policy,
            ring: self.ring,
            limits: Limits {
                max_key_bytes: self.max_key_bytes,
                max_value_bytes: self.max_value_bytes,
                max_sessions_per_shard: self.max_sessions_per_shard,
                session_ttl_ms: self.session_ttl_ms,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn each_option_has_a_variable_of_the_same_name() {
        for option in Options::command().get_arguments() {
            let name = option.get_id().as_str().to_uppercase();
            let variable = option.get_env().and_then(std::ffi::OsStr::to_str);
            assert_eq!(variable, Some(format!("SKV_MANAGER_{name}").as_str()));
        }
    }

    #[test]
    fn what_can_not_be_is_refused() {
        for bad in [
            ["--groups", "0"],
            ["--replicas", "0"],
            ["--shards", "0"],
            ["--hash", "md5"],
            ["--listen", "here"],
        ] {
            let args = ["shardmanager", "--data-dir", "d"].into_iter().chain(bad);
            assert!(Options::try_parse_from(args).is_err(), "{bad:?}");
        }
        for bad in [
            &["--kubernetes", "name"][..],
            &["--kubernetes", "a/b/c"],
            &["--kubernetes", "a/b", "--data-dir", "d"],
            &[],
        ] {
            let args = ["shardmanager"].iter().chain(bad);
            assert!(Options::try_parse_from(args).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_record_is_in_a_directory_or_in_an_object() {
        let options = Options::parse_from(["shardmanager", "--kubernetes", "prod/demo"]);
        let object = options.kubernetes.unwrap();
        assert_eq!((object.namespace.as_str(), object.name.as_str()), ("prod", "demo"));
    }
}
