//! The questions of clerks and people: the group of a key, the map, its history; and the metrics and
//! health of the process.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use shardmanager::http_routes;
use shardmanager::rules::{ALIVE, Settings};
use shardmanager::store::MemoryStore;
use skv_proto::lab::v1 as lab;
use skv_proto::lab::v1::shard_manager_client::ShardManagerClient as LabClient;
use skv_proto::v1::kv_client::KvClient;
use skv_proto::{Error, v1};
use skv_resource::NodePorts;
use skv_sharding::Hash;
use support::{Server, found, map, owners, settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

fn key(key: &str) -> v1::GetShardIndexRequest {
    v1::GetShardIndexRequest { key: key.as_bytes().to_vec().into() }
}

#[tokio::test]
async fn every_hash_finds_the_shard_of_a_key() {
    // foobar: fnv1 340d8765a4dda9c2 and fnv1a 85944171f73967e8, mod 12.
    for (hash, text, shard) in [
        (Hash::Fnv1, "foobar", 0x340d_8765_a4dd_a9c2_u64 % 12),
        (Hash::Fnv1a, "foobar", 0x8594_4171_f739_67e8_u64 % 12),
        (Hash::Integer, "-1", 11),
        (Hash::Integer, "123456789012345678901234567890", 6),
    ] {
        let server = Server::start(Settings { hash, ..settings() }, MemoryStore::default()).await;
        let mut client = server.client().await;
        let early = client.get_shard_index(key(text)).await.unwrap_err();
        assert!(matches!(Error::from_status(&early), Some(Error::Unavailable(_))), "{early}");
        found(&mut client).await;
        let found = client.get_shard_index(key(text)).await.unwrap().into_inner();
        assert_eq!((u64::from(found.shard), found.group), (shard, (shard % 2) as u32), "{hash} of {text}");
        let port = 5000 + found.group * 100;
        let members = [port, port + 1, port + 2].map(|port| format!("127.0.0.1:{port}"));
        assert_eq!((found.port, &found.addresses[..]), (port, &members[..]));
        let bad = client.get_shard_index(key("x")).await;
        match hash {
            Hash::Integer => {
                let error = Error::from_status(&bad.unwrap_err());
                assert!(matches!(&error, Some(Error::InvalidArgument(_))), "{error:?}");
            }
            _ => assert!(bad.is_ok()),
        }
    }
}

#[tokio::test]
async fn the_answer_leads_to_the_newest_leader() {
    let server = Server::start(settings(), MemoryStore::default()).await;
    let mut client = server.client().await;
    let mut replicas = found(&mut client).await;
    replicas[1].lead(5);
    replicas[1].obey(&mut client).await;
    // A deposed leader reports after it.
    replicas[0].lead(4);
    replicas[0].obey(&mut client).await;
    let keys = (0..100).map(|n| n.to_string());
    let mut answers = Vec::new();
    for text in keys {
        answers.push(client.get_shard_index(key(&text)).await.unwrap().into_inner());
    }
    let answer = answers.iter().find(|answer| answer.group == 0).unwrap();
    assert_eq!(answer.port, 5001);
    assert_eq!(answer.addresses, ["127.0.0.1:5001", "127.0.0.1:5000", "127.0.0.1:5002"]);
    let group = &map(&mut client).await.groups[0];
    assert_eq!((group.leader, group.leader_term), (5001, 5));
}

#[tokio::test]
async fn the_map_counts_the_shards_that_move_or_may_still_go() {
    let server = Server::start(settings(), MemoryStore::default()).await;
    let mut client = server.client().await;
    found(&mut client).await;
    assert_eq!(map(&mut client).await.moving, 0);
    let leave = v1::LeaveRequest { groups: vec![1], ..Default::default() };
    let left = client.leave(leave).await.unwrap().into_inner();
    let moving = left.moves.len() as u32;
    assert!(moving > 0);
    assert_eq!(map(&mut client).await.moving, moving);
    // The leave is taken back: but their group may have given them away.
    let join = v1::JoinRequest { groups: vec![1], ..Default::default() };
    client.join(join).await.unwrap();
    assert!(map(&mut client).await.moving >= moving, "none has arrived, and each may still go");
}

#[tokio::test]
async fn a_group_with_a_node_port_is_known_by_it() {
    let node_ports = Some(NodePorts { first: 30_400 });
    let server = Server::start_with(settings(), MemoryStore::default(), node_ports).await;
    let mut client = server.client().await;
    found(&mut client).await;
    let mut lab = LabClient::connect(format!("http://{}", server.address)).await.unwrap();
    let mut ports = BTreeSet::new();
    for text in (0..100).map(|n| n.to_string()) {
        let found = client.get_shard_index(key(&text)).await.unwrap().into_inner();
        assert_eq!(found.port, 30_401 + found.group, "{text}");
        let asked = lab::GetShardIndexRequest { key: text.clone() };
        assert_eq!(lab.get_shard_index(asked).await.unwrap().into_inner().port, found.port, "{text}");
        ports.insert(found.port);
    }
    assert_eq!(ports, [30_401, 30_402].into());
}

#[tokio::test]
async fn a_watch_sends_the_map_now_and_after_every_change_and_can_be_resumed() {
    let server = Server::start(settings(), MemoryStore::default()).await;
    let mut client = server.client().await;
    let watch = |after_revision| v1::WatchShardMapRequest { after_revision };
    let mut early = client.watch_shard_map(watch(0)).await.unwrap().into_inner();
    let mut replicas = found(&mut client).await;
    let first = early.message().await.unwrap().unwrap();
    assert!(first.revision <= 2, "it was founded under 1, and has leaders under 2: {first:?}");

    let mut resumed = client.watch_shard_map(watch(2)).await.unwrap().into_inner();
    let mut ahead = client.watch_shard_map(watch(70)).await.unwrap().into_inner();
    assert_eq!(ahead.message().await.unwrap().unwrap().revision, 2, "known from a record that was lost");
    replicas[4].port = 6000;
    replicas[4].obey(&mut client).await;
    let next = resumed.message().await.unwrap().unwrap();
    assert_eq!((next.revision, &*next.groups[1].replicas[1].client_address), (3, "127.0.0.1:6000"));
    // The map names a new leader too.
    replicas[2].lead(7);
    replicas[2].obey(&mut client).await;
    let next = resumed.message().await.unwrap().unwrap();
    assert_eq!((next.revision, next.groups[0].leader, next.groups[0].leader_term), (3, replicas[2].id, 7));
    // A watch that nobody reads gets the newest map only, and watches end when the manager stops.
    let (mut left, mut last) = (0, None);
    server.stop().await;
    while let Some(map) = early.message().await.unwrap() {
        (left, last) = (left + 1, Some(map));
    }
    assert!(left <= 16 && last.is_none_or(|map| map == next));
    assert!(resumed.message().await.unwrap().is_none());
}

#[tokio::test]
async fn the_map_tells_which_groups_lack_room_by_the_word_of_their_leaders() {
    let server = Server::start(settings(), MemoryStore::default()).await;
    let mut client = server.client().await;
    let mut replicas = found(&mut client).await;
    let full = async |client: &mut _| {
        let groups = map(client).await.groups;
        groups.iter().map(|group| (group.disk_full, group.memory_full)).collect::<Vec<_>>()
    };
    assert_eq!(full(&mut client).await, [(false, false); 2]);
    replicas[2].lead(7);
    (replicas[2].report().disk_full, replicas[2].report().memory_full) = (false, true);
    replicas[2].obey(&mut client).await;
    assert_eq!(full(&mut client).await, [(false, true), (false, false)]);

    // A leader from before, and one that follows, tell nothing.
    replicas[0].lead(6);
    replicas[0].obey(&mut client).await;
    replicas[1].report().disk_full = true;
    replicas[1].obey(&mut client).await;
    assert_eq!(full(&mut client).await, [(false, true), (false, false)]);
    (replicas[2].report().disk_full, replicas[2].report().memory_full) = (true, false);
    replicas[2].obey(&mut client).await;
    assert_eq!(full(&mut client).await, [(true, false), (false, false)]);
    replicas[2].report().disk_full = false;
    replicas[2].obey(&mut client).await;
    assert_eq!(full(&mut client).await, [(false, false); 2]);
}

#[tokio::test]
async fn every_configuration_can_be_queried() {
    let server = Server::start(settings(), MemoryStore::default()).await;
    let mut client = server.client().await;
    let early = client.query(v1::QueryRequest { number: Some(0) }).await.unwrap_err();
    assert!(matches!(Error::from_status(&early), Some(Error::Unavailable(_))), "{early}");
    found(&mut client).await;
    let none = client.query(v1::QueryRequest { number: Some(0) }).await.unwrap().into_inner();
    assert_eq!(none, v1::Configuration::default());
    let first = client.query(v1::QueryRequest { number: Some(1) }).await.unwrap().into_inner();
    assert_eq!((first.number, &first.groups[..]), (1, &[0, 1][..]));
    assert_eq!(owners(&first.ranges), owners(&map(&mut client).await.ranges));
    assert_eq!(client.query(v1::QueryRequest { number: None }).await.unwrap().into_inner(), first);
    let later = client.query(v1::QueryRequest { number: Some(2) }).await.unwrap_err();
    assert!(matches!(Error::from_status(&later), Some(Error::InvalidArgument(_))), "{later}");
}

#[tokio::test]
async fn a_change_makes_the_next_configuration_and_a_wrong_one_is_refused() {
    let server = Server::start(settings(), MemoryStore::default()).await;
    let mut client = server.client().await;
    let early = client.unpin(v1::UnpinRequest::default()).await.unwrap_err();
    assert!(matches!(Error::from_status(&early), Some(Error::Unavailable(_))), "{early}");
    let mut replicas = found(&mut client).await;
    let moved = v1::MoveRequest { shard: 0, group: 1, request_id: "move".into(), dry_run: false };
    let rehearsal = v1::MoveRequest { dry_run: true, ..moved.clone() };
    let rehearsed = client.r#move(rehearsal).await.unwrap().into_inner();
    assert_eq!(rehearsed.moves[0], v1::PlannedMove { shard: 0, source: 0, target: 1 });
    let newest = client.query(v1::QueryRequest { number: None }).await.unwrap().into_inner();
    assert_eq!((newest.number, rehearsed.configuration), (1, 2), "a rehearsal changes nothing");
    for _ in 0..2 {
        let changed = client.r#move(moved.clone()).await.unwrap().into_inner();
        assert_eq!(changed.configuration, 2);
    }
    let newest = client.query(v1::QueryRequest { number: None }).await.unwrap().into_inner();
    assert_eq!((newest.number, owners(&newest.ranges)[0]), (2, 1));
    assert_eq!(owners(&map(&mut client).await.ranges)[0], 0, "until the groups have moved it");
    let strange = v1::JoinRequest { groups: vec![9], ..Default::default() };
    let unheard = client.join(strange.clone()).await.unwrap_err();
    assert!(matches!(Error::from_status(&unheard), Some(Error::Unavailable(_))), "{unheard}");
    // From now on a group that exists would have registered.
    for _ in 0..=ALIVE.as_secs() {
        server.wait(Duration::from_secs(1));
        replicas[0].obey(&mut client).await;
    }
    let unknown = client.join(strange).await;
    let last = client.leave(v1::LeaveRequest { groups: vec![0, 1], ..Default::default() }).await;
    let beyond = client.unpin(v1::UnpinRequest { shard: 9999, ..Default::default() }).await;
    for refused in [unknown.unwrap_err(), last.unwrap_err(), beyond.unwrap_err()] {
        assert!(matches!(Error::from_status(&refused), Some(Error::InvalidArgument(_))), "{refused}");
    }
}

#[tokio::test]
async fn the_health_service_tells_whether_the_manager_can_be_used() {
    let server = Server::start(settings(), MemoryStore::default()).await;
    let channel =
        Endpoint::from_shared(format!("http://{}", server.address)).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    let mut watches = Vec::new();
    for service in ["", "shardedkv.v1.ShardManager"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        watches.push(health.watch(request).await.unwrap().into_inner());
    }
    for watch in &mut watches {
        let mut told = watch.message().await.unwrap().unwrap().status();
        if told == ServingStatus::NotServing {
            told = watch.message().await.unwrap().unwrap().status();
        }
        assert_eq!(told, ServingStatus::Serving);
    }
    server.manager.stop();
    for watch in &mut watches {
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    }
}

/// Returns the services that a manager lists, by the version of reflection that a macro's argument names.
macro_rules! listed {
    ($version:ident, $channel:expr) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        let message_request = Some(MessageRequest::ListServices(String::new()));
        let request = ServerReflectionRequest { host: String::new(), message_request };
        let mut reflection = ServerReflectionClient::new($channel);
        let answers = reflection.server_reflection_info(tokio_stream::iter([request])).await.unwrap();
        let answer = answers.into_inner().message().await.unwrap().unwrap().message_response;
        let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
        list.service.into_iter().map(|service| service.name).collect::<BTreeSet<_>>()
    }};
}

