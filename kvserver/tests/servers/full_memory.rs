//! Servers without room in memory: what makes the data grow is refused before it is proposed, and all
//! else goes on.

use std::time::Duration;

use futures::future::join_all;
use skv_client::{Clerk, Error};
use skv_proto::Error as Reason;
use skv_proto::v1;
use skv_proto::v1::kv_client::KvClient;
use tonic::Status;

use crate::cluster::{Cluster, until};

const VALUE: usize = 64 << 10;
const SHORT: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_mins(1);
/// A quarter of such a limit is for data.
const LIMIT: u64 = 24 << 20;
/// More than that quarter.
const PUTS: u32 = 150;

/// A cluster whose servers may use this much memory.
async fn limited(limits: [Option<u64>; 3]) -> Cluster {
    let mut cluster = Cluster::start().await;
    limit(&mut cluster, limits).await;
    cluster
}

/// Starts the servers again with these limits.
async fn limit(cluster: &mut Cluster, limits: [Option<u64>; 3]) {
    for (index, bytes) in limits.into_iter().enumerate() {
        cluster.servers[index].limit_memory(bytes).await;
        cluster.await_status(index, "is ready", |status| status.ready).await;
    }
}

/// Returns true if a call was refused for want of memory.
fn is_memory_full<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Refused(Reason::MemoryFull(_))))
}

async fn put(clerk: &Clerk, key: u32, length: usize) -> Result<(), Error> {
    clerk.put(format!("k{key}"), vec![b'v'; length]).await.map(drop)
}

/// Puts keys until one is refused for want of memory, and returns their number.
async fn fill(clerk: &Clerk) -> u32 {
    for key in 0..500 {
        match put(clerk, key, VALUE).await {
            Ok(()) => {}
            refused if is_memory_full(&refused) => return key,
            other => panic!("put {key}: {other:?}"),
        }
    }
    panic!("nothing is ever refused");
}

/// Puts values together that take more than the followers do, and checks that none is taken.
async fn assert_large_are_refused(cluster: &Cluster) {
    let clerk = cluster.clerk(6 * SHORT);
    let large = join_all((0..4).map(|key| put(&clerk, PUTS + key, 1 << 20))).await;
    // One that the clerk hasn't sent before its deadline was refused by nobody.
    assert!(large.iter().all(Result::is_err) && large.iter().any(is_memory_full), "{large:?}");
}

async fn assert_all_there(clerk: &Clerk, keys: std::ops::Range<u32>) {
    for key in keys {
        assert_eq!(clerk.get(format!("k{key}")).await.unwrap().value.len(), VALUE, "k{key}");
    }
}

/// Has a server lead.
async fn lead(cluster: &Cluster, index: usize) {
    let leader = cluster.leader().await;
    if leader != index {
        let to = cluster.status(index).await.unwrap().replica;
        cluster.transfer_leader(leader, to).await;
    }
    assert_eq!(cluster.leader().await, index);
}

async fn term(cluster: &Cluster) -> (usize, u64) {
    let leader = cluster.leader().await;
    (leader, cluster.status(leader).await.unwrap().term)
}

