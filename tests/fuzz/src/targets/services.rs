//! Calls of every method on every port, with the right identities or with any, and bytes that are no calls.
//!
//! Who speaks as a replica of the groups is believed, and can take the leadership and the shards from them:
//! then no more is asked of the servers than that they run on, and answer. Without such calls the groups go
//! on serving, whatever comes.

use anyhow::Context as _;
use futures::future::join_all;
use skv_proto::v1;
use skv_raft::header::VERSIONS;
use tokio::runtime::Builder;

use super::leaders;
use super::pages;
use super::ports::{Inputs, Sent, methods};
use super::world::{STRANGER, World};
use crate::draw::Draw;
use crate::memory;
use crate::message::Messages;
use crate::panics;
use crate::trial::Trial;

/// The methods by which a replica of a group would speak: it is believed.
const OF_REPLICAS: [&str; 3] = ["v1.Raft/", "/RegisterReplica", "Handoff/TakeStep"];
/// The batches of one round.
const BATCHES: usize = 20;
/// The calls that are made beside each other.
const BATCH: usize = 8;
/// The batches between two valid requests.
const CHECK_EVERY: usize = 5;
/// The memory that the servers may take meanwhile for themselves, such as the next segment of a log.
const OWN_BYTES: usize = 64 << 20;

pub(super) fn round(draw: &mut Draw, trial: &mut Trial) -> anyhow::Result<()> {
    play(draw, trial, Some(&OF_REPLICAS))
}

/// Plays a round in which somebody speaks as a replica of the groups.
pub(super) fn round_of_peers(draw: &mut Draw, trial: &mut Trial) -> anyhow::Result<()> {
    play(draw, trial, None)
}

/// Plays a round. The servers must go on serving, if some methods are left out; else they must go on
/// answering, whatever a replica of their groups says.
fn play(draw: &mut Draw, trial: &mut Trial, without: Option<&[&str]>) -> anyhow::Result<()> {
    run(async {
        let mut world = World::start().await?;
        let messages = known(draw, &world).await?;
        let inputs = Inputs {
            methods: methods(&messages, without.unwrap_or_default()),
            prepared: if without.is_none() { leaders::snapshots(draw, &world).await? } else { Vec::new() },
            messages,
        };
        for number in 1..=BATCHES {
            let all: anyhow::Result<Vec<Sent>> = (0..BATCH).map(|_| inputs.draw(draw, &world)).collect();
            batch(trial, &all?, &mut world).await?;
            if number % CHECK_EVERY == 0 {
                let serves = without.is_some();
                let checked = if serves { world.check_serves().await } else { world.check_answers().await };
                checked.and(world.check_runs())?;
            }
        }
        Ok(())
    })
}

/// Plays a round of requests for pages: they are shown on, and the groups serve.
pub(super) fn round_of_pages(draw: &mut Draw, trial: &mut Trial) -> anyhow::Result<()> {
    run(async {
        let mut world = World::start().await?;
        let addresses = world.pages();
        for _ in 0..BATCHES {
            let mut all = Vec::new();
            for _ in 0..BATCH {
                let address = draw.pick(&addresses).context("there are pages")?.clone();
                all.push(Sent::Connection { address, bytes: pages::requests(draw) });
            }
            batch(trial, &all, &mut world).await?;
            world.check_pages().await?;
        }
        world.check_serves().await
    })
}

/// Runs a round. A panic that nobody saw is a finding too.
fn run(round: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(round)?;
    panics::take().map_or(Ok(()), |panic| Err(anyhow::Error::msg(panic)))
}

/// Sends some things beside each other.
async fn batch(trial: &mut Trial, all: &[Sent], world: &mut World) -> anyhow::Result<()> {
    let (answers, taken) = memory::measured_while(join_all(all.iter().map(Sent::send))).await;
    trial.inputs += answers.len() as u64;
    trial.refused += answers.iter().filter(|answered| !**answered).count() as u64;
    let allowed = OWN_BYTES + memory::allowed(all.iter().map(Sent::length).sum());
    let problem = if let Some(panic) = panics::take() {
        panic
    } else if taken > allowed {
        format!("the calls took {taken} bytes of memory; {allowed} are allowed")
    } else if let Err(error) = world.check_runs() {
        format!("{error:#}")
    } else {
        return Ok(());
    };
    let all: Vec<String> = all.iter().map(Sent::shown).collect();
    anyhow::bail!("{problem}\none of these: {}", all.join("\n"))
}

/// Returns messages with the identities of the servers, and teaches their numbers.
async fn known(draw: &mut Draw, world: &World) -> anyhow::Result<Messages> {
    let mut messages = Messages::new()?;
    let map = world.map().await?;
    draw.numbers.extend([map.cluster_id, map.revision, STRANGER]);
    draw.words.extend(["key1", "kv-g0-0", "127.0.0.1:1", "request"].map(str::to_owned));
    for group in [0, 1] {
        let status = world.status(group as usize).await?;
        draw.numbers.extend([status.group_uid, status.replica, status.term]);
        let (cluster_id, group_uid, versions) = (map.cluster_id, status.group_uid, Some(VERSIONS));
        let header = v1::GroupHeader {
            cluster_id,
            group,
            group_uid,
            versions,
            feature_level: 1,
            sender_incarnation: Some(0),
        };
        messages.know("shardedkv.v1.GroupHeader", &header)?;
        let header = v1::PeerHeader {
            cluster_id,
            group,
            group_uid,
            incarnation: 0,
            from: STRANGER,
            to: status.replica,
            versions,
            feature_level: 1,
        };
        messages.know("shardedkv.v1.PeerHeader", &header)?;
        for (term, committed) in [(status.term, true), (status.term + 1, false), (status.term + 1, true)] {
            let vote = v1::RaftVote { term, replica: STRANGER, committed };
            messages.know("shardedkv.v1.RaftVote", &vote)?;
        }
        for id in status.last_log.iter().chain(&status.applied) {
            messages.know("shardedkv.v1.LogId", id)?;
        }
    }
    for group in &map.groups {
        for replica in &group.replicas {
            messages.know("shardedkv.v1.Replica", replica)?;
        }
        let report = v1::GroupReport {
            group_uid: group.uid,
            incarnation: group.incarnation,
            members: group.replicas.clone(),
            shards: map.shards,
            hash: map.hash,
            confirmed: true,
            term: group.leader_term,
            leader: group.leader,
            ..v1::GroupReport::default()
        };
        messages.know("shardedkv.v1.GroupReport", &report)?;
    }
    let session = v1::SessionId { opened_at: map.revision, random: STRANGER };
    messages.know("shardedkv.v1.SessionId", &session)?;
    messages
        .know("shardedkv.v1.RequestId", &v1::RequestId { session: Some(session), seq: 1, acked_below: 1 })?;
    Ok(messages)
}
