//! The options of a server: flags, or the environment variable beside each.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use skv_net::NamedServer;
use skv_replica::Tuning;
use skv_sharding::{GroupId, Ring};
use skv_startup::{LogFormat, trimmed};

/// A server of ShardedKV: hosts replicas of Raft groups that hold shards.
#[derive(Debug, Clone, Parser)]
#[command(name = "kvserver", version)]
pub struct Options {
    /// The name of this server: the pod's name; unique in the cluster and kept over restarts.
    #[arg(long, env = "SKV_SERVER")]
    pub server: String,
    /// A group to host a replica of; may be repeated.
    #[arg(long = "group", env = "SKV_GROUPS", value_delimiter = ',', required_unless_present = "ring",
          value_parser = trimmed::<GroupId>)]
    pub groups: Vec<GroupId>,
    /// Host a replica of each group that this server's place gives it in a ring of SERVERS servers,
    /// with REPLICAS replicas of each group. Its place is the number at the end of its name.
    #[arg(long, env = "SKV_RING", value_name = "SERVERS,REPLICAS", conflicts_with = "groups")]
    pub ring: Option<Ring>,
    /// The directory of the replicas' logs and snapshots.
    #[arg(long, env = "SKV_DATA_DIR", required_unless_present = "memory_only")]
    pub data_dir: Option<PathBuf>,
    /// Keep everything in memory only: the replicas are new ones after every restart, and
    /// acknowledged writes survive as long as a majority of the group stays up.
    #[arg(long, env = "SKV_MEMORY_ONLY", conflicts_with = "data_dir")]
    pub memory_only: bool,

    /// Listens here for users.
    #[arg(long, env = "SKV_CLIENT_LISTEN", default_value = "[::]:7000")]
    pub client_listen: SocketAddr,
    /// Listens here for other servers, and for `skv` commands that manage servers.
    #[arg(long, env = "SKV_PEER_LISTEN", default_value = "[::]:7001")]
    pub peer_listen: SocketAddr,
    /// Listens here for /metrics, /livez and /readyz.
    #[arg(long, env = "SKV_HTTP_LISTEN", default_value = "[::]:7002")]
    pub http_listen: SocketAddr,
    /// The address under which users reach --client-listen [default: the listener's own].
    #[arg(long, env = "SKV_CLIENT_ADVERTISE")]
    pub client_advertise: Option<String>,
    /// The address under which servers reach --peer-listen [default: the listener's own].
    #[arg(long, env = "SKV_PEER_ADVERTISE")]
    pub peer_advertise: Option<String>,

    /// Connections of users that may be open at a time: fewer if the limit of open files (ulimit -n)
    /// leaves no room for N. Those beyond are closed at once.
    #[arg(long, env = "SKV_MAX_CONNECTIONS", value_name = "N", default_value_t = skv_listen::MOST_CONNECTIONS,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,

    /// Names of the shard managers, each HOST:PORT. A name that has several addresses stands for
    /// a manager at each.
    #[arg(long, env = "SKV_MANAGER", value_delimiter = ',', required = true, value_parser = trimmed::<String>)]
    pub shard_manager: Vec<String>,
    /// The other servers, each NAME=CLIENT_HOST:PORT/PEER_HOST:PORT.
    #[arg(long, env = "SKV_PEERS", value_delimiter = ',', conflicts_with = "peers_srv",
          value_parser = trimmed::<NamedServer>)]
    pub peers: Vec<NamedServer>,
    /// Find the other servers by the SRV records `_client._tcp` and `_peer._tcp` of this domain.
    #[arg(long, env = "SKV_PEERS_SRV")]
    pub peers_srv: Option<String>,
    /// Identifies this run of the server among others under the same name, such as the
    /// pod's uid [default: random].
    #[arg(long, env = "SKV_INSTANCE")]
    pub instance: Option<String>,

    /// Bytes of memory that this server may use: at least 128 MiB. Beyond a part of them nothing is
    /// taken that makes the data grow [default: what its cgroups allow, or else what the machine has].
    #[arg(long, env = "SKV_MEMORY", value_name = "BYTES",
          value_parser = clap::value_parser!(u64).range(skv_sharding::LEAST_MEMORY_BYTES..))]
    pub memory: Option<u64>,
    /// Threads that serve requests [default: one per processor].
    #[arg(long, env = "SKV_WORKER_THREADS", value_parser = clap::value_parser!(u16).range(1..))]
    pub worker_threads: Option<u16>,
    /// Print the input and the result of every operation.
    #[arg(long, env = "SKV_LOG_OPERATIONS")]
    pub log_operations: bool,
    /// The form of the log.
    #[arg(long, env = "SKV_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Times and sizes.
    #[command(flatten)]
    pub tuning: Tuning,
    /// For tests: the disk has the faults that stand in this file.
    #[arg(long, hide = true, conflicts_with = "memory_only")]
    pub disk_faults: Option<PathBuf>,
}

