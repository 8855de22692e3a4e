//! Asking shard managers for their maps.

use std::time::Duration;

use futures::future::BoxFuture;
use skv_proto::v1;
use skv_proto::v1::shard_manager_client::ShardManagerClient;
use tonic::transport::Endpoint;

/// A shard manager that doesn't answer must not hold up other resources.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who knows shard maps.
pub(crate) trait Maps: Send + Sync {
    /// The map of the shard manager at `HOST:PORT`; `None` if it has none or can't be asked.
    fn shard_map<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Option<v1::ShardMap>>;
}

/// Asks over the network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShardManagers;

impl Maps for ShardManagers {
    fn shard_map<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Option<v1::ShardMap>> {
        Box::pin(async move {
            ask(address)
                .await
                .inspect_err(
                    |error| tracing::debug!(address, %error, "the shard manager doesn't tell its map"),
                )
                .ok()
        })
    }
}

async fn ask(address: &str) -> anyhow::Result<v1::ShardMap> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let channel = endpoint.connect_timeout(PATIENCE).timeout(PATIENCE).connect().await?;
    Ok(ShardManagerClient::new(channel).get_shard_map(v1::GetShardMapRequest {}).await?.into_inner())
}
