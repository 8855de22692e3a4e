//! Shards move between groups while clerks work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use skv_proto::v1::handoff_client::HandoffClient;
use skv_proto::v1::kv_client::KvClient;
use skv_proto::{Error, v1};
use skv_raft::header::VERSIONS;
use skv_sharding::Hash;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, until};

const LONG: Duration = Duration::from_mins(1);
const WORKERS: u64 = 4;
const KEYS: u64 = 12;

/// Clerks that append tokens until they are stopped.
struct Workers {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    tasks: JoinSet<u64>,
}

impl Workers {
    fn start(cluster: &Cluster) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        for worker in 0..WORKERS {
            let (clerk, stop, done) = (cluster.clerk(LONG), stop.clone(), done.clone());
            tasks.spawn(async move {
                let mut next = 0;
                while !stop.load(Ordering::Relaxed) {
                    let (key, token) = (format!("key{}", next % KEYS), format!("{worker}.{next};"));
                    clerk.append(key, token).await.expect("no call fails");
                    next += 1;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                next
            });
        }
        Workers { stop, done, tasks }
    }

    /// Waits until the clerks have done more.
    async fn more(&self) {
        let before = self.done.load(Ordering::Relaxed);
        until("the clerks go on", || async { self.done.load(Ordering::Relaxed) > before + 100 }).await;
    }

    /// Every token is there once, those of each clerk in their order.
    async fn check(self, cluster: &Cluster) {
        self.stop.store(true, Ordering::Relaxed);
        let appended: Vec<u64> = self.tasks.join_all().await;
        let (clerk, mut found) = (cluster.clerk(LONG), 0);
        for key in 0..KEYS {
            let value = clerk.get(format!("key{key}")).await.unwrap().value;
            let value = String::from_utf8(value.to_vec()).unwrap();
            let mut last: BTreeMap<u64, u64> = BTreeMap::new();
            for token in value.split_terminator(';') {
                let (worker, number) = token.split_once('.').unwrap();
                let (worker, number) = (worker.parse().unwrap(), number.parse().unwrap());
                assert!(last.insert(worker, number).is_none_or(|before| before < number), "{key}: {token}");
                found += 1;
            }
        }
        assert_eq!(found, appended.iter().sum::<u64>());
    }
}

pub(crate) async fn map(cluster: &Cluster) -> v1::ShardMap {
    cluster.manager().await.get_shard_map(v1::GetShardMapRequest {}).await.unwrap().into_inner()
}

/// Waits until this many groups exist.
pub(crate) async fn groups(cluster: &Cluster, count: usize) {
    until("the group is founded", || async { map(cluster).await.groups.len() == count }).await;
}

