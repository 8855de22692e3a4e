//! The manager's file deleted, or put back from an older copy, while groups hold data.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use skv_proto::v1;
use skv_proto::v1::register_replica_response::Plan;
use support::{Replica, Server, found, map, owners};

const FILE: &str = "shard-map";

#[tokio::test]
async fn a_restart_brings_the_map_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::on_files(dir.path()).await;
    let mut client = server.client().await;
    found(&mut client).await;
    let before = map(&mut client).await;
    drop(client);
    server.stop().await;

    let server = Server::on_files(dir.path()).await;
    let mut after = map(&mut server.client().await).await;
    after.groups.iter_mut().zip(&before.groups).for_each(|(after, before)| {
        // The leader is no part of the record.
        (after.leader, after.leader_term) = (before.leader, before.leader_term);
    });
    assert_eq!(after, before);
}

#[tokio::test]
async fn without_its_file_the_manager_founds_nothing_and_rebuilds_the_map() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::on_files(dir.path()).await;
    let mut client = server.client().await;
    let mut replicas = found(&mut client).await;
    let before = map(&mut client).await;
    drop(client);
    server.stop().await;
    fs::remove_file(dir.path().join(FILE)).unwrap();

    let server = Server::on_files(dir.path()).await;
    let mut client = server.client().await;
    // Replica 0 returns with an empty directory, before all others.
    let emptied = replicas[0].successor();
    assert!(matches!(emptied.clone().obey(&mut client).await, Plan::Wait(_)));
    // A replica that has just started knows its cluster and group, but not its data yet.
    let mut starting = replicas[1].registration();
    starting.report = None;
    let answer = client.register_replica(starting).await.unwrap().into_inner();
    assert!(matches!(answer.plan, Some(Plan::Wait(_))), "{answer:?}");
    assert!(matches!(replicas[3].obey(&mut client).await, Plan::Wait(_)), "g0 hasn't spoken");
    assert!(client.get_shard_map(v1::GetShardMapRequest {}).await.is_err());

    replicas[1].report().obeyed_version = 9;
    replicas[1].lead(2);
    assert!(matches!(replicas[1].obey(&mut client).await, Plan::Serve(_)));
    assert!(matches!(emptied.clone().obey(&mut client).await, Plan::Join(_)));
    let after = map(&mut client).await;
    assert_eq!((after.cluster_id, &after.ranges), (before.cluster_id, &before.ranges));
    assert_eq!(after.groups[0].uid, before.groups[0].uid);
    assert_eq!(after.revision, 11, "above what the group obeyed, and one more for the newcomer");
}

#[tokio::test]
async fn a_file_that_is_lost_under_a_running_manager_is_rebuilt_too() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::on_files(dir.path()).await;
    let mut client = server.client().await;
    let mut replicas = found(&mut client).await;
    let before = map(&mut client).await;
    fs::remove_file(dir.path().join(FILE)).unwrap();

    server.silence();
    // The manager notices at the first write.
    assert!(matches!(replicas[2].successor().obey(&mut client).await, Plan::Wait(_)));
    replicas[0].obey(&mut client).await;
    assert!(matches!(replicas[3].obey(&mut client).await, Plan::Serve(_)));
    let after = map(&mut client).await;
    assert_eq!((after.cluster_id, &after.ranges), (before.cluster_id, &before.ranges));
    assert!(dir.path().join(FILE).exists());
}

#[tokio::test]
async fn an_older_copy_is_noticed_and_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let (file, copy) = (dir.path().join(FILE), dir.path().join("copy"));
    let server = Server::on_files(dir.path()).await;
    let mut client = server.client().await;
    let mut replicas = found(&mut client).await;
    fs::copy(&file, &copy).unwrap();
    server.silence();
    let successor = replicas[2].successor();
    let joined = successor.register(&mut client).await.unwrap();
    assert!(matches!(joined.plan, Some(Plan::Join(_))));
    // The leader admits it under that version.
    replicas[0].report().members[2] = successor.describe();
    replicas[0].report().obeyed_version = joined.manager_version;
    replicas[0].obey(&mut client).await;
    let before = map(&mut client).await;
    drop(client);
    server.stop().await;
    fs::copy(&copy, &file).unwrap();

    let server = Server::on_files(dir.path()).await;
    let mut client = server.client().await;
    assert_eq!(map(&mut client).await.groups[0].replicas[2], replicas[2].describe(), "the copy is older");
    let Plan::Wait(wait) = replicas[0].obey(&mut client).await else { panic!("an old copy was believed") };
    assert!(
        wait.reason.contains("g0 has obeyed map revision 3, the record is of map revision 2"),
        "{}",
        wait.reason
    );
    let empty = Replica { id: 99_999, ..replicas[4].successor() };
    assert!(matches!(empty.clone().obey(&mut client).await, Plan::Wait(_)), "no plan meanwhile");
    assert!(matches!(replicas[3].obey(&mut client).await, Plan::Serve(_)));
    let after = map(&mut client).await;
    assert_eq!(after.groups[0].replicas[2], successor.describe());
    assert_eq!(after.cluster_id, before.cluster_id);
    assert_eq!(owners(&after.ranges), owners(&before.ranges));
    assert!(after.revision > joined.manager_version);
    let history = client.query(v1::QueryRequest { number: Some(1) }).await.unwrap().into_inner();
    assert_eq!(owners(&history.ranges), owners(&before.ranges));
}
