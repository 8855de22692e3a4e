//! Groups that join and leave and shards that move while faults strike; and rest in the end.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use skv_process::{Cluster, Holdings};
use skv_proto::v1::shard_manager_client::ShardManagerClient;
use skv_proto::v1::shard_status::State;
use skv_proto::v1::{JoinRequest, LeaveRequest, MoveRequest, UnpinRequest};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;

use crate::report::Notes;

/// The time limit of a call.
const CALL: Duration = Duration::from_secs(5);
/// The longest pause between two changes.
const PAUSE_MS: u64 = 3000;
/// The time limit until every shard is where it belongs, far more than is needed.
const REST: Duration = Duration::from_mins(4);

/// Makes changes until it is aborted.
pub(crate) async fn run(manager: String, seed: u64, (groups, shards): (u32, u32), notes: Notes) {
    let mut rng = StdRng::seed_from_u64(seed);
    loop {
        sleep(Duration::from_millis(rng.random_range(200..PAUSE_MS))).await;
        let (group, shard) = (rng.random_range(0..groups), rng.random_range(0..shards));
        let (kind, request_id) = (rng.random_range(0..6), format!("{:016x}", rng.random::<u64>()));
        // A change that is refused, or not answered, is dropped: another one comes.
        let made = timeout(CALL, change(&manager, kind, (group, shard), request_id)).await;
        if let Ok(Ok(what)) = made {
            eprintln!("{what}");
            notes.lock().changes += 1;
        }
    }
}

async fn change(
    manager: &str,
    kind: u32,
    (group, shard): (u32, u32),
    request_id: String,
) -> anyhow::Result<String> {
    let mut manager = connect(manager).await?;
    let groups = vec![group];
    Ok(match kind {
        0..2 => {
            manager.join(JoinRequest { groups, request_id, dry_run: false }).await?;
            format!("g{group} joins")
        }
        2 => {
            manager.leave(LeaveRequest { groups, request_id, dry_run: false, removal: false }).await?;
            format!("g{group} leaves")
        }
        3..5 => {
            manager.r#move(MoveRequest { shard, group, request_id, dry_run: false }).await?;
            format!("shard {shard} moves to g{group}")
        }
        _ => {
            manager.unpin(UnpinRequest { shard, request_id, dry_run: false }).await?;
            format!("shard {shard} is unpinned")
        }
    })
}

async fn connect(manager: &str) -> anyhow::Result<ShardManagerClient<Channel>> {
    Ok(ShardManagerClient::connect(format!("http://{manager}")).await?)
}

/// Has all groups share the shards, and waits until each has its own and nothing else.
pub(crate) async fn come_to_rest(cluster: &Cluster, groups: u32, shards: u32) -> anyhow::Result<()> {
    let end = Instant::now() + REST;
    loop {
        let state = timeout(CALL * 3, share_evenly(cluster, groups, shards)).await;
        match state.context("no answer").flatten() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > end => bail!("the shards didn't come to rest: {error:#}"),
            Err(_) => sleep(Duration::from_millis(500)).await,
        }
    }
}

async fn share_evenly(cluster: &Cluster, groups: u32, shards: u32) -> anyhow::Result<()> {
    let mut manager = connect(&cluster.manager_address).await?;
    let all = JoinRequest { groups: (0..groups).collect(), ..JoinRequest::default() };
    let moves = manager.join(all).await?.into_inner().moves;
    ensure!(moves.is_empty(), "{} shards are on their way", moves.len());
    for shard in 0..shards {
        manager.unpin(UnpinRequest { shard, ..UnpinRequest::default() }).await?;
    }
    let map = cluster.shard_map().await.context("there is no map")?;
    ensure!(map.moving == 0, "{} shards may still go", map.moving);
    let mut total = 0;
    for group in 0..groups {
        let held = cluster.group_holdings(group).await.with_context(|| format!("g{group} has no leader"))?;
        total += held.count(State::Served);
        check(group, &held, shards / groups)?;
    }
    ensure!(total == shards as usize, "{total} of {shards} shards are served");
    Ok(())
}

fn check(group: u32, held: &Holdings, fair: u32) -> anyhow::Result<()> {
    for state in [State::Queued, State::Copying, State::Frozen, State::Arriving] {
        let count = held.count(state);
        ensure!(count == 0, "{count} shards of g{group} are {state:?}");
    }
    let served = held.count(State::Served);
    ensure!(served.abs_diff(fair as usize) <= 1, "g{group} has {served} shards, not {fair}");
    Ok(())
}
