//! The description that a server gives to tools that know nothing of it: health, reflection, and the
//! reason why a call isn't served.

use std::collections::BTreeSet;

use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::cluster::{Cluster, until};
use skv_proto::v1;
use skv_proto::v1::kv_client::KvClient;
use skv_proto::v1::shard_manager_client::ShardManagerClient;

async fn channel(url: String) -> Channel {
    Channel::from_shared(url).unwrap().connect().await.unwrap()
}

fn ask(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_of_the_whole_is_that_of_what_users_want_and_watchers_hear_of_changes() {
    let cluster = Cluster::start().await;
    let health = HealthClient::new(channel(cluster.client_url(0)).await);
    let is = |service: &'static str, expected| {
        let mut health = health.clone();
        async move { health.check(ask(service)).await.unwrap().into_inner().status() == expected }
    };
    let mut watch = health.clone().watch(ask("")).await.unwrap().into_inner();
    for service in ["", "shardedkv.v1.Kv"] {
        until("it serves", || is(service, ServingStatus::Serving)).await;
    }
    cluster.stop(1);
    cluster.stop(2);
    for service in ["", "shardedkv.v1.Kv"] {
        until("it doesn't serve without a quorum", || is(service, ServingStatus::NotServing)).await;
    }
    let mut told = Vec::new();
    while told.last() != Some(&ServingStatus::NotServing) || !told.contains(&ServingStatus::Serving) {
        told.push(watch.message().await.unwrap().unwrap().status());
    }
    assert!(told.windows(2).all(|two| two[0] != two[1]), "{told:?}");
}

/// Returns the services that a port lists, by the version of reflection that a macro's argument names.
macro_rules! listed {
    ($version:ident, $url:expr) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        let mut reflection = ServerReflectionClient::new(channel($url).await);
        let message_request = Some(MessageRequest::ListServices(String::new()));
        let request = ServerReflectionRequest { host: String::new(), message_request };
        let answers = reflection.server_reflection_info(tokio_stream::iter([request])).await.unwrap();
        let answer = answers.into_inner().message().await.unwrap().unwrap().message_response;
        let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
        list.service.into_iter().map(|service| service.name).collect::<BTreeSet<_>>()
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_reflection_list_what_a_port_serves_and_nothing_else() {
    let cluster = Cluster::start().await;
    let reflection = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
    let for_users = ["shardedkv.v1.Kv", "shardedkv.lab.v1.KvServer", "grpc.health.v1.Health"];
    let for_servers = ["shardedkv.v1.Raft", "shardedkv.v1.Handoff", "shardedkv.v1.Admin"];
    for (url, services) in [(cluster.client_url(0), for_users), (cluster.peer_url(0), for_servers)] {
        let expected: BTreeSet<String> = services.into_iter().chain(reflection).map(str::to_owned).collect();
        assert_eq!(listed!(v1, url.clone()), expected);
        assert_eq!(listed!(v1alpha, url), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_isnt_served_says_what_is() {
    let cluster = Cluster::start().await;
    let mut manager = ShardManagerClient::new(channel(cluster.client_url(0)).await);
    let refused = manager.get_shard_map(v1::GetShardMapRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
    let text = refused.message();
    assert!(text.starts_with("/shardedkv.v1.ShardManager/GetShardMap isn't served here"), "{text}");
    assert!(text.contains("shardedkv.v1.Kv"), "{text}");
    let mut kv = KvClient::new(channel(cluster.peer_url(0)).await);
    let refused = kv.get(v1::GetRequest::default()).await.unwrap_err();
    assert!(refused.message().contains("this port serves shardedkv.v1.Raft"), "{refused}");
}
