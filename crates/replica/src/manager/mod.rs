//! The connection to the shard managers. Nothing that serves data waits for them (invariant 8).
//!
//! Any of them serves and all share one record, but each keeps the replicas' latest reports for
//! itself. So a replica registers with all of them, and acts on the best answer: a founding needs one
//! manager that has heard every replica.

mod answer;
mod connections;

use std::time::Duration;

use skv_net::{Dial, Resolve};
use skv_proto::v1;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use answer::better;
use connections::Connections;

/// The longest time of one call.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The time for which the other managers are waited for once one has answered.
const GRACE: Duration = Duration::from_millis(500);

/// The shard managers, at all their addresses.
#[derive(Debug)]
pub struct Manager {
    connections: Connections,
}

impl Manager {
    /// Returns the managers of these names, `HOST:PORT`. One name may stand for several managers.
    pub fn new(names: Vec<String>, resolve: Resolve, dial: Dial) -> Self {
        Manager { connections: Connections::new(names, resolve, dial) }
    }

    /// Registers a replica with all managers; returns the best plan for it.
    pub async fn register(
        &self,
        request: v1::RegisterReplicaRequest,
    ) -> Result<v1::RegisterReplicaResponse, Status> {
        let mut calls = JoinSet::new();
        for (address, mut client) in self.connections.all(TIMEOUT).await? {
            let request = request.clone();
            calls.spawn(async move { within_timeout(&address, client.register_replica(request)).await });
        }
        let mut best = Err(unknown());
        let mut patience = None;
        loop {
            let next = match patience {
                None => calls.join_next().await,
                // A manager whose call is cut off here has got the request all the same.
                Some(until) => timeout_at(until, calls.join_next()).await.ok().flatten(),
            };
            let Some(joined) = next else { return best };
            let answer = joined.unwrap_or_else(|panic| Err(Status::internal(panic.to_string())));
            if answer.is_err() {
                self.connections.doubt();
            }
            best = better(best, answer);
            if best.is_ok() {
                patience.get_or_insert_with(|| Instant::now() + GRACE);
            }
        }
    }

    /// Returns the map of any manager, now and whenever it changes.
    pub async fn watch(&self) -> Result<tonic::Streaming<v1::ShardMap>, Status> {
        let mut last = unknown();
        for (address, mut client) in self.connections.all(TIMEOUT).await? {
            // A map of the known revision is wanted too: a rebuilt record may have reached it again.
            let request = v1::WatchShardMapRequest::default();
            match within_timeout(&address, client.watch_shard_map(request)).await {
                Ok(maps) => return Ok(maps),
                Err(status) => {
                    self.connections.doubt();
                    last = status;
                }
            }
        }
        Err(last)
    }
}

fn unknown() -> Status {
    Status::unavailable("no address of the shard manager is known")
}

async fn within_timeout<T>(
    address: &str,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(TIMEOUT, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!("{address} didn't answer within {TIMEOUT:?}"))),
    }
}
