//! Shards that move between groups: the requests for it, and the state of each group.

use std::fmt::Debug;
use std::ops::RangeBounds;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use skv_client::Clerk;
use skv_proto::Error;
use skv_proto::v1::shard_manager_client::ShardManagerClient;
use skv_proto::v1::shard_status::State;
use skv_proto::v1::{ChangeResponse, JoinRequest, LeaveRequest, MoveRequest, ShardStatus, ShardsRequest};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::{Cluster, call_admin, eventually};

/// Asks the shard manager for changes; waits for it while it is away.
#[derive(Debug, Clone)]
pub struct Changes {
    manager_address: String,
}

impl Changes {
    /// Has groups share the shards.
    pub async fn join(&self, groups: &[u32]) -> ChangeResponse {
        let request = JoinRequest { groups: groups.to_vec(), request_id: request_id(), dry_run: false };
        self.ask("join", |mut manager| {
            let request = request.clone();
            async move { manager.join(request).await }
        })
        .await
    }

    /// Has groups give all their shards away.
    pub async fn leave(&self, groups: &[u32]) -> ChangeResponse {
        let request = LeaveRequest {
            groups: groups.to_vec(),
            request_id: request_id(),
            dry_run: false,
            removal: false,
        };
        self.ask("leave", |mut manager| {
            let request = request.clone();
            async move { manager.leave(request).await }
        })
        .await
    }

    /// Pins a shard to a group.
    pub async fn move_shard(&self, shard: u32, group: u32) -> ChangeResponse {
        let request = MoveRequest { shard, group, request_id: request_id(), dry_run: false };
        self.ask("move", |mut manager| {
            let request = request.clone();
            async move { manager.r#move(request).await }
        })
        .await
    }

    /// Asks under one request id until there is an answer.
    async fn ask<F: Future<Output = Result<Response<ChangeResponse>, Status>>>(
        &self,
        what: &str,
        call: impl Fn(ShardManagerClient<Channel>) -> F,
    ) -> ChangeResponse {
        eventually(&format!("the shard manager answers to {what}"), || async {
            let address = format!("http://{}", self.manager_address);
            let manager = ShardManagerClient::connect(address).await.ok()?;
            match call(manager).await {
                Ok(answer) => Some(answer.into_inner()),
                Err(status) => match Error::from_status(&status) {
                    // No typed error: the connection broke.
                    None | Some(Error::Unavailable(_)) => None,
                    Some(refusal) => panic!("{what} is refused: {refusal}"),
                },
            }
        })
        .await
    }
}

fn request_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// Writes and deletes enough keys that keeping the changes of four shards, for targets that are away,
/// costs more than copying them again, if nothing else is in them.
pub async fn outgrow_copies(clerk: &Clerk) {
    const DELETED: usize = 3200;
    const KEY_BYTES: usize = 4000;
    let key = |number| format!("{number:0>KEY_BYTES$}");
    let gone = stream::iter((0..DELETED).map(key)).map(|key| async move {
        clerk.put(key.clone(), "soon gone").await?;
        clerk.delete(key).await
    });
    gone.buffer_unordered(32).try_collect::<Vec<_>>().await.expect("the sources serve");
}

/// The state of the shards in one group, as its leader reports it.
#[derive(Debug)]
pub struct Holdings(Vec<ShardStatus>);

impl Holdings {
    /// Returns the number of shards that the group has in this state.
    pub fn count(&self, state: State) -> usize {
        self.0.iter().filter(|shard| shard.state() == state).count()
    }

    /// Returns the number of shards of each group, if each shard is owned and served by exactly
    /// one, and no other has any part of it.
    fn settled(groups: &[Holdings], shards: u32) -> Option<Vec<u32>> {
        let all = || groups.iter().flat_map(|Holdings(shards)| shards);
        let mut numbers: Vec<u32> = all().map(|shard| shard.shard).collect();
        numbers.sort_unstable();
        let is_settled =
            all().all(|shard| shard.state() == State::Served) && numbers.into_iter().eq(0..shards);
        is_settled.then(|| groups.iter().map(|Holdings(shards)| shards.len() as u32).collect())
    }
}

impl Cluster {
    /// Returns a handle for changes.
    pub fn changes(&self) -> Changes {
        Changes { manager_address: self.manager_address.clone() }
    }

    /// Waits until this number of groups exist.
    pub async fn founded(&self, groups: usize) {
        let what = format!("{groups} groups are founded");
        eventually(&what, || async { (self.shard_map().await?.groups.len() == groups).then_some(()) }).await;
    }

    /// Returns the state of the shards in a group; `None` if it has no leader.
    pub async fn group_holdings(&self, group: u32) -> Option<Holdings> {
        for server in self.servers.iter().filter(|server| server.hosts(group)) {
            let Some(replica) = server.replica_of(group).await else { continue };
            if replica.leads_a_quorum() {
                let mut admin = call_admin(&server.peer_address).await?;
                let answer = admin.shards(ShardsRequest { group }).await.ok()?;
                return Some(Holdings(answer.into_inner().shards));
            }
        }
        None
    }

    /// Waits until a group has a shard in this state.
    pub async fn some_shard_is(&self, group: u32, state: State) {
        self.shards_are(group, state, 1..).await;
    }

    /// Waits until a group has this number of shards in this state.
    pub async fn shards_are(&self, group: u32, state: State, count: impl RangeBounds<usize> + Debug) {
        eventually(&format!("{count:?} shards of g{group} are {state:?}"), || async {
            count.contains(&self.group_holdings(group).await?.count(state)).then_some(())
        })
        .await;
    }

    async fn holdings(&self) -> Option<Vec<Holdings>> {
        let last = self.servers.iter().flat_map(|server| &server.groups).copied().max()?;
        let mut groups = Vec::new();
        for group in 0..=last {
            groups.push(self.group_holdings(group).await?);
        }
        Some(groups)
    }

    /// Has a shard move to a group, and waits until the map has it there.
    pub async fn move_shard(&self, shard: u32, group: u32) {
        self.changes().move_shard(shard, group).await;
        eventually(&format!("shard {shard} is in g{group}"), || async {
            let map = self.shard_map().await?;
            let range = map.ranges.iter().find(|r| (r.first..r.first + r.count).contains(&shard))?;
            (range.group == group).then_some(())
        })
        .await;
    }

    /// Waits until the groups own these numbers of shards, sorted by size: by their own reports,
    /// and by the map. Returns the number of each group.
    pub async fn settled(&self, expected: &[u32]) -> Vec<u32> {
        eventually(&format!("the groups own {expected:?} shards, and nothing moves"), || async {
            let map = self.shard_map().await?;
            let owned = Holdings::settled(&self.holdings().await?, map.shards)?;
            let mut by_map = vec![0; owned.len()];
            map.ranges.iter().for_each(|range| by_map[range.group as usize] += range.count);
            let mut sizes = owned.clone();
            sizes.sort_unstable();
            (map.moving == 0 && by_map == owned && sizes == expected).then_some(owned)
        })
        .await
    }
}
