//! The store that a command addresses.

use std::time::Duration;

use anyhow::{Context as _, bail};
use skv_client::{Clerk, Options};
use skv_local::endpoint;
use skv_proto::v1;
use skv_proto::v1::kv_client::KvClient;
use skv_proto::v1::shard_manager_client::ShardManagerClient;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::duration;

/// The addresses of the store.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Store")]
pub(crate) struct Target {
    /// The shard manager; several addresses are tried in turn.
    #[arg(long, global = true, env = "SKV_MANAGER", value_name = "HOST:PORT,...", value_delimiter = ',')]
    manager: Vec<String>,
    /// A server to ask instead of a shard manager.
    #[arg(long, global = true, value_name = "HOST:PORT,...", value_delimiter = ',')]
    server: Vec<String>,
    /// The time limit of an operation; for a server that works on a request, the time for which it may
    /// be out of reach.
    #[arg(long, global = true, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    timeout: Duration,
}

/// Addresses to ask, of one kind.
enum Addresses {
    Servers(Vec<String>),
    Managers(Vec<String>),
}

impl Target {
    /// Returns the store of this shard manager, whichever one the flags name.
    pub(crate) fn of_manager(manager: String, timeout: Duration) -> Target {
        Target { manager: vec![manager], server: Vec::new(), timeout }
    }

    fn addresses(&self) -> anyhow::Result<Addresses> {
        if !self.server.is_empty() {
            return Ok(Addresses::Servers(self.server.clone()));
        }
        if !self.manager.is_empty() {
            return Ok(Addresses::Managers(self.manager.clone()));
        }
        Ok(Addresses::Managers(vec![endpoint::find()?.manager]))
    }

    /// The shard managers, which a server can't stand in for.
    pub(crate) fn managers(&self) -> anyhow::Result<Vec<String>> {
        match self.addresses()? {
            Addresses::Managers(managers) => Ok(managers),
            Addresses::Servers(_) => {
                bail!("only a shard manager can do this: name one with --manager instead of --server")
            }
        }
    }

    /// Returns the time limit of an operation.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns the settings of a clerk for this store.
    pub(crate) fn options(&self) -> anyhow::Result<Options> {
        let mut options = match self.addresses()? {
            Addresses::Servers(servers) => Options::seeds(servers),
            Addresses::Managers(managers) => Options::manager(managers),
        };
        options.deadline = self.timeout;
        Ok(options)
    }

    /// Makes a clerk of this store.
    pub(crate) fn clerk(&self) -> anyhow::Result<Clerk> {
        Ok(Clerk::connect(self.options()?)?)
    }

    /// Returns the shard map, as the manager or a server knows it.
    pub(crate) async fn shard_map(&self) -> anyhow::Result<v1::ShardMap> {
        let mut last = None;
        match self.addresses()? {
            Addresses::Servers(servers) => {
                for server in servers {
                    match self.map_of_server(&server).await {
                        Ok(map) => return Ok(map),
                        Err(error) => last = Some(error),
                    }
                }
            }
            Addresses::Managers(managers) => {
                for manager in managers {
                    match self.map_of_manager(&manager).await {
                        Ok(map) => return Ok(map),
                        Err(error) => last = Some(error),
                    }
                }
            }
        }
        match last {
            Some(error) => Err(error),
            None => bail!("no address was given"),
        }
    }

    async fn map_of_server(&self, address: &str) -> anyhow::Result<v1::ShardMap> {
        let mut client = KvClient::new(self.dial(address).await?);
        let answer = client.get_shard_map(v1::GetShardMapRequest {}).await;
        Ok(answer.map_err(|status| explain(&status, address))?.into_inner())
    }

    async fn map_of_manager(&self, address: &str) -> anyhow::Result<v1::ShardMap> {
        let mut client = ShardManagerClient::new(self.dial(address).await?);
        let answer = client.get_shard_map(v1::GetShardMapRequest {}).await;
        Ok(answer.map_err(|status| explain(&status, address))?.into_inner())
    }

    /// Opens a connection to one of the store's listeners.
    pub(crate) async fn dial(&self, address: &str) -> anyhow::Result<Channel> {
        connect(self.endpoint(address)?.timeout(self.timeout), address).await
    }

    /// The same for calls without a time limit: they fail when the server can't be reached any more.
    pub(crate) async fn dial_patiently(&self, address: &str) -> anyhow::Result<Channel> {
        connect(self.endpoint(address)?, address).await
    }

    fn endpoint(&self, address: &str) -> anyhow::Result<Endpoint> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .with_context(|| format!("{address:?} is not an address of the form HOST:PORT"))?;
        let endpoint = endpoint.connect_timeout(self.timeout);
        // A call that waits for long is given up once the server can't be reached any more.
        Ok(endpoint.http2_keep_alive_interval(self.timeout).keep_alive_timeout(self.timeout))
    }
}

async fn connect(endpoint: Endpoint, address: &str) -> anyhow::Result<Channel> {
    endpoint.connect().await.with_context(|| format!("can't connect to {address}"))
}

/// Explains a server's status, for people.
pub(crate) fn explain(status: &Status, address: &str) -> anyhow::Error {
    match skv_proto::Error::from_status(status) {
        Some(error) => anyhow::anyhow!("{address}: {error}"),
        None => anyhow::anyhow!("{address}: {}", status.message()),
    }
}
