//! Replicas that start empty and found groups, the map that is then published, and the life of replicas
//! afterwards.
#![allow(clippy::unwrap_used)]

mod support;

use shardmanager::store::MemoryStore;
use skv_proto::v1::register_replica_response::Plan;
use skv_proto::{Error, v1};
use support::{Replica, SHARDS, Server, found, map, owners, settings};

#[tokio::test]
async fn two_groups_of_three_are_founded_together() {
    let server = Server::start(settings(), MemoryStore::default()).await;
    let mut client = server.client().await;
    let mut replicas: Vec<Replica> =
        (0..2).flat_map(|group| (0..3).map(move |n| Replica::new(group, n))).collect();
    for replica in &mut replicas[..5] {
        let Plan::Wait(wait) = replica.obey(&mut client).await else { panic!("founded too early") };
        assert!(wait.reason.contains("g1"), "{}", wait.reason);
    }
    let unavailable = client.get_shard_map(v1::GetShardMapRequest {}).await.unwrap_err();
    assert!(matches!(Error::from_status(&unavailable), Some(Error::Unavailable(_))), "{unavailable}");
    assert_eq!(unavailable.code(), tonic::Code::Unavailable);

    let mut orders = Vec::new();
    for replica in replicas.iter_mut().rev() {
        match replica.obey(&mut client).await {
            Plan::Bootstrap(order) => orders.push(order),
            other => panic!("{other:?}"),
        }
    }
    assert!(orders[..3].iter().all(|order| *order == orders[0]), "all first members get the same");
    assert!(orders[3..].iter().all(|order| *order == orders[3]));
    assert_ne!(orders[0].group_uid, orders[3].group_uid);
    let members: Vec<u64> = orders[3].members.iter().map(|m| m.id).collect();
    assert_eq!(members, [5000, 5001, 5002]);
    let limits = orders[0].limits.unwrap();
    assert_eq!((limits.max_key_bytes, limits.session_ttl_ms), (100, 5000));

    let map = map(&mut client).await;
    assert_eq!((map.revision, map.configuration, map.shards), (1, 1, SHARDS));
    assert_eq!(owners(&map.ranges), [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
    assert_eq!(map.groups[1].replicas[2], replicas[5].describe());
    assert_ne!(map.cluster_id, 0);
    server.stop().await;
}

#[tokio::test]
async fn a_lost_replica_is_replaced() {
    let server = Server::start(settings(), MemoryStore::default()).await;
    let mut client = server.client().await;
    let mut replicas = found(&mut client).await;
    let successor = replicas[2].successor();
    let Err(Error::WrongIdentity(held)) = successor.register(&mut client).await else {
        panic!("the name is free though its holder lives")
    };
    assert!(held.contains("kv-g0-2") && held.contains("held by replica 000000000000138a"), "{held}");

    server.silence();
    let response = successor.register(&mut client).await.unwrap();
    let Some(Plan::Join(join)) = response.plan else { panic!("{response:?}") };
    assert_eq!(join.group_uid, replicas[0].report().group_uid);
    let Plan::Serve(serve) = replicas[0].obey(&mut client).await else { panic!("the leader must serve") };
    assert_eq!(serve.candidates, [successor.describe()]);

    // The leader has admitted it.
    replicas[0].report().members[2] = successor.describe();
    let Plan::Serve(serve) = replicas[0].obey(&mut client).await else { panic!("the leader must serve") };
    assert!(serve.candidates.is_empty());
    assert_eq!(map(&mut client).await.groups[0].replicas[2], successor.describe());
    server.stop().await;
}

#[tokio::test]
async fn strangers_are_sent_away_by_name_and_reason() {
    let server = Server::start(settings(), MemoryStore::default()).await;
    let mut client = server.client().await;
    let replicas = found(&mut client).await;

    let mut other_cluster = replicas[1].clone();
    other_cluster.data.as_mut().unwrap().cluster += 1;
    let error = other_cluster.register(&mut client).await.unwrap_err();
    assert!(matches!(&error, Error::WrongIdentity(text) if text.contains("of cluster")), "{error}");

    let mut other_group = replicas[1].clone();
    other_group.report().group_uid += 1;
    let error = other_group.register(&mut client).await.unwrap_err();
    assert!(matches!(&error, Error::WrongIdentity(text) if text.contains("g0")), "{error}");

    let mut other_hash = replicas[1].clone();
    other_hash.report().hash = v1::Hash::Fnv1a as i32;
    let error = other_hash.register(&mut client).await.unwrap_err();
    assert!(matches!(&error, Error::InvalidArgument(text) if text.contains("12 shards by fnv1a")), "{error}");

    for group in [4096, u32::MAX] {
        let error = Replica::new(0, 0).successor();
        let error = Replica { group, ..error }.register(&mut client).await.unwrap_err();
        assert!(matches!(&error, Error::InvalidArgument(text) if text.contains("2 groups")), "{error}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_registration_is_refused_and_the_server_lives_on() {
    let server = Server::start(settings(), MemoryStore::default()).await;
    let mut client = server.client().await;
    let good = Replica::new(0, 0).registration();
    let broken = |change: fn(&mut v1::RegisterReplicaRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    let requests = [
        v1::RegisterReplicaRequest::default(),
        broken(|r| r.replica.as_mut().unwrap().id = 0),
        broken(|r| r.replica.as_mut().unwrap().server.clear()),
        broken(|r| r.replica.as_mut().unwrap().server = "x".repeat(100_000)),
        broken(|r| r.replica.as_mut().unwrap().client_address = "no port".into()),
        broken(|r| r.replica.as_mut().unwrap().peer_address = "host:99999".into()),
        broken(|r| r.report = Some(v1::GroupReport::default())),
        broken(|r| {
            r.cluster_id = 1;
            r.report = Some(v1::GroupReport { group_uid: 1, shards: SHARDS, ..v1::GroupReport::default() });
        }),
    ];
    for request in requests {
        let status = client.register_replica(request).await.unwrap_err();
        let error = Error::from_status(&status);
        assert!(matches!(&error, Some(Error::InvalidArgument(_))), "{error:?}");
    }
    let mut garbage = tokio::net::TcpStream::connect(&server.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut garbage, &[0xff; 4096]).await.unwrap();
    assert!(Replica::new(0, 0).register(&mut client).await.is_ok());
}

#[tokio::test]
async fn rival_managers_on_one_store_agree() {
    let store = MemoryStore::default();
    let (one, two) =
        (Server::start(settings(), store.clone()).await, Server::start(settings(), store.clone()).await);
    let mut at_one = one.client().await;
    let mut at_two = two.client().await;
    // The second manager was asked first, and knows of no record.
    Replica::new(0, 1).obey(&mut at_two).await;
    let mut replicas = found(&mut at_one).await;
    assert!(matches!(replicas[1].obey(&mut at_two).await, Plan::Serve(_)));
    // Both write: neither overwrites what the other knows.
    one.silence();
    two.silence();
    let (first, second) = (replicas[1].successor(), replicas[4].successor());
    first.register(&mut at_one).await.unwrap();
    second.register(&mut at_two).await.unwrap();
    let record = store.record().unwrap();
    let candidates: Vec<u64> = record.groups.values().flat_map(|g| &g.candidates).map(|c| c.id.0).collect();
    assert_eq!(candidates, [first.id, second.id]);
    let Plan::Serve(serve) = replicas[0].obey(&mut at_two).await else { panic!("the leader must serve") };
    assert_eq!(serve.candidates.len(), 1);
}

#[tokio::test]
async fn a_steady_state_writes_nothing() {
    let store = MemoryStore::default();
    let server = Server::start(settings(), store.clone()).await;
    let mut client = server.client().await;
    let mut replicas = found(&mut client).await;
    let writes = store.writes();
    for _ in 0..5 {
        for replica in &mut replicas {
            replica.obey(&mut client).await;
        }
    }
    assert_eq!(store.writes(), writes);
}
