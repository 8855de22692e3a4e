//! Groups that get fewer replicas, and more again, while clients work on them.

use skv_checker::Outcome;
use skv_client::{Clerk, Options};
use skv_process::{Client, Cluster, Load, Recorder, Settings, assert_linearizable, call_admin, eventually};
use skv_proto::v1::{RemoveReplicaRequest, ReplicaState, ReplicaStatus, TransferLeaderRequest};
use skv_proto::{Error, v1};

/// Starts the shard manager again with another number of replicas per group.
async fn want_replicas(cluster: &mut Cluster, replicas: u32) {
    if cluster.manager.is_running() {
        cluster.manager.stop().await;
    }
    cluster.manager.set_arguments(|arguments| {
        arguments.retain(|argument| !argument.starts_with("--replicas="));
        arguments.push(format!("--replicas={replicas}"));
    });
    cluster.manager.start();
}

/// Asks one server to remove a replica of its group.
async fn ask(cluster: &Cluster, server: usize, replica: &ReplicaStatus) -> Result<(), Error> {
    let mut admin = call_admin(&cluster.servers[server].peer_address).await.expect("the server answers");
    let v1::ReplicaStatus { group, group_uid, replica, .. } = *replica;
    let answer = admin.remove_replica(RemoveReplicaRequest { group, group_uid, replica }).await;
    answer.map(drop).map_err(|status| Error::from_status(&status).expect("a typed error"))
}

/// Removes the replica of a server as an operator does: by its leader, repeated until it is done.
async fn remove(cluster: &Cluster, index: usize, replica: &ReplicaStatus) {
    eventually("the replica is removed", || async {
        let leader = cluster.leader(0).await;
        if leader == index {
            let mut admin = call_admin(&cluster.servers[leader].peer_address).await?;
            admin.transfer_leader(TransferLeaderRequest::default()).await.ok()?;
            return None;
        }
        ask(cluster, leader, replica).await.ok()
    })
    .await;
    let leader = cluster.leader(0).await;
    let status = cluster.servers[leader].ready().await;
    assert!(!status.peers.iter().any(|peer| peer.replica == replica.replica), "{status:?}");
    let members = status.membership.and_then(|stored| stored.membership).unwrap_or_default().members;
    assert!(!members.iter().any(|member| member.replica == replica.replica), "{members:?}");
}

async fn is_out(cluster: &Cluster, index: usize) {
    eventually("the removed replica knows that it is none", || async {
        let replica = cluster.servers[index].replica().await?;
        (replica.state() == ReplicaState::Learner && !replica.ready).then_some(())
    })
    .await;
}

