//! A person who has groups join and leave and pins shards, at any moment; and the judgement of the
//! result.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use skv_net::Dial;
use skv_proto::v1;
use skv_proto::v1::shard_manager_client::ShardManagerClient;
use skv_proto::v1::shard_status::State;

use crate::layout::{SHARDS, managers};
use crate::net;
use crate::operator::{admin, random_below, statuses};

/// The time limit of a call.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between two changes: most moves of one are still under way when the next is made.
pub(crate) const PAUSE: Duration = Duration::from_millis(500);

/// Signals to those that make changes: to stop, and the result.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes {
    enough: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Changes {
    /// Ends the changes: everything is to come to rest.
    pub(crate) fn enough(&self) {
        self.enough.store(true, Ordering::Relaxed);
    }

    /// Returns true if all changes are to stop.
    pub(crate) fn are_enough(&self) -> bool {
        self.enough.load(Ordering::Relaxed)
    }

    /// Returns true if everything has come to rest, and is as it should be.
    pub(crate) fn are_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// Makes changes until that is enough, if there is more than one group; then waits for rest.
pub(crate) async fn run(groups: usize, changes: Changes) -> turmoil::Result {
    let dial = skv_net::dial(net::connector());
    let mut made = 0;
    while !changes.are_enough() {
        tokio::time::sleep(PAUSE + Duration::from_millis(random_below(1500))).await;
        if groups > 1 {
            made += u32::from(change(&dial, groups, made).await);
        }
    }
    eprintln!("{:?}: {made} changes were made", turmoil::elapsed());
    come_to_rest(&dial, groups, &changes).await;
    Ok(())
}

/// Has all groups share the shards, waits until all moves are over and checks the groups' shards.
pub(crate) async fn come_to_rest(dial: &Dial, groups: usize, changes: &Changes) {
    let all = v1::JoinRequest { groups: (0..groups as u32).collect(), ..Default::default() };
    let mut problem = String::new();
    loop {
        tokio::time::sleep(PAUSE).await;
        match judge(dial, groups, &all).await {
            Ok(()) => break,
            Err(error) if error.to_string() != problem => {
                problem = error.to_string();
                eprintln!("{:?}: not at rest: {problem}", turmoil::elapsed());
            }
            Err(_) => {}
        }
    }
    eprintln!("{:?}: all has come to rest", turmoil::elapsed());
    changes.over.store(true, Ordering::Relaxed);
}

/// Asks any manager for a change; returns true if it was made. A request without an answer is
/// repeated under the same id.
async fn change(dial: &Dial, groups: usize, number: u32) -> bool {
    let group = random_below(groups as u64) as u32;
    let (groups, request_id) = (vec![group], format!("change-{number}-{}", random_below(1 << 40)));
    let (kind, shard) = (random_below(6), random_below(SHARDS.into()) as u32);
    for attempt in 0..3 {
        let Some(mut manager) = manager(dial, attempt) else { continue };
        let (groups, request_id) = (groups.clone(), request_id.clone());
        let answer = async {
            match kind {
                0..2 => manager.join(v1::JoinRequest { groups, request_id, dry_run: false }).await,
                2 => {
                    manager
                        .leave(v1::LeaveRequest { groups, request_id, dry_run: false, removal: false })
                        .await
                }
                3..5 => manager.r#move(v1::MoveRequest { shard, group, request_id, dry_run: false }).await,
                _ => manager.unpin(v1::UnpinRequest { shard, request_id, dry_run: false }).await,
            }
        };
        let what = ["join", "join", "leave", "move", "move", "unpin"][kind as usize];
        let at = turmoil::elapsed();
        match tokio::time::timeout(TIMEOUT, answer).await {
            Ok(Ok(answer)) => {
                let v1::ChangeResponse { configuration, moves, .. } = answer.into_inner();
                eprintln!(
                    "{at:?}: {what} g{group} {shard}: configuration {configuration}, {} moves",
                    moves.len()
                );
                return true;
            }
            Ok(Err(status)) => eprintln!("{at:?}: {what} g{group} {shard}: {}", status.message()),
            Err(_) => eprintln!("{at:?}: {what} g{group} {shard}: no answer"),
        }
    }
    false
}

/// Checks that everything is at rest and as it should be.
async fn judge(dial: &Dial, groups: usize, all: &v1::JoinRequest) -> anyhow::Result<()> {
    let mut manager = manager(dial, 0).context("no manager")?;
    let joined = tokio::time::timeout(TIMEOUT, manager.join(all.clone())).await??.into_inner();
    ensure!(joined.moves.is_empty(), "{} shards are on their way", joined.moves.len());
    for shard in 0..SHARDS {
        tokio::time::timeout(TIMEOUT, manager.unpin(v1::UnpinRequest { shard, ..Default::default() }))
            .await??;
    }
    let newest =
        tokio::time::timeout(TIMEOUT, manager.query(v1::QueryRequest::default())).await??.into_inner();
    let map =
        tokio::time::timeout(TIMEOUT, manager.get_shard_map(v1::GetShardMapRequest {})).await??.into_inner();
    let owners = |ranges: &[v1::ShardRange]| -> Vec<u32> {
        ranges.iter().flat_map(|range| std::iter::repeat_n(range.group, range.count as usize)).collect()
    };
    ensure!(owners(&map.ranges) == owners(&newest.ranges), "the map isn't what it is to become");
    ensure!(map.moving == 0, "{} shards may still go", map.moving);
    let mut counts = vec![0; groups];
    for group in owners(&map.ranges) {
        counts[group as usize] += 1;
    }
    let (most, least) = (counts.iter().max().copied(), counts.iter().min().copied());
    ensure!(most.unwrap_or(0) - least.unwrap_or(0) <= 1, "the shards aren't even: {counts:?}");

    // The groups' own reports must have each shard in one place, and no part of it anywhere else.
    let mut places: BTreeMap<u32, u32> = BTreeMap::new();
    for group in 0..groups {
        for shard in shards_of(dial, group).await? {
            ensure!(
                shard.state() == State::Served,
                "shard {} in g{group} is {:?}",
                shard.shard,
                shard.state()
            );
            if let Some(other) = places.insert(shard.shard, group as u32) {
                bail!("both g{other} and g{group} have shard {}", shard.shard);
            }
        }
    }
    let places: Vec<u32> = places.into_values().collect();
    ensure!(places == owners(&map.ranges), "the groups have other shards than the map says: {places:?}");
    Ok(())
}

/// Returns the shards that a group's leader reports.
pub(crate) async fn shards_of(dial: &Dial, group: usize) -> anyhow::Result<Vec<v1::ShardStatus>> {
    for (server, replica) in statuses(dial, group).await {
        if replica.leads_a_quorum() {
            let mut admin = admin(dial, server).context("no server")?;
            let asked = v1::ShardsRequest { group: group as u32 };
            return Ok(tokio::time::timeout(TIMEOUT, admin.shards(asked)).await??.into_inner().shards);
        }
    }
    bail!("g{group} has no leader")
}

pub(crate) fn manager(dial: &Dial, attempt: usize) -> Option<ShardManagerClient<tonic::transport::Channel>> {
    let managers = managers();
    let index = (attempt + random_below(managers.len() as u64) as usize) % managers.len();
    dial(&managers[index]).ok().map(ShardManagerClient::new)
}
