//! A group that lost its majority for good reports it, and a person can revive it.

use skv_checker::Outcome;
use skv_process::{Client, Cluster, Recorder, Settings, call_admin, eventually};
use skv_proto::v1::shard_status::State;
use skv_proto::v1::{ReplicaStatus, ResetRequest};
use skv_sharding::{GroupId, Hash};

/// Kills all servers of the first group except one, and waits until that reports a lost quorum.
async fn lose_the_majority(cluster: &mut Cluster) -> ReplicaStatus {
    cluster.take_quorum(0);
    eventually("the last replica says that its quorum is lost", || async {
        cluster.servers[0].replica().await.filter(|replica| replica.quorum_lost_ms > 0)
    })
    .await
}

async fn reset(cluster: &Cluster, accept_data_loss: bool) -> Result<u32, tonic::Status> {
    let mut admin = call_admin(&cluster.servers[0].peer_address).await.expect("the server answers");
    let answer = admin.reset(ResetRequest { group: 0, accept_data_loss }).await?;
    Ok(answer.into_inner().incarnation)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_only_revived_when_it_has_no_quorum_and_the_loss_is_accepted() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let refused = reset(&cluster, true).await.expect_err("there is a quorum");
    assert!(refused.message().contains("quorum"), "{refused}");
    lose_the_majority(&mut cluster).await;
    let refused = reset(&cluster, false).await.expect_err("the loss isn't accepted");
    assert!(refused.message().contains("accepted"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revived_group_serves_again_and_its_old_members_never_count() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let recorder = Recorder::new();
    let mut client = Client::new(1, cluster.clerk(), &recorder);
    assert_eq!(client.append_token("k").await, Outcome::Ok);
    let old: Vec<u64> = cluster.voters(0).await;
    // Everything acknowledged is on the survivor too, before the others go.
    eventually("the survivor has applied everything", || async {
        cluster.servers[0].replica().await.filter(|replica| replica.keys == 1)
    })
    .await;
    let lost = lose_the_majority(&mut cluster).await;

    let refused = cluster.skv(&["group", "reset", "g0"]).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let done = cluster.skv(&["group", "reset", "g0", "--accept-data-loss"]).await;
    assert!(done.status.success(), "{done:?}");
    let incarnation = lost.incarnation + 1;
    let revived = cluster.servers[0].ready().await;
    assert_eq!((revived.incarnation, revived.group_uid), (incarnation, lost.group_uid));
    assert_eq!(client.append_token("k").await, Outcome::Ok);

    // One old member comes back with its data, the other one empty. Neither may be what it was:
    // both join the new incarnation as new replicas.
    cluster.servers[2].wipe();
    cluster.servers[1].process.start();
    cluster.servers[2].process.start();
    cluster.ready().await;
    let new = cluster.voters(0).await;
    assert_eq!(new.len(), 3);
    assert!(new.iter().all(|id| !old.contains(id)), "{old:?} {new:?}");
    assert_eq!(client.get("k").await, Outcome::Ok);
    skv_process::assert_linearizable(&recorder.events());
}

/// The survivor never heard that shards have left. Their owner is out of reach, and can't say so.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_revived_from_before_shards_went_has_them_no_more() {
    const KEYS: u32 = 16;
    let settings = Settings { groups: 2, first_groups: Some(1), shards: 4, ..Settings::default() };
    let mut cluster = Cluster::start(settings).await;
    cluster.founded(2).await;
    let (clerk, key) = (cluster.clerk(), |number: u32| format!("key{number}"));
    for number in 0..KEYS {
        clerk.put(key(number), "before").await.expect("a put");
    }
    eventually("the survivor has applied everything", || async {
        cluster.servers[0].replica().await.filter(|replica| replica.keys == u64::from(KEYS))
    })
    .await;
    cluster.servers[0].process.kill();
    cluster.changes().join(&[1]).await;
    cluster.settled(&[2, 2]).await;
    for number in 0..KEYS {
        clerk.put(key(number), "after").await.expect("a put");
    }

    cluster.take_quorum(0);
    cluster.take_quorum(1);
    cluster.servers[0].process.start();
    lose_the_majority(&mut cluster).await;
    let done = cluster.skv(&["group", "reset", "g0", "--accept-data-loss"]).await;
    assert!(done.status.success(), "{done:?}");
    eventually("the revived group has what is its own", || async {
        let held = cluster.group_holdings(0).await?;
        let all = [State::Served, State::Queued, State::Copying, State::Frozen, State::Arriving];
        let all: usize = all.into_iter().map(|state| held.count(state)).sum();
        ((held.count(State::Served), all) == (2, 2)).then_some(())
    })
    .await;

    cluster.start_servers();
    cluster.settled(&[2, 2]).await;
    let map = cluster.shard_map().await.expect("the manager answers");
    for number in 0..KEYS {
        let shard = Hash::Fnv1.shard(key(number).as_bytes(), map.shards).expect("it has a shard");
        let expected = if skv_proto::owners(&map.ranges)[&shard] == GroupId(1) { "after" } else { "before" };
        assert_eq!(clerk.get(key(number)).await.expect("a get").value, expected, "{}", key(number));
    }
}
