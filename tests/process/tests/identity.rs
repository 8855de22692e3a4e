//! Addresses and ports that now belong to another process: whatever listens there is refused before
//! it can count.

use skv_checker::Outcome;
use skv_process::{Client, Cluster, Load, Recorder, Settings, assert_linearizable, eventually};

fn replace_flag(arguments: &mut [String], flag: &str, value: &str) {
    let argument =
        arguments.iter_mut().find(|argument| argument.starts_with(flag)).expect("the flag is there");
    *argument = format!("{flag}={value}");
}

/// Starts a server of another cluster on the addresses of one of ours, which is dead.
fn move_onto(ours: &mut Cluster, theirs: &mut Cluster, index: usize) {
    ours.servers[index].process.kill();
    theirs.servers[index].process.kill();
    let (client, peer) = (&ours.servers[index].client_address, &ours.servers[index].peer_address);
    let moved = &mut theirs.servers[index];
    moved.process.set_arguments(|arguments| {
        replace_flag(arguments, "--client-listen", client);
        replace_flag(arguments, "--peer-listen", peer);
    });
    (moved.client_address, moved.peer_address) = (client.clone(), peer.clone());
    moved.process.start();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_cluster_on_a_members_address_does_not_count() {
    let mut ours = Cluster::start(Settings::default()).await;
    let mut theirs = Cluster::start(Settings::default()).await;
    move_onto(&mut ours, &mut theirs, 2);
    // With one more of ours gone, the intruder would be the second of a majority.
    ours.servers[1].process.kill();
    eventually("our last server misses its quorum", || async {
        ours.servers[0].replica().await.filter(|replica| replica.quorum_lost_ms > 0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clerk_takes_no_server_of_another_cluster_for_one_of_its_own() {
    let mut ours = Cluster::start(Settings::default()).await;
    let mut theirs = Cluster::start(Settings { replicas: 1, ..Settings::default() }).await;
    let recorder = Recorder::new();
    let client = Client::new(1, ours.clerk(), &recorder);
    assert_eq!(client.put("k", "v", None).await, Outcome::Ok);
    // No server of ours is left, and the one that answers leads a group of the same number.
    for server in &mut ours.servers[1..] {
        server.process.kill();
    }
    move_onto(&mut ours, &mut theirs, 0);
    theirs.servers[0].ready().await;
    assert_ne!(client.put("k", "w", None).await, Outcome::Ok, "the write went into another cluster");
    assert_ne!(client.get("k").await, Outcome::Ok, "the value came from another cluster");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_of_another_cluster_is_refused_by_the_manager() {
    let ours = Cluster::start(Settings::default()).await;
    let mut theirs = Cluster::start(Settings::default()).await;
    let before = ours.shard_map().await.expect("there is a map");
    let stranger = theirs.servers[2].ready().await.replica;
    theirs.servers[2].process.kill();
    let manager = ours.manager_address.clone();
    theirs.servers[2].process.set_arguments(|arguments| {
        replace_flag(arguments, "--shard-manager", &manager);
        arguments.push("--server=stranger".to_owned());
        arguments.retain(|argument| !argument.starts_with("--server=g"));
    });
    theirs.servers[2].process.start();
    eventually("our manager refuses the stranger", || async {
        ours.manager.log().contains("cluster").then_some(())
    })
    .await;
    let after = ours.shard_map().await.expect("there is a map");
    assert_eq!(after.groups, before.groups);
    assert!(!after.groups[0].replicas.iter().any(|replica| replica.id == stranger));
}

/// Starts two members on each other's addresses. Every list of peers is wrong then.
fn swap_addresses(cluster: &mut Cluster) {
    let of = |cluster: &Cluster, index: usize| {
        let server = &cluster.servers[index];
        (server.client_address.clone(), server.peer_address.clone())
    };
    let addresses = [of(cluster, 2), of(cluster, 1)];
    cluster.servers[1].process.kill();
    cluster.servers[2].process.kill();
    for (index, (client, peer)) in (1..).zip(addresses) {
        let server = &mut cluster.servers[index];
        server.process.set_arguments(|arguments| {
            replace_flag(arguments, "--client-listen", &client);
            replace_flag(arguments, "--peer-listen", &peer);
        });
        (server.client_address, server.peer_address) = (client, peer);
        server.process.start();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_listen_on_each_others_addresses_do_not_count_as_each_other() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let load = Load::start(&cluster, 4, 4);
    load.recorder.more_acknowledged(50).await;
    swap_addresses(&mut cluster);
    // The third finds the wrong one of the two under each address, and each of the two
    // finds itself in place of the other: there must be no majority among these.
    for server in &cluster.servers[1..] {
        eventually("the moved member runs", || async {
            server.replica().await.filter(|replica| replica.term > 0)
        })
        .await;
    }
    swap_addresses(&mut cluster);
    cluster.ready().await;
    load.recorder.more_acknowledged(50).await;
    assert_linearizable(&load.finish(&cluster).await);
}
