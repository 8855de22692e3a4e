//! Reviving a group from one server that is left: once, whoever asks, and whether or not they wait.

use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use skv_disk::Disk as _;
use skv_proto::v1::kv_client::KvClient;
use skv_proto::{Error, v1};
use tokio::time::timeout;

use crate::cluster::{Cluster, until};

const LONG: Duration = Duration::from_mins(1);
/// Long enough for a request to be on its way.
const SOON: Duration = Duration::from_millis(500);
/// More syncs than there are.
const ALL: usize = 1 << 20;

async fn reset(cluster: &Cluster, index: usize) -> Result<v1::ResetResponse, tonic::Status> {
    reset_if(cluster, index, None).await
}

async fn reset_if(
    cluster: &Cluster,
    index: usize,
    meant: Option<v1::ReplicaIdentity>,
) -> Result<v1::ResetResponse, tonic::Status> {
    let request = v1::ResetRequest { group: 0, accept_data_loss: true, meant };
    cluster.admin(index).await.unwrap().reset(request).await.map(tonic::Response::into_inner)
}

async fn await_lost_quorum(cluster: &Cluster, index: usize) {
    cluster.await_status(index, "says that its quorum is lost", |status| status.quorum_lost_ms > 0).await;
}

fn index(log_id: Option<v1::LogId>) -> u64 {
    log_id.map_or(0, |log_id| log_id.index)
}

