//! The gRPC service.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use prost::Message as _;
use skv_assignment::rules::Change;
use skv_proto::v1::shard_manager_server::ShardManager;
use skv_proto::{Error, v1};
use skv_resource::NodePorts;
use skv_sharding::{GroupId, ShardId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};
use tonic::{Request, Response, Status};

use crate::manager::Manager;
use crate::published::Published;
use crate::wire;

/// The number of watches that may be open at once. Each holds the newest map and nothing else.
const MOST_WATCHES: usize = 4096;
/// The bytes per second that all watches together are sent. While shards move, each that arrives makes a
/// new map, and thousands of clerks would get all of them, of which they need the newest; a server's answer
/// corrects a clerk before that.
const MAP_BYTES_PER_SECOND: f64 = 32.0 * (1 << 20) as f64;
/// Pauses below the first are left out, and none is longer than the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(10));
/// The longest request id in bytes.
const LONGEST_REQUEST_ID: usize = 256;

/// Serves a manager.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    manager: Manager,
    node_ports: Option<NodePorts>,
    watches: Arc<Semaphore>,
}

impl Service {
    pub(crate) fn new(manager: Manager, node_ports: Option<NodePorts>) -> Self {
        Service { manager, node_ports, watches: Arc::new(Semaphore::new(MOST_WATCHES)) }
    }

    async fn change(
        &self,
        request_id: &str,
        change: &Change,
        rehearsal: bool,
    ) -> Result<Response<v1::ChangeResponse>, Status> {
        // The id is kept in the record, beside others.
        if request_id.len() > LONGEST_REQUEST_ID {
            let text = format!("a request id has at most {LONGEST_REQUEST_ID} bytes");
            return Err(Error::InvalidArgument(text).into());
        }
        Ok(Response::new(self.manager.change(request_id, change, rehearsal).await?))
    }

    /// Returns the port by which a group is known.
    fn port(&self, group: GroupId, addresses: &[String]) -> u16 {
        let on_nodes = self.node_ports.and_then(|ports| ports.of_group(group));
        on_nodes.or_else(|| addresses.iter().find_map(|address| wire::port(address))).unwrap_or_default()
    }

    fn published(&self) -> Result<Arc<Published>, Error> {
        self.manager.published().ok_or_else(no_map)
    }
}

fn no_map() -> Error {
    Error::Unavailable("there is no shard map yet: not all replicas have registered".to_owned())
}

#[tonic::async_trait]
impl ShardManager for Service {
    async fn get_shard_index(
        &self,
        request: Request<v1::GetShardIndexRequest>,
    ) -> Result<Response<v1::GetShardIndexResponse>, Status> {
        let published = self.published()?;
        let located = published
            .map
            .locate(&request.get_ref().key)
            .map_err(|e| Error::InvalidArgument(e.to_string()))?;
        let (shard, owner) =
            located.ok_or_else(|| Error::Unavailable("there are no shards yet".to_owned()))?;
        let addresses = leader_first(&published, owner.group);
        Ok(Response::new(v1::GetShardIndexResponse {
            shard: shard.0,
            group: owner.group.0,
            port: self.port(owner.group, &addresses).into(),
            addresses,
        }))
    }

    async fn get_shard_map(
        &self,
        _: Request<v1::GetShardMapRequest>,
    ) -> Result<Response<v1::ShardMap>, Status> {
        Ok(Response::new(self.manager.wire_map().ok_or_else(no_map)?))
    }

    type WatchShardMapStream = Pin<Box<dyn Stream<Item = Result<v1::ShardMap, Status>> + Send>>;

    async fn watch_shard_map(
        &self,
        request: Request<v1::WatchShardMapRequest>,
    ) -> Result<Response<Self::WatchShardMapStream>, Status> {
        let permit = Arc::clone(&self.watches)
            .try_acquire_owned()
            .map_err(|_| Error::Overloaded(format!("{MOST_WATCHES} watches are open")))?;
        let mut maps = self.manager.watch();
        maps.mark_changed();
        let watch = Watch {
            maps,
            stopping: self.manager.stopping(),
            skip: Some(request.get_ref().after_revision),
            rests_until: Instant::now(),
            open: Open {
                manager: self.manager.clone(),
                watches: Arc::clone(&self.watches),
                permit: Some(permit),
            },
        };
        watch.open.count();
        let maps = stream::unfold(watch, |mut watch| async move {
            let map = watch.next().await?;
            Some((Ok(map), watch))
        });
        Ok(Response::new(Box::pin(maps)))
    }

    async fn register_replica(
        &self,
        request: Request<v1::RegisterReplicaRequest>,
    ) -> Result<Response<v1::RegisterReplicaResponse>, Status> {
        Ok(Response::new(self.manager.register(request.into_inner()).await?))
    }

