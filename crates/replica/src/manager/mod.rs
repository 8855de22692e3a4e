//! Talking to the shard managers. Nothing that serves data waits for them (invariant 8).
//!
//! Any of them serves and all share one record, but what replicas said lately each keeps for
//! itself. So a replica registers with all of them, and acts on the best answer: a founding
//! needs one manager that has heard every replica.

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

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long the other managers may take once one has answered.
const GRACE: Duration = Duration::from_millis(500);

/// The shard managers, at all their addresses.
#[derive(Debug)]
pub struct Manager {
    connections: Connections,
}

impl Manager {
    /// The managers of these names, `HOST:PORT`. One name may stand for several managers.
    pub fn new(names: Vec<String>, resolve: Resolve, dial: Dial) -> Self {
        Manager { connections: Connections::new(names, resolve, dial) }
    }

    /// Says to all managers who a replica is; answers the best plan for it.
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
                // Whoever is cut off here has been told all the same.
                Some(until) => timeout_at(until, calls.join_next()).await.ok().flatten(),
            };
            let Some(joined) = next else { return best };
            best = better(best, joined.unwrap_or_else(|panic| Err(Status::internal(panic.to_string()))));
            if best.is_ok() {
                patience.get_or_insert_with(|| Instant::now() + GRACE);
            }
        }
    }

    /// The map of any manager, now and whenever it changes.
    pub async fn watch(&self) -> Result<tonic::Streaming<v1::ShardMap>, Status> {
        let mut last = unknown();
        for (address, mut client) in self.connections.all(TIMEOUT).await? {
            // Also one of the revision that is known: a rebuilt record may have reached it again.
            let request = v1::WatchShardMapRequest::default();
            match within_timeout(&address, client.watch_shard_map(request)).await {
                Ok(maps) => return Ok(maps),
                Err(status) => last = status,
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
