//! The services of the labs: the place of a key follows from its hash alone, and any server answers
//! clients that know text and ports only.

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream};
use skv_client::Clerk;
use skv_process::{Cluster, Settings, eventually};
use skv_proto::Error;
use skv_proto::lab::v1::kv_server_client::KvServerClient;
use skv_proto::lab::v1::shard_manager_client::ShardManagerClient;
use skv_proto::lab::v1::{AppendRequest, GetRequest, GetShardIndexRequest, PutRequest};
use skv_sharding::fnv1;
use tonic::transport::Channel;

const KEYS: usize = 10_000;
/// The number of calls that are under way at a time.
const AT_ONCE: usize = 64;

fn keys() -> impl Iterator<Item = String> {
    (0..KEYS).map(|number| format!("K{number}"))
}

/// Returns the settings of deploy/samples/lab-static.yaml.
fn lab_static(groups: u32) -> Settings {
    let settings = Settings { groups, first_groups: Some(2), shards: 60, ..Settings::default() };
    Settings { manager_flags: vec!["--policy=modulo".to_owned(), "--hash=fnv1".to_owned()], ..settings }
}

async fn connect(address: &str) -> KvServerClient<Channel> {
    KvServerClient::connect(format!("http://{address}")).await.expect("the server listens")
}

async fn get(server: &mut KvServerClient<Channel>, key: &str) -> String {
    let answer = server.get(GetRequest { key: key.to_owned() }).await;
    answer.expect("a value").into_inner().value
}

async fn put(server: &mut KvServerClient<Channel>, key: &str, value: &str) -> bool {
    let answer = server.put(PutRequest { key: key.to_owned(), value: value.to_owned() }).await;
    answer.expect("an answer").into_inner().success
}

async fn append(server: &mut KvServerClient<Channel>, key: &str, args: &str) -> String {
    let answer = server.append(AppendRequest { key: key.to_owned(), args: args.to_owned() }).await;
    answer.expect("the old value").into_inner().old_value
}

/// Returns the group that each key's port belongs to.
async fn groups_by_port(cluster: &Cluster) -> BTreeMap<String, u32> {
    let ports: BTreeMap<u32, u32> = cluster
        .servers
        .iter()
        .map(|server| {
            let (_, port) = server.client_address.rsplit_once(':').expect("an address has a port");
            (port.parse().expect("a port is a number"), server.groups[0])
        })
        .collect();
    let manager = ShardManagerClient::connect(format!("http://{}", cluster.manager_address)).await;
    let manager = manager.expect("the shard manager listens");
    let asked = keys().map(|key| {
        let mut manager = manager.clone();
        async move {
            let answer = manager.get_shard_index(GetShardIndexRequest { key: key.clone() }).await;
            (key, answer.expect("a port").into_inner().port)
        }
    });
    let answers: Vec<_> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
    answers.into_iter().map(|(key, port)| (key, ports[&port])).collect()
}

/// Asserts that each key is where its hash says, and that no group has another's.
async fn is_divided_by_hash(cluster: &Cluster, groups: u32) {
    let of = |key: &str| (fnv1(key.as_bytes()) % u64::from(groups)) as u32;
    for (key, group) in groups_by_port(cluster).await {
        assert_eq!(group, of(&key), "{key} with {groups} groups");
    }
    for group in 0..groups {
        let expected = keys().filter(|key| of(key) == group).count() as u64;
        for server in cluster.servers.iter().filter(|server| server.hosts(group)) {
            // Followers apply a little later, and the data of a shard that was given away is freed little by little.
            eventually(&format!("{} has its {expected} keys and no others", server.name), || async {
                (server.replica().await?.keys == expected).then_some(())
            })
            .await;
        }
    }
}

async fn put_all(clerk: &Clerk) {
    let puts = keys().map(|key| {
        let clerk = clerk.clone();
        async move { clerk.put(key.clone(), key).await.expect("a put") }
    });
    stream::iter(puts).buffer_unordered(AT_ONCE).for_each(|_| async {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_keys_are_where_their_hash_says_with_two_groups_and_with_three() {
    let cluster = Cluster::start(lab_static(3)).await;
    cluster.founded(3).await;
    put_all(&cluster.clerk()).await;
    is_divided_by_hash(&cluster, 2).await;
    cluster.changes().join(&[2]).await;
    cluster.settled(&[20, 20, 20]).await;
    is_divided_by_hash(&cluster, 3).await;
    let mut any = connect(&cluster.servers[0].client_address).await;
    for key in keys().step_by(1000) {
        assert_eq!(get(&mut any, &key).await, key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_server_of_every_group_answers_for_every_key() {
    let cluster = Cluster::start(lab_static(2)).await;
    for server in &cluster.servers {
        let mut asked = connect(&server.client_address).await;
        // Some of them are its own, others aren't.
        for number in 0..10 {
            let key = format!("{}-{number}", server.name);
            assert_eq!(get(&mut asked, &key).await, "", "a key that isn't there reads as \"\"");
            assert_eq!(append(&mut asked, &key, "1").await, "");
            assert_eq!(append(&mut asked, &key, "2").await, "1");
            assert!(put(&mut asked, &key, "5").await);
            assert_eq!(append(&mut asked, &key, "3").await, "5");
        }
        for other in &cluster.servers {
            let mut other = connect(&other.client_address).await;
            assert_eq!(get(&mut other, &format!("{}-0", server.name)).await, "53");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_of_the_three_servers_of_one_group_may_be_asked() {
    let cluster = Cluster::start(Settings::default()).await;
    let mut expected = String::new();
    for round in 0..3 {
        for server in &cluster.servers {
            let mut asked = connect(&server.client_address).await;
            let number = round.to_string();
            assert_eq!(append(&mut asked, "K1", &number).await, expected, "{}", server.name);
            expected.push_str(&number);
            assert_eq!(get(&mut asked, "K1").await, expected, "{}", server.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_no_text_is_told_as_a_typed_error() {
    let cluster = Cluster::start(Settings { replicas: 1, ..Settings::default() }).await;
    let clerk = cluster.clerk();
    clerk.put("K1", vec![0xff_u8]).await.expect("a put");
    let mut server = connect(&cluster.servers[0].client_address).await;

    let refused = server.get(GetRequest { key: "K1".to_owned() }).await.expect_err("it can't be told");
    let typed = Error::from_status(&refused);
    assert!(matches!(&typed, Some(Error::InvalidArgument(text)) if text.contains("UTF-8")), "{refused:?}");

    let request = AppendRequest { key: "K1".to_owned(), args: "a".to_owned() };
    let told = server.append(request).await.expect_err("the old value can't be told");
    let now = clerk.get("K1").await.expect("a value");
    assert_eq!(now.value, &b"\xffa"[..], "appended once");
    assert_eq!(Error::from_status(&told), Some(Error::AlreadyApplied { revision: now.revision }));
    assert!(told.message().contains("UTF-8"), "{told:?}");

    let refused = server.get(GetRequest { key: String::new() }).await.expect_err("the key is empty");
    assert!(matches!(Error::from_status(&refused), Some(Error::InvalidArgument(_))), "{refused:?}");
}