#[tokio::test(flavor = "multi_thread")]
async fn full_memory_refuses_growth_and_nothing_else_and_recovers_by_itself() {
    let cluster = limited([Some(LIMIT); 3]).await;
    let (hasty, patient) = (cluster.clerk(SHORT), cluster.clerk(LONG));
    let led = term(&cluster).await;
    let count = fill(&hasty).await;
    assert!((50..100).contains(&count), "{count} values of 64 KiB are in a quarter of 24 MiB");
    assert_all_there(&patient, 0..count).await;
    assert!(!patient.get(format!("k{count}")).await.unwrap().found, "a refused put isn't there");
    for index in 0..3 {
        cluster.await_status(index, "has no room", |status| status.memory_full).await;
        assert!(cluster.memory_used(index).await < LIMIT / 3, "{}", cluster.memory_used(index).await);
    }

    assert!(is_memory_full(&hasty.append("k0", "more").await));
    assert!(is_memory_full(&put(&hasty, 0, VALUE + 1).await));
    put(&hasty, 0, VALUE).await.unwrap();
    put(&hasty, 0, VALUE - 1).await.unwrap();
    // Someone whom the shard doesn't know yet may free something, and nothing else.
    assert!(is_memory_full(&put(&cluster.clerk(SHORT), 1, VALUE).await));
    for key in 0..count / 4 {
        assert!(cluster.clerk(LONG).delete(format!("k{key}")).await.unwrap().found);
    }
    put(&patient, count, VALUE).await.unwrap();
    assert_all_there(&patient, count / 4..count + 1).await;
    assert_eq!(term(&cluster).await, led, "nobody else leads");
    assert!((0..3).all(|index| !cluster.has_ended(index)));
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_no_follower_could_take_are_refused_and_the_way_out_stays_open() {
    let cluster = limited([Some(LIMIT); 3]).await;
    let (patient, leader) = (cluster.clerk(LONG), cluster.leader().await);
    let mut count = 0;
    while cluster.memory_used(leader).await + 2 * (VALUE as u64) < LIMIT / 4 {
        put(&patient, count, VALUE).await.unwrap();
        count += 1;
    }
    // The distance between the edges is a sixth of a quarter of the limit: 1 MiB.
    assert_large_are_refused(&cluster).await;
    assert!(patient.delete("k0").await.unwrap().found, "nothing stands before it that is never committed");
    put(&patient, 0, VALUE).await.unwrap();
    for index in 0..3 {
        caught_up(&cluster, index).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_grows_no_further_than_a_majority_takes() {
    // The leader has no limit, and the edges of the others are 1 MiB apart.
    let cluster = limited([Some(LIMIT), Some(LIMIT), None]).await;
    let patient = cluster.clerk(LONG);
    lead(&cluster, 2).await;
    let mut count = 0;
    while cluster.memory_used(2).await + 2 * (VALUE as u64) < LIMIT / 4 {
        put(&patient, count, VALUE).await.unwrap();
        count += 1;
    }
    assert_large_are_refused(&cluster).await;
    assert!(patient.delete("k0").await.unwrap().found, "nothing stands before it that is never committed");
    caught_up(&cluster, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_batch_each_command_is_judged_for_itself() {
    let cluster = limited([Some(LIMIT); 3]).await;
    let hasty = cluster.clerk(SHORT);
    let count = fill(&hasty).await;
    // A clerk sends what is asked of it at once in one frame.
    let (grows, same, gone) =
        tokio::join!(put(&hasty, count, VALUE), put(&hasty, 0, VALUE), hasty.delete("k1"));
    assert!(is_memory_full(&grows), "{grows:?}");
    same.unwrap();
    assert!(gone.unwrap().found);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_grows_while_a_majority_has_room_and_only_then() {
    let mut cluster = limited([Some(LIMIT), Some(LIMIT), None]).await;
    let (hasty, patient) = (cluster.clerk(SHORT), cluster.clerk(LONG));
    lead(&cluster, 2).await;
    let count = fill(&hasty).await;
    assert!(cluster.status(2).await.unwrap().memory_full, "its group has no room");
    assert_all_there(&patient, 0..count).await;
    patient.delete("k0").await.unwrap();

    cluster.servers[0].limit_memory(None).await;
    for key in 0..PUTS {
        put(&patient, key, VALUE).await.unwrap();
    }
    assert_all_there(&patient, 0..PUTS).await;
    cluster.await_status(2, "has room", |status| !status.memory_full).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_without_room_protects_itself_and_catches_up_when_it_has_more() {
    let mut cluster = limited([None; 3]).await;
    let leader = cluster.leader().await;
    let small = (leader + 1) % 3;
    cluster.servers[small].limit_memory(Some(LIMIT)).await;
    cluster.await_status(small, "is ready", |status| status.ready).await;
    let clerk = cluster.clerk(LONG);
    for key in 0..2 * PUTS {
        put(&clerk, key, VALUE).await.unwrap();
    }
    cluster.await_status(small, "has no room", |status| status.memory_full).await;
    assert!(cluster.memory_used(small).await < LIMIT / 3, "{}", cluster.memory_used(small).await);
    // Neither is it killed by the snapshot that it is sent instead of the log.
    let snapshot = v1::SnapshotRequest { group: 0 };
    cluster.admin(cluster.leader().await).await.unwrap().snapshot(snapshot).await.unwrap();
    for key in 0..PUTS {
        put(&clerk, key, VALUE).await.unwrap();
    }
    assert!(cluster.memory_used(small).await < LIMIT / 3);
    assert!(!cluster.has_ended(small));

    cluster.servers[small].limit_memory(None).await;
    caught_up(&cluster, small).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_without_room_catches_up_when_the_data_has_become_less() {
    let mut cluster = limited([None; 3]).await;
    let leader = cluster.leader().await;
    let small = (leader + 1) % 3;
    cluster.servers[small].limit_memory(Some(LIMIT)).await;
    let clerk = cluster.clerk(LONG);
    for key in 0..2 * PUTS {
        put(&clerk, key, VALUE).await.unwrap();
    }
    cluster.await_status(small, "has no room", |status| status.memory_full).await;
    for key in 0..2 * PUTS {
        clerk.delete(format!("k{key}")).await.unwrap();
    }
    // What it refused stands before the deletes in the log; a snapshot has neither.
    let snapshot = v1::SnapshotRequest { group: 0 };
    cluster.admin(cluster.leader().await).await.unwrap().snapshot(snapshot).await.unwrap();
    put(&clerk, 0, VALUE).await.unwrap();
    caught_up(&cluster, small).await;
    cluster.await_status(small, "has room again", |status| !status.memory_full).await;
}

async fn caught_up(cluster: &Cluster, index: usize) {
    until("it has caught up", || async {
        let leader = cluster.leader().await;
        let (Some(leader), Some(own)) = (cluster.status(leader).await, cluster.status(index).await) else {
            return false;
        };
        own.applied.is_some() && own.applied == leader.applied
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_alone_without_room_makes_way_once() {
    let mut cluster = limited([None; 3]).await;
    let small = cluster.leader().await;
    cluster.servers[small].limit_memory(Some(LIMIT)).await;
    cluster.await_status(small, "is ready", |status| status.ready).await;
    let leader = cluster.leader().await;
    if leader != small {
        let to = cluster.status(small).await.unwrap().replica;
        cluster.transfer_leader(leader, to).await;
    }
    let clerk = cluster.clerk(LONG);
    for key in 0..PUTS {
        put(&clerk, key, VALUE).await.unwrap();
    }
    let led = term(&cluster).await;
    assert_ne!(led.0, small);
    for key in 0..PUTS {
        put(&clerk, key, VALUE).await.unwrap();
    }
    assert_eq!(term(&cluster).await, led, "the leadership stays where there is room");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_below_the_data_lets_servers_start_serve_and_shrink() {
    let mut cluster = limited([None; 3]).await;
    let (hasty, patient) = (cluster.clerk(SHORT), cluster.clerk(LONG));
    for key in 0..PUTS {
        put(&patient, key, VALUE).await.unwrap();
    }
    limit(&mut cluster, [Some(LIMIT); 3]).await;
    assert_all_there(&patient, 0..PUTS).await;
    assert!(is_memory_full(&put(&hasty, PUTS, 1).await));
    for key in 0..PUTS {
        patient.delete(format!("k{key}")).await.unwrap();
    }
    put(&patient, PUTS, VALUE).await.unwrap();
    for index in 0..3 {
        cluster.await_status(index, "has room", |status| !status.memory_full).await;
        assert!(!cluster.has_ended(index));
    }
}

/// Puts a value of one length by a session whose requests are all open still.
async fn put_open(cluster: &Cluster, seq: u64) -> Result<(), Status> {
    let session = Some(v1::SessionId { opened_at: 1, random: 1 });
    let id = Some(v1::RequestId { session, seq, acked_below: 1 });
    let put = v1::PutRequest { key: "small".into(), value: "12345".into(), id, ..Default::default() };
    let kv = KvClient::connect(cluster.client_url(cluster.leader().await)).await;
    kv.unwrap().put(put).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_with_many_open_requests_overwrites_beyond_all_edges() {
    let mut cluster = limited([None; 3]).await;
    let clerk = cluster.clerk(LONG);
    for key in 0..PUTS {
        put(&clerk, key, VALUE).await.unwrap();
    }
    put_open(&cluster, 1).await.unwrap();
    limit(&mut cluster, [Some(LIMIT); 3]).await;
    // Each of them is remembered, and none is forgotten for it.
    for seq in 2..50 {
        put_open(&cluster, seq).await.unwrap();
    }
    assert!(is_memory_full(&put(&cluster.clerk(SHORT), PUTS, 1).await));
    for index in 0..3 {
        caught_up(&cluster, index).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_without_room_takes_no_shard_and_the_source_goes_on() {
    let mut cluster = Cluster::start().await;
    let clerk = cluster.clerk(LONG);
    for key in 0..PUTS {
        put(&clerk, key, VALUE).await.unwrap();
    }
    cluster.start_group().await;
    until("the group is founded", || async { groups(&cluster).await == 2 }).await;
    for index in 3..6 {
        cluster.servers[index].limit_memory(Some(1 << 20)).await;
        cluster.await_status(index, "is ready", |status| status.ready).await;
    }
    let join = v1::JoinRequest { groups: vec![1], ..Default::default() };
    cluster.manager().await.join(join).await.unwrap();
    // Each shard has about 1.2 MiB, and such servers have 256 KiB for data.
    cluster.await_status(0, "has shards that wait", |status| status.shards_queued > 0).await;
    for key in 0..PUTS {
        put(&clerk, key, VALUE).await.unwrap();
    }
    assert_all_there(&clerk, 0..PUTS).await;
    let target = cluster.leader_of(1).await;
    assert_eq!(cluster.status(target).await.unwrap().shards_owned, 0);

    for index in 3..6 {
        cluster.servers[index].limit_memory(None).await;
    }
    cluster.await_status(0, "has given its half away", |status| status.shards_owned == 4).await;
    assert_all_there(&clerk, 0..PUTS).await;
}

async fn groups(cluster: &Cluster) -> usize {
    let map = cluster.manager().await.get_shard_map(v1::GetShardMapRequest {}).await;
    map.unwrap().into_inner().groups.len()
}