    async fn query(&self, request: Request<v1::QueryRequest>) -> Result<Response<v1::Configuration>, Status> {
        let published = self.published()?;
        let history = &published.record.history;
        let number = request.get_ref().number.unwrap_or(history.newest_number());
        let configuration = history.get(number).ok_or_else(|| {
            let (oldest, newest) = (history.oldest_number(), history.newest_number());
            Error::InvalidArgument(if number < oldest {
                format!("configuration {number} isn't kept any more; the oldest that is has number {oldest}")
            } else {
                format!("there is no configuration {number} yet; the newest is {newest}")
            })
        })?;
        Ok(Response::new((&configuration).into()))
    }

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::ChangeResponse>, Status> {
        let v1::JoinRequest { groups, request_id, dry_run } = request.into_inner();
        self.change(&request_id, &Change::Join(groups.into_iter().map(GroupId).collect()), dry_run).await
    }

    async fn leave(
        &self,
        request: Request<v1::LeaveRequest>,
    ) -> Result<Response<v1::ChangeResponse>, Status> {
        let v1::LeaveRequest { groups, request_id, dry_run, removal } = request.into_inner();
        let groups = groups.into_iter().map(GroupId).collect();
        let change = if removal { Change::Remove(groups) } else { Change::Leave(groups) };
        self.change(&request_id, &change, dry_run).await
    }

    async fn r#move(
        &self,
        request: Request<v1::MoveRequest>,
    ) -> Result<Response<v1::ChangeResponse>, Status> {
        let v1::MoveRequest { shard, group, request_id, dry_run } = request.into_inner();
        self.change(&request_id, &Change::Move(ShardId(shard), GroupId(group)), dry_run).await
    }

    async fn unpin(
        &self,
        request: Request<v1::UnpinRequest>,
    ) -> Result<Response<v1::ChangeResponse>, Status> {
        let v1::UnpinRequest { shard, request_id, dry_run } = request.into_inner();
        self.change(&request_id, &Change::Unpin(ShardId(shard)), dry_run).await
    }

    async fn rebalance(
        &self,
        request: Request<v1::RebalanceRequest>,
    ) -> Result<Response<v1::ChangeResponse>, Status> {
        let v1::RebalanceRequest { request_id, dry_run } = request.into_inner();
        self.change(&request_id, &Change::Rebalance, dry_run).await
    }
}

/// Returns the client addresses of a group's members, that of the leader first where it is known.
fn leader_first(published: &Published, group: GroupId) -> Vec<String> {
    let leader = published.leaders.get(&group).map(|leader| leader.id);
    let members = published.map.groups.get(&group).map_or(&[][..], |group| &group.replicas);
    let (first, rest): (Vec<_>, Vec<_>) = members.iter().partition(|member| Some(member.id) == leader);
    first.into_iter().chain(rest).map(|member| member.client_address.clone()).collect()
}

/// A client that follows the map.
struct Watch {
    maps: watch::Receiver<Option<Arc<Published>>>,
    stopping: watch::Receiver<bool>,
    /// The map revision that the client has, until the first map.
    skip: Option<u64>,
    /// The time before which it gets no other map.
    rests_until: Instant,
    open: Open,
}

impl Watch {
    /// Returns the next map that the client doesn't have; `None` when the manager stops. A client that is
    /// slow gets only the newest.
    async fn next(&mut self) -> Option<v1::ShardMap> {
        loop {
            let (rested, maps) = (sleep_until(self.rests_until), &mut self.maps);
            let changed = async {
                rested.await;
                maps.changed().await
            };
            tokio::select! {
                changed = changed => changed.ok()?,
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
            }
            let published = self.maps.borrow_and_update().clone();
            // Another map revision rather than a higher one: after the record was lost the
            // client may know a map revision that the rebuilt map hasn't reached.
            if let Some(published) = published
                && self.skip.take() != Some(published.map.revision.0)
            {
                let map = published.wire_map();
                self.rests_until = Instant::now() + pause(self.open.all(), map.encoded_len());
                return Some(map.clone());
            }
        }
    }
}

/// Counts a watch for as long as it is open.
struct Open {
    manager: Manager,
    watches: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Open {
    /// Returns the number of all open watches.
    fn all(&self) -> usize {
        MOST_WATCHES - self.watches.available_permits()
    }

    fn count(&self) {
        self.manager.metrics().watches(self.all());
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.count();
    }
}

/// Returns the time for which a watch that got a map of this size gets no other.
fn pause(watches: usize, map_bytes: usize) -> Duration {
    let (shortest, longest) = PAUSES;
    let seconds = watches as f64 * map_bytes as f64 / MAP_BYTES_PER_SECOND;
    let pause = Duration::from_secs_f64(seconds).min(longest);
    if pause < shortest { Duration::ZERO } else { pause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_spread_out_only_where_they_are_many_and_large() {
        let millis = |watches, bytes| pause(watches, bytes).as_millis();
        assert_eq!(millis(10, 4 << 10), 0, "a usual store");
        assert_eq!(millis(100, 4 << 10), 12);
        assert_eq!(millis(10, 256 << 10), 78, "65,536 shards");
        assert_eq!(millis(2000, 128 << 10), 7812);
        assert_eq!(millis(4096, 1 << 20), 10_000, "clients aren't left alone for longer");
    }
}