/// Waits until each group has this many shards.
pub(crate) async fn shards(cluster: &Cluster, expected: &[u32]) {
    until(&format!("the groups have {expected:?} shards"), || async {
        let mut counts = vec![0; expected.len()];
        map(cluster).await.ranges.iter().for_each(|range| counts[range.group as usize] += range.count);
        counts == expected
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_go_to_a_group_that_joins_and_leave_with_it_while_clerks_append() {
    let mut cluster = Cluster::start().await;
    let workers = Workers::start(&cluster);
    workers.more().await;
    cluster.start_group().await;
    groups(&cluster, 2).await;
    shards(&cluster, &[8, 0]).await;

    let join = v1::JoinRequest { groups: vec![1], request_id: "join".into(), dry_run: false };
    let joined = cluster.manager().await.join(join.clone()).await.unwrap().into_inner();
    assert_eq!(joined.configuration, 2);
    shards(&cluster, &[4, 4]).await;
    workers.more().await;
    let again = cluster.manager().await.join(join).await.unwrap().into_inner();
    assert_eq!(again.configuration, joined.configuration, "one request, one configuration");

    let leave = v1::LeaveRequest { groups: vec![0], ..Default::default() };
    cluster.manager().await.leave(leave).await.unwrap();
    shards(&cluster, &[0, 8]).await;
    workers.more().await;
    for server in 0..3 {
        cluster
            .await_status(server, "holds nothing any more", |status| {
                status.keys == 0 && status.shards_owned == 0
            })
            .await;
    }
    workers.check(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_empty_retires_and_is_made_again_on_the_same_disks() {
    let mut cluster = Cluster::start().await;
    let clerk = cluster.clerk(LONG);
    clerk.put("key", "value").await.unwrap();
    cluster.start_group().await;
    groups(&cluster, 2).await;
    let join = v1::JoinRequest { groups: vec![1], ..Default::default() };
    cluster.manager().await.join(join.clone()).await.unwrap();
    shards(&cluster, &[4, 4]).await;

    let leader = cluster.leader_of(1).await;
    let uid = cluster.status(leader).await.unwrap().group_uid;
    let retire = v1::RetireRequest { group: 1, group_uid: uid };
    let mut admin = cluster.admin(leader).await.unwrap();
    let refused = admin.retire(retire).await.unwrap_err();
    assert!(matches!(Error::from_status(&refused), Some(Error::Unavailable(_))), "{refused}");
    let other = v1::RetireRequest { group_uid: uid + 1, ..retire };
    let refused = admin.retire(other).await.unwrap_err();
    assert!(matches!(Error::from_status(&refused), Some(Error::WrongIdentity(_))), "{refused}");

    let leave = v1::LeaveRequest { groups: vec![1], ..Default::default() };
    cluster.manager().await.leave(leave).await.unwrap();
    shards(&cluster, &[8, 0]).await;
    // The record may be a moment ahead of the group.
    until("the group takes its leave", || async {
        let leader = cluster.leader_of(1).await;
        cluster.admin(leader).await.unwrap().retire(retire).await.is_ok()
    })
    .await;
    groups(&cluster, 1).await;
    for server in 3..6 {
        cluster.await_status(server, "knows that its group is no more", |status| status.retired).await;
    }

    // Each run of a server here is what another pod is on Kubernetes.
    for server in 3..6 {
        cluster.servers[server].restart().await;
    }
    groups(&cluster, 2).await;
    let founded = map(&cluster).await.groups.into_iter().find(|group| group.id == 1).unwrap();
    assert_ne!(founded.uid, uid);
    old_messages_are_refused(&cluster, uid, founded.uid).await;
    cluster.manager().await.join(join).await.unwrap();
    shards(&cluster, &[4, 4]).await;
    assert_eq!(clerk.get("key").await.unwrap().value, "value");
}

/// The header of every message for group 1.
fn to_group_1(cluster_id: u64, group_uid: u64) -> v1::GroupHeader {
    let versions = Some(VERSIONS);
    v1::GroupHeader { cluster_id, group: 1, group_uid, versions, ..v1::GroupHeader::default() }
}

/// Early requests wait for their shard, up to a bound of bytes.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_for_a_shard_are_bounded_in_bytes() {
    use v1::handoff_step::{Receive, Step};

    let mut cluster = Cluster::start().await;
    cluster.start_group().await;
    groups(&cluster, 2).await;
    let (leader, map) = (cluster.leader_of(1).await, map(&cluster).await);
    let uid = |group: usize| map.groups[group].uid;
    let receive = Receive { source: 0, source_uid: uid(0) };
    let header = to_group_1(map.cluster_id, uid(1));
    let handoff = HandoffClient::connect(cluster.peer_url(leader)).await.unwrap();
    for shard in 0..4 {
        let step = v1::HandoffStep { shard, epoch: 99, step: Some(Step::Receive(receive)) };
        let request = v1::TakeStepRequest { header: Some(header), step: Some(step), memory_bytes: 0 };
        // The record may be a moment ahead of the group.
        until("the group takes a promise", || async {
            handoff.clone().take_step(request.clone()).await.is_ok()
        })
        .await;
    }

    let kv = KvClient::connect(cluster.client_url(leader)).await.unwrap();
    let mut puts = JoinSet::new();
    let arrives = |key: &String| Hash::Fnv1.shard(key.as_bytes(), map.shards).is_ok_and(|shard| shard.0 < 4);
    for key in (0..).map(|number| format!("key{number}")).filter(arrives).take(100) {
        let mut kv = kv.clone();
        puts.spawn(async move {
            let value = vec![b'v'; 1 << 20].into();
            let put = v1::PutRequest { key: key.into(), value, ..Default::default() };
            Error::from_status(&kv.put(put).await.unwrap_err()).expect("one of ours")
        });
    }
    let (mut overloaded, mut waited) = (0, 0);
    while let Some(refusal) = puts.join_next().await {
        match refusal.unwrap() {
            Error::Overloaded(_) => overloaded += 1,
            // No shard came: they were told so in the end.
            Error::ShardMoving { .. } | Error::WrongGroup { .. } => waited += 1,
            other => panic!("{other}"),
        }
    }
    assert!(overloaded > 0 && waited > 0, "{overloaded} of 100 had no place");
}

/// Both what is left of the life before and the revived group have the shard, under the same epoch.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_was_revived_since_hands_nothing_over() {
    use v1::handoff_step::{Chunk, Receive, Step};

    let mut cluster = Cluster::start().await;
    cluster.start_group().await;
    groups(&cluster, 2).await;
    let (leader, map) = (cluster.leader_of(1).await, map(&cluster).await);
    let source = Step::Receive(Receive { source: 0, source_uid: map.groups[0].uid });
    let handoff = HandoffClient::connect(cluster.peer_url(leader)).await.unwrap();
    let take = |shard, step: &Step, sender_incarnation| {
        let header = v1::GroupHeader { sender_incarnation, ..to_group_1(map.cluster_id, map.groups[1].uid) };
        let step = Some(v1::HandoffStep { shard, epoch: 99, step: Some(step.clone()) });
        let (request, mut handoff) =
            (v1::TakeStepRequest { header: Some(header), step, memory_bytes: 0 }, handoff.clone());
        async move { handoff.take_step(request).await }
    };
    // The record may be a moment ahead of the group.
    until("the group takes a promise", || async { take(0, &source, Some(0)).await.is_ok() }).await;
    take(1, &source, Some(9)).await.unwrap();
    let chunk = Step::Chunk(Chunk::default());
    for (shard, step) in [(2, &source), (1, &source), (1, &chunk), (0, &chunk)] {
        let refused = take(shard, step, Some(0)).await.unwrap_err();
        assert!(matches!(Error::from_status(&refused), Some(Error::WrongIdentity(_))), "{refused}");
    }
    take(2, &source, Some(9)).await.unwrap();
    take(3, &source, None).await.expect("an older version doesn't say which life it is");
}

/// Checks that messages for the former group 1 are refused by the present one, and so are steps that
/// only a source does to itself.
async fn old_messages_are_refused(cluster: &Cluster, old: u64, new: u64) {
    use v1::handoff_step::{Begin, Chunk, Drop, Freeze, Install, Receive, Step};

    let leader = cluster.leader_of(1).await;
    let mut handoff = HandoffClient::connect(cluster.peer_url(leader)).await.unwrap();
    let cluster_id = map(cluster).await.cluster_id;
    let take = |group_uid, step| v1::TakeStepRequest {
        header: Some(to_group_1(cluster_id, group_uid)),
        step: Some(v1::HandoffStep { shard: 0, epoch: 99, step: Some(step) }),
        memory_bytes: 0,
    };
    let receive = Receive { source: 0, source_uid: 1 };
    for step in [Step::Receive(receive), Step::Chunk(Chunk::default()), Step::Install(Install::default())] {
        let refused = handoff.take_step(take(old, step)).await.unwrap_err();
        assert!(matches!(Error::from_status(&refused), Some(Error::WrongIdentity(_))), "{refused}");
    }
    let asked = v1::IsLeavingRequest { header: Some(to_group_1(cluster_id, old)), shard: 0, epoch: 99 };
    let refused = handoff.is_leaving(asked).await.unwrap_err();
    assert!(matches!(Error::from_status(&refused), Some(Error::WrongIdentity(_))), "{refused}");
    for step in [Step::Begin(Begin::default()), Step::Freeze(Freeze::default()), Step::Drop(Drop {})] {
        let refused = handoff.take_step(take(new, step)).await.unwrap_err();
        assert!(matches!(Error::from_status(&refused), Some(Error::InvalidArgument(_))), "{refused}");
    }
    let held = cluster.status(leader).await.unwrap();
    assert_eq!((held.shards_arriving, held.shards_owned), (0, 0));
}