async fn term(cluster: &Cluster) -> u64 {
    let leader = cluster.leader(0).await;
    cluster.servers[leader].ready().await.term
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_goes_from_five_replicas_to_three_and_back_under_load() {
    let mut cluster = Cluster::start(Settings { replicas: 5, ..Settings::default() }).await;
    let load = Load::start(&cluster, 6, 6);
    load.recorder.more_acknowledged(200).await;
    let mut removed = Vec::new();
    want_replicas(&mut cluster, 3).await;
    for index in [4, 3] {
        let replica = cluster.servers[index].ready().await;
        remove(&cluster, index, &replica).await;
        is_out(&cluster, index).await;
        load.recorder.more_acknowledged(100).await;
        removed.push((index, replica.replica));
    }
    assert_eq!(cluster.voters(0).await.len(), 3);

    // They run on, even after a restart, and disturb no other server.
    let before = term(&cluster).await;
    cluster.servers[4].process.kill();
    cluster.servers[4].process.start();
    eventually("the manager sends the restarted replica away", || async {
        cluster.manager.log().contains("g0-4 isn't one of them").then_some(())
    })
    .await;
    load.recorder.more_acknowledged(1000).await;
    is_out(&cluster, 4).await;
    assert_eq!(term(&cluster).await, before, "nobody stood for election");
    assert_eq!(cluster.voters(0).await.len(), 3);
    // A clerk that asks one of them is redirected.
    let recorder = Recorder::new();
    let clerk =
        Clerk::connect(Options::seeds([cluster.servers[3].client_address.clone()])).expect("it can be");
    let client = Client::new(77, clerk, &recorder);
    assert_eq!(client.put("asked-elsewhere", "v", None).await, Outcome::Ok);

    want_replicas(&mut cluster, 5).await;
    for (index, replica) in removed {
        assert_eq!(cluster.servers[index].ready().await.replica, replica, "it is the same one again");
    }
    eventually("there are five voters", || async { (cluster.voters(0).await.len() == 5).then_some(()) })
        .await;
    load.recorder.more_acknowledged(100).await;
    // Servers that were never removed are no majority of five: the writes are on the others too.
    for index in [0, 1] {
        cluster.servers[index].process.kill();
    }
    load.recorder.more_acknowledged(100).await;
    assert_linearizable(&load.finish(&cluster).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_harm_the_group_is_refused() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader(0).await;
    let [alive, dead] = [(leader + 1) % 3, (leader + 2) % 3];
    let mut replicas = Vec::new();
    for server in &cluster.servers {
        replicas.push(server.ready().await);
    }

    let refused = ask(&cluster, alive, &replicas[dead]).await.expect_err("it doesn't lead");
    let Error::NotLeader { leader: Some(named), .. } = &refused else { panic!("{refused}") };
    assert_eq!(named.id.0, replicas[leader].replica);
    let refused = ask(&cluster, leader, &replicas[leader]).await.expect_err("it leads");
    assert!(
        matches!(&refused, Error::InvalidArgument(why) if why.contains("hand the leadership over")),
        "{refused}"
    );
    let foreign = ReplicaStatus { group_uid: 666, ..replicas[dead].clone() };
    let refused = ask(&cluster, leader, &foreign).await.expect_err("it is of another group");
    assert!(matches!(refused, Error::WrongIdentity(_)), "{refused}");
    let stranger = ReplicaStatus { replica: 666, ..replicas[dead].clone() };
    assert_eq!(ask(&cluster, leader, &stranger).await, Ok(()), "it is no member already");

    cluster.servers[dead].process.kill();
    eventually("the leader misses the dead one", || async {
        let status = cluster.servers[leader].replica().await?;
        let peer = status.peers.iter().find(|peer| peer.replica == replicas[dead].replica)?;
        (peer.silent_ms > 1000).then_some(())
    })
    .await;
    let refused = ask(&cluster, leader, &replicas[alive]).await.expect_err("the dead one would be needed");
    assert!(matches!(&refused, Error::Unavailable(why) if why.contains("of the 2 voters")), "{refused}");
    assert_eq!(cluster.voters(0).await.len(), 3);
    want_replicas(&mut cluster, 1).await;
    assert_eq!(ask(&cluster, leader, &replicas[dead]).await, Ok(()));
    assert_eq!(ask(&cluster, leader, &replicas[dead]).await, Ok(()), "asked again");
    assert_eq!(ask(&cluster, leader, &replicas[alive]).await, Ok(()));
    let refused = ask(&cluster, leader, &replicas[leader]).await.expect_err("it is the last");
    assert!(matches!(&refused, Error::InvalidArgument(why) if why.contains("only voter")), "{refused}");
    assert_eq!(cluster.voters(0).await, [replicas[leader].replica]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_went_away_keeps_nobody_waiting() {
    let mut cluster = Cluster::new(&Settings { replicas: 5, ..Settings::default() });
    want_replicas(&mut cluster, 3).await;
    for server in &mut cluster.servers[..3] {
        server.process.start();
    }
    for server in &cluster.servers[..3] {
        server.ready().await;
    }
    want_replicas(&mut cluster, 5).await;
    cluster.servers[3].process.start();
    eventually("the first newcomer asks to join", || async {
        cluster.manager.log().contains("g0-3 asks to join").then_some(())
    })
    .await;
    cluster.servers[3].process.kill();
    cluster.servers[4].process.start();
    cluster.servers[4].ready().await;
    // And the first one is admitted when it is back.
    cluster.servers[3].process.start();
    cluster.servers[3].ready().await;
}
