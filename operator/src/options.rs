//! The settings of the operator: flags, or environment variables.

use std::net::SocketAddr;

use clap::Parser;
use skv_startup::{LogFormat, trimmed};

/// Keeps what ShardedKV resources ask for running.
///
/// Several may run: the holder of a Lease acts, the others wait for it.
#[derive(Debug, Clone, Parser)]
#[command(name = "skv-operator", version)]
pub struct Options {
    /// Act in these namespaces only [default: in all].
    #[arg(long = "namespace", env = "SKV_NAMESPACES", value_name = "NAMESPACE", value_delimiter = ',',
          value_parser = trimmed::<String>)]
    pub namespaces: Vec<String>,
    /// The operator's own namespace, where its Lease is.
    #[arg(long, env = "SKV_OWN_NAMESPACE", value_name = "NAMESPACE", default_value = "default")]
    pub own_namespace: String,
    /// The name of its Lease.
    #[arg(long, env = "SKV_LEASE", value_name = "NAME", default_value = "skv-operator")]
    pub lease: String,
    /// Tells it from others that want the Lease, such as the pod's name [default: random].
    #[arg(long, env = "SKV_IDENTITY", value_name = "NAME")]
    pub identity: Option<String>,
    /// The domain of the cluster's Services [default: the one in a pod's /etc/resolv.conf, or else
    /// cluster.local].
    #[arg(long, env = "SKV_CLUSTER_DOMAIN", value_name = "DOMAIN")]
    pub cluster_domain: Option<String>,
    /// The image of stores whose resource names none, such as the operator's own. They keep it.
    #[arg(long, env = "SKV_IMAGE", value_name = "IMAGE",
          default_value = concat!("shardedkv:", env!("CARGO_PKG_VERSION")))]
    pub image: String,
    /// Work on this many resources at a time, in each of the namespaces if some are given.
    #[arg(long, env = "SKV_CONCURRENCY", value_name = "N", default_value_t = 16,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
    /// Listens here for /metrics, /livez and /readyz.
    #[arg(long, env = "SKV_HTTP_LISTEN", value_name = "ADDR", default_value = "[::]:8080")]
    pub http_listen: SocketAddr,
    /// The form of the log. RUST_LOG chooses what is logged.
    #[arg(long, env = "SKV_LOG_FORMAT", value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }
}
