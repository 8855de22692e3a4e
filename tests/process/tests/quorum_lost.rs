//! A group that lost its majority for good reports it, and a person can revive it.

use std::time::Duration;

use skv_checker::Outcome;
use skv_client::Clerk;
use skv_process::{Client, Cluster, Recorder, Settings, call_admin, eventually};
use skv_proto::v1::shard_status::State;
use skv_proto::v1::{ReplicaStatus, ResetRequest};
use skv_sharding::{GroupId, Hash};
use tokio::task::JoinSet;

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
    let answer = admin.reset(ResetRequest { group: 0, accept_data_loss, meant: None }).await?;
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
    let revived = cluster.servers[0].ready().await;
    assert!(revived.incarnation > lost.incarnation);
    assert_eq!(revived.group_uid, lost.group_uid);
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

/// Waits until one server stands at a point and has the whole log all the same, and kills the others.
/// Returns its index.
async fn leave_alone_who_stands_at(cluster: &mut Cluster, point: &str) -> usize {
    cluster.somebody_stands_at(point).await;
    let line = format!("stands at the fail point {point}");
    let stander = eventually("one of the servers says so", || async {
        cluster.servers.iter().position(|server| server.process.log().lines().any(|said| said == line))
    })
    .await;
    eventually("it has the whole log", || async {
        let mut ends = Vec::new();
        for server in &cluster.servers {
            ends.push(server.replica().await?.last_log.map_or(0, |last| last.index));
        }
        ends.iter().all(|end| *end == ends[stander]).then_some(())
    })
    .await;
    for (_, server) in cluster.servers.iter_mut().enumerate().filter(|(index, _)| *index != stander) {
        server.process.kill();
    }
    eventually("it says that its quorum is lost", || async {
        cluster.servers[stander].replica().await.filter(|replica| replica.quorum_lost_ms > 0)
    })
    .await;
    stander
}

/// A replica that stands while it applies an entry: those behind it are committed, and wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_amid_entries_that_are_being_applied_applies_each_of_them_once() {
    const BEHIND: u64 = 8;
    const HASTY: Duration = Duration::from_secs(2);
    let mut cluster = Cluster::start(Settings { fail_points: true, ..Settings::default() }).await;
    let recorder = Recorder::new();
    let mut first = Client::new(0, cluster.clerk(), &recorder);
    // Each client has a key of its own: the order of many calls that were never answered can't be found.
    let key_of = |id: u64| format!("k{id}");
    assert_eq!(first.append_token(&key_of(0)).await, Outcome::Ok);
    let leader = cluster.leader(0).await;
    let applied = cluster.servers[leader].replica().await.and_then(|replica| replica.applied);
    let point = format!("applying-{}", applied.expect("an append was applied").index + 2);
    cluster.arm_to_stand(&point);
    let mut clients = JoinSet::new();
    for id in 1..=BEHIND {
        let mut options = cluster.clerk_options();
        options.deadline = HASTY;
        let clerk = Clerk::connect(options).expect("the options are right");
        let mut client = Client::new(id, clerk, &recorder);
        clients.spawn(async move {
            for _ in 0..3 {
                client.append_token(&key_of(id)).await;
            }
        });
    }
    clients.join_all().await;
    let stander = leave_alone_who_stands_at(&mut cluster, &point).await;
    let alone = &cluster.servers[stander];
    let mut admin = call_admin(&alone.peer_address).await.expect("the server answers");
    let request = ResetRequest { group: 0, accept_data_loss: true, meant: None };
    // It reads files alone, and so needs no end of what is being applied. That goes on in the life before.
    admin.reset(request).await.expect("the group is revived");
    alone.ready().await;
    cluster.release(&point);
    alone.ready().await;
    for id in 0..=BEHIND {
        assert_eq!(first.append_token(&key_of(id)).await, Outcome::Ok);
        assert_eq!(first.get(&key_of(id)).await, Outcome::Ok);
    }
    skv_process::assert_linearizable(&recorder.events());
}

/// The steps of a reset.
const STEPS: [&str; 6] =
    ["reset-begun", "reset-read", "reborn-begun", "reborn-written", "former-kept", "reborn-in-place"];

/// Its survivor dies at a step of the reset; then old members return, one with its data. There are two
/// requests, neither of which anybody waits for in the end.
async fn revived_though_it_dies_at(step: &str) {
    eprintln!("the survivor dies at {step}");
    let mut cluster = Cluster::start(Settings { fail_points: true, ..Settings::default() }).await;
    let recorder = Recorder::new();
    let mut client = Client::new(1, cluster.clerk(), &recorder);
    assert_eq!(client.append_token("k").await, Outcome::Ok);
    let old = cluster.voters(0).await;
    eventually("the survivor has applied everything", || async {
        cluster.servers[0].replica().await.filter(|replica| replica.keys == 1)
    })
    .await;
    let lost = lose_the_majority(&mut cluster).await;
    cluster.arm(step);
    let (one, other) = tokio::join!(reset(&cluster, true), reset(&cluster, true));
    assert!(one.is_err() && other.is_err(), "{one:?} {other:?}");
    assert_eq!(cluster.server_dies_at(step).await, 0);

    cluster.servers[0].process.start();
    let incarnation = eventually("the survivor is revived, once it is asked to", || async {
        let replica = cluster.servers[0].replica().await?;
        if replica.incarnation > lost.incarnation {
            return replica.ready.then_some(replica.incarnation);
        }
        let _ = reset(&cluster, true).await;
        None
    })
    .await;
    cluster.servers[2].wipe();
    cluster.start_servers();
    cluster.ready().await;
    let new = cluster.voters(0).await;
    assert!(new.len() == 3 && new.iter().all(|id| !old.contains(id)), "{old:?} {new:?}");
    for server in &cluster.servers {
        assert_eq!(server.ready().await.incarnation, incarnation, "there is one group");
    }
    let former = eventually("the survivor says what it keeps", || async {
        cluster.servers[0].replica().await.filter(|replica| replica.former_bytes > 0)
    })
    .await;
    assert!(former.former_dir.starts_with(&*cluster.servers[0].data_dir.to_string_lossy()));
    assert_eq!(client.append_token("k").await, Outcome::Ok);
    assert_eq!(client.get("k").await, Outcome::Ok);
    skv_process::assert_linearizable(&recorder.events());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_is_killed_at_any_step_leaves_one_group() {
    for step in STEPS {
        revived_though_it_dies_at(step).await;
    }
}