#[tokio::test]
async fn both_versions_of_reflection_list_what_is_served_and_nothing_else() {
    let server = Server::start(settings(), MemoryStore::default()).await;
    let channel =
        Endpoint::from_shared(format!("http://{}", server.address)).unwrap().connect().await.unwrap();
    let services = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "shardedkv.lab.v1.ShardManager",
        "shardedkv.v1.ShardManager",
    ];
    let services: BTreeSet<String> = services.into_iter().map(str::to_owned).collect();
    assert_eq!(listed!(v1, channel.clone()), services);
    assert_eq!(listed!(v1alpha, channel.clone()), services);
    let refused = KvClient::new(channel).get(v1::GetRequest::default()).await.unwrap_err();
    assert!(refused.message().contains("this port serves grpc.health.v1.Health, shardedkv.lab"), "{refused}");
}

async fn http_get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_http_side_tells_how_it_is() {
    let server = Server::start(settings(), MemoryStore::default()).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = http_routes(server.manager.clone());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });

    assert!(http_get(address, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(http_get(address, "/readyz").await.starts_with("HTTP/1.1 200"), "ready for registrations");
    found(&mut server.client().await).await;
    let metrics = http_get(address, "/metrics").await;
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
    for line in [
        "shardmanager_map_revision 2\n",
        "shardmanager_configuration 1\n",
        "shardmanager_groups 2\n",
        "shardmanager_store_up 1\n",
        "shardmanager_store_writes_total 2\n",
        "shardmanager_registrations_total{answer=\"wait\"} 5\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    server.manager.stop();
    assert!(http_get(address, "/readyz").await.starts_with("HTTP/1.1 503"), "stopping");
}