/// Stops all servers but the leader, whose log then ends with an append that isn't committed, and
/// that has no id by which a second one could be told.
async fn lose_the_majority(cluster: &mut Cluster) -> usize {
    let survivor = cluster.leader().await;
    let (first, last) = ((survivor + 1) % 3, (survivor + 2) % 3);
    cluster.stop_and_wait(first).await;
    cluster.servers[last].disk.hold_syncs();
    let append = v1::AppendRequest {
        key: b"tail".to_vec().into(),
        args: b"x".to_vec().into(),
        ..v1::AppendRequest::default()
    };
    let mut client = KvClient::connect(cluster.client_url(survivor)).await.unwrap();
    let answer = timeout(SOON, client.append(append)).await;
    assert!(answer.is_err(), "nobody else can have acknowledged it: {answer:?}");
    let has_more = |status: &v1::ReplicaStatus| index(status.last_log) > index(status.committed);
    cluster.await_status(survivor, "has what isn't committed", has_more).await;
    cluster.stop_and_wait(last).await;
    await_lost_quorum(cluster, survivor).await;
    survivor
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_needs_nobody_who_waits_for_it_and_is_the_same_for_all_who_ask() {
    let mut cluster = Cluster::start().await;
    let clerk = cluster.clerk(LONG);
    for count in 0..3 {
        clerk.put(format!("large-{count}"), vec![b'v'; 1 << 20]).await.unwrap();
    }
    let survivor = lose_the_majority(&mut cluster).await;
    let before = cluster.status(survivor).await.unwrap();
    cluster.servers[survivor].disk.hold_syncs();
    assert!(timeout(SOON, reset(&cluster, survivor)).await.is_err(), "its writing is held up");
    // A person who looks meanwhile must not take it for one that has nothing, and revive another one.
    let meanwhile = cluster.status(survivor).await.unwrap();
    assert_eq!((meanwhile.state(), meanwhile.reset.is_some()), (v1::ReplicaState::Waiting, true));
    assert_eq!((meanwhile.group_uid, meanwhile.replica), (before.group_uid, before.replica));
    assert_eq!(meanwhile.last_log, before.last_log);
    let revived;
    {
        let again = async { tokio::join!(reset(&cluster, survivor), reset(&cluster, survivor)) };
        tokio::pin!(again);
        assert!(timeout(SOON, &mut again).await.is_err(), "they wait for the one that goes on");
        cluster.servers[survivor].disk.let_sync(ALL);
        let (one, other) = again.await;
        assert_eq!(one.as_ref().unwrap(), other.as_ref().unwrap());
        revived = one.unwrap().incarnation;
    }
    let serves_alone = |status: &v1::ReplicaStatus| status.ready && status.incarnation == revived;
    cluster.await_status(survivor, "serves alone", serves_alone).await;

    let clerk = cluster.clerk(LONG);
    clerk.put("after", "y").await.unwrap();
    cluster.servers[survivor].restart().await;
    let clerk = cluster.clerk(LONG);
    assert_eq!(clerk.get("after").await.unwrap().value, "y");
    assert_eq!(clerk.get("tail").await.unwrap().value, "x");
    for count in 0..3 {
        assert_eq!(clerk.get(format!("large-{count}")).await.unwrap().value.len(), 1 << 20);
    }
    assert_eq!(cluster.status(survivor).await.unwrap().incarnation, revived);
    assert!(revived > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_fails_leaves_the_replica_as_it_was() {
    let mut cluster = Cluster::start().await;
    let survivor = lose_the_majority(&mut cluster).await;
    let before = cluster.status(survivor).await.unwrap();
    // The old directory can't be put aside.
    let (disk, in_the_way) = (cluster.servers[survivor].disk.clone(), Path::new("/data/former"));
    disk.create(in_the_way).unwrap();
    let failed = reset(&cluster, survivor).await.unwrap_err();
    assert!(failed.message().contains("the reset failed"), "{failed}");
    let is_as_before = |status: &v1::ReplicaStatus| {
        (status.replica, status.incarnation) == (before.replica, 0) && status.quorum_lost_ms > 0
    };
    cluster.await_status(survivor, "is what it was", is_as_before).await;
    assert!(!disk.exists(Path::new("/data/g0.reborn")).unwrap(), "nothing of it comes to life later");

    disk.remove(in_the_way).unwrap();
    assert!(reset(&cluster, survivor).await.unwrap().incarnation > 0);
    cluster.await_status(survivor, "serves alone", |status| status.ready).await;
    let value = cluster.clerk(LONG).get("tail").await.unwrap().value;
    assert_eq!(value, "x", "what the log holds is applied once, however often that was tried");
}

/// The survivor missed elections, so that its group leads in lower terms than the one before.
#[tokio::test(flavor = "multi_thread")]
async fn a_revived_group_counts_though_its_terms_are_lower() {
    let mut cluster = Cluster::start().await;
    let clerk = cluster.clerk(LONG);
    clerk.put("key", "value").await.unwrap();
    let mut ids = Vec::new();
    for index in 0..3 {
        ids.push(cluster.status(index).await.unwrap().replica);
    }
    let leader = cluster.leader().await;
    let (survivor, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let has_all =
        |status: &v1::ReplicaStatus| status.keys == 1 && index(status.last_log) == index(status.applied);
    cluster.await_status(survivor, "has the key", has_all).await;
    cluster.stop_and_wait(survivor).await;
    let missed = cluster.status(leader).await.unwrap().term;
    // More elections than the survivor can hold alone before it is revived, on a slow machine too.
    for _ in 0..20 {
        for (from, to) in [(leader, other), (other, leader)] {
            cluster.transfer_leader(from, ids[to]).await;
        }
    }
    until("the manager knows the new leader", || async {
        let map = cluster.manager().await.get_shard_map(v1::GetShardMapRequest {}).await;
        map.is_ok_and(|map| map.get_ref().groups.iter().all(|group| group.leader == ids[leader]))
    })
    .await;
    let last = cluster.status(leader).await.unwrap().term;
    cluster.stop_and_wait(leader).await;
    cluster.stop_and_wait(other).await;
    cluster.servers[survivor].restart().await;
    await_lost_quorum(&cluster, survivor).await;
    reset(&cluster, survivor).await.unwrap();
    cluster.await_status(survivor, "serves alone", |status| status.ready).await;
    let revived = cluster.status(survivor).await.unwrap().term;
    assert!(missed < last && revived < last, "{missed} {revived} {last}");

    // Two of three have been a quorum once.
    cluster.servers[leader].restart().await;
    cluster.servers[other].restart().await;
    for index in 0..3 {
        let is_new = |status: &v1::ReplicaStatus| {
            status.ready && status.incarnation > 0 && !ids.contains(&status.replica)
        };
        cluster.await_status(index, "is of the revived group", is_new).await;
    }
    assert_eq!(cluster.clerk(LONG).get("key").await.unwrap().value, "value");
}

/// The data of the others may be lost, and the survivor's from before is the only copy.
#[tokio::test(flavor = "multi_thread")]
async fn former_lives_are_kept_until_a_person_removes_them() {
    let mut cluster = Cluster::start().await;
    cluster.clerk(LONG).put("key", "value").await.unwrap();
    let survivor = lose_the_majority(&mut cluster).await;
    let shown = cluster.status(survivor).await.unwrap();
    assert_eq!(shown.former_bytes, 0);
    let v1::ReplicaStatus { cluster_id, group_uid, incarnation, replica, .. } = shown;
    let meant = v1::ReplicaIdentity { cluster_id, group_uid, incarnation, replica };
    for other in [
        v1::ReplicaIdentity { cluster_id: cluster_id + 1, ..meant },
        v1::ReplicaIdentity { group_uid: group_uid + 1, ..meant },
        v1::ReplicaIdentity { incarnation: incarnation + 1, ..meant },
        v1::ReplicaIdentity { replica: replica + 1, ..meant },
    ] {
        let refused = reset_if(&cluster, survivor, Some(other)).await.unwrap_err();
        assert!(matches!(Error::from_status(&refused), Some(Error::WrongIdentity(_))), "{refused}");
        let transfer = v1::TransferLeaderRequest { group: 0, to: 0, meant: Some(other) };
        let refused = cluster.admin(survivor).await.unwrap().transfer_leader(transfer).await.unwrap_err();
        assert!(matches!(Error::from_status(&refused), Some(Error::WrongIdentity(_))), "{refused}");
    }
    let v1::ResetResponse { former_dir, .. } = reset_if(&cluster, survivor, Some(meant)).await.unwrap();
    let disk = cluster.servers[survivor].disk.clone();
    assert!(disk.exists(&Path::new(&former_dir).join("identity")).unwrap(), "{former_dir}");
    for other in [(survivor + 1) % 3, (survivor + 2) % 3] {
        cluster.servers[other].disk.let_sync(ALL);
        cluster.servers[other].restart().await;
    }
    for index in 0..3 {
        let keeps = |status: &v1::ReplicaStatus| {
            status.ready && status.former_bytes > 0 && former_dir.starts_with(&status.former_dir)
        };
        cluster.await_status(index, "keeps what it had", keeps).await;
        let mut admin = cluster.admin(index).await.unwrap();
        let remove = v1::RemoveFormerRequest { group: 0, cluster_id, group_uid };
        for (cluster_id, group_uid) in [(cluster_id + 1, group_uid), (cluster_id, group_uid + 1)] {
            let other = v1::RemoveFormerRequest { group: 0, cluster_id, group_uid };
            let refused = admin.remove_former(other).await.unwrap_err();
            assert!(matches!(Error::from_status(&refused), Some(Error::WrongIdentity(_))), "{refused}");
        }
        assert!(admin.remove_former(remove).await.unwrap().into_inner().bytes > 0);
        assert_eq!(admin.remove_former(remove).await.unwrap().into_inner().bytes, 0);
        assert_eq!(cluster.status(index).await.unwrap().former_bytes, 0);
    }
    assert!(!disk.exists(Path::new(&former_dir)).unwrap());
    assert_eq!(cluster.clerk(LONG).get("key").await.unwrap().value, "value");
}

/// Neither survivor knew of the other one, and the managers were away.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_survivors_that_are_both_revived_one_is_the_group() {
    let mut cluster = Cluster::start().await;
    cluster.clerk(LONG).put("key", "value").await.unwrap();
    for index in 0..3 {
        let has_all = |status: &v1::ReplicaStatus| {
            status.keys == 1 && self::index(status.last_log) == self::index(status.applied)
        };
        cluster.await_status(index, "has the key", has_all).await;
    }
    cluster.stop_managers().await;
    for index in 0..3 {
        cluster.stop_and_wait(index).await;
    }
    let mut incarnations = Vec::new();
    for survivor in [0, 1] {
        cluster.servers[survivor].restart().await;
        await_lost_quorum(&cluster, survivor).await;
        incarnations.push(reset(&cluster, survivor).await.unwrap().incarnation);
        cluster.await_status(survivor, "serves alone", |status| status.ready).await;
        cluster.stop_and_wait(survivor).await;
    }
    assert_ne!(incarnations[0], incarnations[1]);

    for index in 0..3 {
        cluster.servers[index].restart().await;
    }
    cluster.start_managers().await;
    // The shard manager took the first one of which it heard.
    until("all are of the group that remains", || async {
        let statuses = join_all((0..3).map(|index| cluster.status(index))).await;
        let of_it = statuses.iter().flatten().filter(|status| status.ready);
        let lives: Vec<u32> = of_it.map(|status| status.incarnation).collect();
        lives.len() == 3 && lives.iter().all(|life| *life == lives[0] && incarnations.contains(life))
    })
    .await;
    assert_eq!(cluster.clerk(LONG).get("key").await.unwrap().value, "value");
}

/// The majority that was lost would be a group by itself, which takes writes that the revived one never has.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_majority_that_returns_while_the_managers_are_away_does_not_lead() {
    let mut cluster = Cluster::start().await;
    cluster.clerk(LONG).put("key", "value").await.unwrap();
    let survivor = lose_the_majority(&mut cluster).await;
    cluster.stop_managers().await;
    let revived = reset(&cluster, survivor).await.unwrap().incarnation;
    cluster.await_status(survivor, "serves alone", |status| status.ready).await;
    let returned = [(survivor + 1) % 3, (survivor + 2) % 3];
    for index in returned {
        cluster.servers[index].disk.let_sync(ALL);
        cluster.servers[index].restart().await;
    }
    for index in returned {
        let begins_again = |status: &v1::ReplicaStatus| {
            assert_ne!(status.state(), v1::ReplicaState::Leader, "of a life that is over");
            status.state() == v1::ReplicaState::Waiting && status.replica != 0
        };
        cluster.await_status(index, "begins again", begins_again).await;
    }
    cluster.start_managers().await;
    for index in 0..3 {
        let is_new = |status: &v1::ReplicaStatus| {
            status.ready && status.incarnation == revived && status.former_bytes > 0
        };
        cluster.await_status(index, "is of the revived group, and keeps what it had", is_new).await;
    }
    assert_eq!(cluster.clerk(LONG).get("key").await.unwrap().value, "value");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_replica_leaves_no_former_life() {
    let mut cluster = Cluster::start().await;
    cluster.clerk(LONG).put("key", "value").await.unwrap();
    let survivor = lose_the_majority(&mut cluster).await;
    let empty = (survivor + 1) % 3;
    cluster.servers[empty].lose_disk().await;
    let has_place = |status: &v1::ReplicaStatus| status.group_uid != 0;
    cluster.await_status(empty, "waits to be admitted", has_place).await;
    let revived = reset(&cluster, survivor).await.unwrap().incarnation;
    let is_new = |status: &v1::ReplicaStatus| status.ready && status.incarnation == revived;
    cluster.await_status(empty, "is of the revived group", is_new).await;
    let disk = &cluster.servers[empty].disk;
    let former = Path::new("/data/former");
    assert!(!disk.exists(former).unwrap() || disk.list(former).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_survivor_whose_files_are_damaged_says_where_they_go() {
    let mut cluster = Cluster::start().await;
    let survivor = lose_the_majority(&mut cluster).await;
    let (disk, before) = (cluster.servers[survivor].disk.clone(), cluster.status(survivor).await.unwrap());
    disk.open(Path::new("/data/g0/identity")).unwrap().write_all_at(b"damage", 0).unwrap();
    let failed = reset(&cluster, survivor).await.unwrap_err();
    let says = ["/data/quarantine", "choose another survivor"];
    assert!(says.iter().all(|text| failed.message().contains(text)), "{failed}");
    let is_empty = |status: &v1::ReplicaStatus| status.replica != 0 && status.replica != before.replica;
    cluster.await_status(survivor, "is an empty replica", is_empty).await;
}
