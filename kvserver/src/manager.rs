//! Talking to the shard manager. Nothing that serves data waits for it (invariant 8).

use std::time::Duration;

use skv_proto::v1;
use skv_proto::v1::shard_manager_client::ShardManagerClient;
use tonic::Status;
use tonic::transport::Channel;

use crate::net::{Dial, MESSAGE_LIMIT};

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The shard manager, at any of its addresses.
#[derive(Clone)]
pub struct Manager {
    addresses: Vec<String>,
    dial: Dial,
}

impl std::fmt::Debug for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manager").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Manager {
    /// The manager at these addresses.
    pub fn new(addresses: Vec<String>, dial: Dial) -> Self {
        Manager { addresses, dial }
    }

    fn client(&self, address: &str) -> Result<ShardManagerClient<Channel>, Status> {
        let channel = (self.dial)(address).map_err(|e| Status::unavailable(format!("{address}: {e}")))?;
        Ok(ShardManagerClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT))
    }

    /// Says who a replica is; answers the plan for it. The first address that answers counts.
    pub async fn register(
        &self,
        request: v1::RegisterReplicaRequest,
    ) -> Result<v1::RegisterReplicaResponse, Status> {
        let mut last = Status::unavailable("no address of the shard manager is known");
        for address in &self.addresses {
            let mut client = self.client(address)?;
            match tokio::time::timeout(TIMEOUT, client.register_replica(request.clone())).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                // Another manager would say the same.
                Ok(Err(status)) if status.code() != tonic::Code::Unavailable => return Err(status),
                Ok(Err(status)) => last = status,
                Err(_) => {
                    last = Status::deadline_exceeded(format!("{address} didn't answer within {TIMEOUT:?}"))
                }
            }
        }
        Err(last)
    }

    /// The map, now and whenever it changes.
    pub async fn watch(&self, after_revision: u64) -> Result<tonic::Streaming<v1::ShardMap>, Status> {
        let mut last = Status::unavailable("no address of the shard manager is known");
        for address in &self.addresses {
            let mut client = self.client(address)?;
            let request = v1::WatchShardMapRequest { after_revision };
            match tokio::time::timeout(TIMEOUT, client.watch_shard_map(request)).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => last = status,
                Err(_) => {
                    last = Status::deadline_exceeded(format!("{address} didn't answer within {TIMEOUT:?}"))
                }
            }
        }
        Err(last)
    }
}