/// A server whose name doesn't say where in its ring it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the server's name {server:?} doesn't end with its place in a ring of {servers} servers: call them NAME-0 \
     to NAME-{last}", last = .servers - 1
)]
pub struct NoPlace {
    server: String,
    servers: u32,
}

impl Options {
    /// The groups to host replicas of.
    pub fn hosted_groups(&self) -> Result<Vec<GroupId>, NoPlace> {
        let Some(ring) = self.ring else { return Ok(self.groups.clone()) };
        let number = self.server.rsplit_once('-').and_then(|(_, number)| number.parse().ok());
        match number.filter(|place| *place < ring.servers()) {
            Some(place) => Ok(ring.groups_of(place).collect()),
            None => Err(NoPlace { server: self.server.clone(), servers: ring.servers() }),
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
    fn a_server_that_is_told_nothing_does_what_a_resource_that_says_nothing_asks_for() {
        let flags = ["kvserver", "--server=s", "--group=g0", "--memory-only", "--shard-manager=h:1"];
        for server in [Tuning::default(), Options::parse_from(flags).tuning] {
            let same = skv_resource::Tuning {
                heartbeat_ms: server.heartbeat_ms,
                election_timeout_ms: server.election_timeout_ms,
                snapshot_log_bytes: server.snapshot_log_bytes,
                transfer_bytes_per_second: server.transfer_bytes_per_second,
            };
            assert_eq!(same, skv_resource::Tuning::default());
        }
    }

    fn in_ring(server: &str) -> Result<Vec<GroupId>, NoPlace> {
        let server = format!("--server={server}");
        let flags = ["kvserver", &server, "--ring=5,3", "--memory-only", "--shard-manager=h:1"];
        Options::parse_from(flags).hosted_groups()
    }

    #[test]
    fn in_a_ring_the_name_of_a_server_says_which_groups_it_hosts() {
        assert_eq!(in_ring("lab-ring-4"), Ok([4, 3, 2].map(GroupId).to_vec()));
        assert_eq!(in_ring("lab-ring-0"), Ok([0, 4, 3].map(GroupId).to_vec()));
        for server in ["lab-ring-5", "lab-ring", "4", "lab-ring-"] {
            let message = in_ring(server).unwrap_err().to_string();
            assert!(message.ends_with("call them NAME-0 to NAME-4"), "{message}");
        }
    }

    #[test]
    fn a_server_is_in_a_ring_or_is_told_its_groups() {
        let options = |flags: &[&str]| {
            let always = ["kvserver", "--server=a-0", "--memory-only", "--shard-manager=h:1"];
            Options::try_parse_from(always.iter().chain(flags))
        };
        assert_eq!(options(&["--group=g1"]).unwrap().hosted_groups(), Ok(vec![GroupId(1)]));
        for flags in [&[][..], &["--group=g1", "--ring=5,3"], &["--ring=3,5"]] {
            assert!(options(flags).is_err(), "{flags:?}");
        }
    }

    #[test]
    fn defaults_in_code_are_those_of_the_command_line() {
        let flags = ["kvserver", "--server=a", "--group=g0", "--memory-only", "--shard-manager=h:1"];
        let options = Options::parse_from(flags);
        assert_eq!(format!("{:?}", options.tuning), format!("{:?}", Tuning::default()));
    }
}
