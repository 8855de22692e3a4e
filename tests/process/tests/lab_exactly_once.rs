//! The key/value course's seven tests, by behaviour: one server, then a net that loses, doubles,
//! delays and reorders messages, then a static ring in which a server refuses keys that it hasn't.
//!
//! `docs/labs/exactly-once.md` goes through them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use skv_checker::Outcome;
use skv_client::{Clerk, Error, Options, Transport};
use skv_fake::Fake;
use skv_process::{
    Client, Cluster, Faults, Recorder, Settings, assert_linearizable, assert_none_failed, eventually,
    http_get,
};
use skv_proto::v1::kv_client::KvClient;
use skv_proto::v1::{GetRequest, PutRequest, ShardMap};
use tokio::task::JoinSet;

const TRANSPORTS: [Transport; 2] = [Transport::Stream, Transport::Unary];

/// Returns the options of a clerk that soon repeats an unanswered call, and gives up only when a
/// test has failed.
fn quick_to_retry(options: Options) -> Options {
    let mut options = options;
    options.attempt_timeout = Duration::from_millis(100);
    options.deadline = Duration::from_mins(1);
    options
}

fn retrying(cluster: &Cluster) -> Clerk {
    Clerk::connect(quick_to_retry(cluster.clerk_options())).expect("the options are right")
}

/// Starts one server, and a net in front of it.
async fn one_server() -> Cluster {
    Cluster::start(Settings { net: true, ..Settings::ring(1, 1) }).await
}

async fn text(clerk: &Clerk, key: &str) -> String {
    let got = clerk.get(key.to_owned()).await.expect("a get");
    String::from_utf8(got.value.to_vec()).expect("the tests write text")
}

/// Appends, and returns the value before.
async fn append(clerk: &Clerk, key: &str, args: &str) -> String {
    let answer = clerk.append(key.to_owned(), args.to_owned()).await.expect("an append");
    String::from_utf8(answer.old_value.to_vec()).expect("the tests write text")
}

/// Has each client append tokens to the keys in turn, and read; then reads every key once more.
/// No call may fail, and the history must be proven right: so each token stands in its key's
/// value once, and those of a client in their order.
async fn clients_append(cluster: &Cluster, clients: u64, rounds: usize, keys: &[&'static str]) {
    let recorder = Recorder::new();
    let mut tasks = JoinSet::new();
    for id in 0..clients {
        let mut client = Client::new(id, retrying(cluster), &recorder);
        let keys = keys.to_owned();
        tasks.spawn(async move {
            // Each client begins with another key.
            for key in keys.iter().cycle().skip(id as usize).take(rounds) {
                client.append_token(key).await;
                client.get(key).await;
            }
        });
    }
    while let Some(client) = tasks.join_next().await {
        client.expect("a client doesn't panic");
    }
    cluster.net().set(Faults::NONE);
    let clerk = retrying(cluster);
    let reader = Client::new(clients, clerk.clone(), &recorder);
    let mut tokens = 0;
    for key in keys {
        assert_eq!(reader.get(key).await, Outcome::Ok);
        tokens += text(&clerk, key).await.matches(';').count();
    }
    let events = recorder.events();
    assert_none_failed(&events);
    assert_linearizable(&events);
    assert_eq!(tokens as u64, clients * rounds as u64);
}

/// Panics unless the net had every fault that it can have, and clerks made up for it.
#[track_caller]
fn assert_unreliable(cluster: &Cluster) {
    let counts = cluster.net().counts();
    eprintln!("{counts:?}");
    for passed in [counts.requests, counts.replies] {
        assert!(passed.lost > 0 && passed.doubled > 0 && passed.late > 0, "{counts:?}");
    }
    assert!(counts.sent_again > 0, "{counts:?}");
    // Only streams have an order.
    assert!(counts.streams == 0 || counts.requests.overtaken + counts.replies.overtaken > 0, "{counts:?}");
}

// Basic: one client.

#[tokio::test(flavor = "multi_thread")]
async fn basic_one_client_puts_appends_and_gets() {
    let cluster = one_server().await;
    let clerk = cluster.clerk();
    assert_eq!(text(&clerk, "1").await, "", "a missing key reads as empty");
    assert_eq!(append(&clerk, "1", "a").await, "", "a missing key counts as empty");
    assert_eq!(append(&clerk, "1", "b").await, "a", "an append answers the value before");
    assert_eq!(text(&clerk, "1").await, "ab");
    clerk.put("1", "c").await.expect("a put");
    assert_eq!(append(&clerk, "1", "d").await, "c", "a put replaces");
    assert_eq!(text(&clerk, "1").await, "cd");
    assert_eq!(text(&clerk, "2").await, "", "another key is another one");
}

// Concurrent: many clients.

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_many_clients_append_each_token_once_and_in_order() {
    let cluster = one_server().await;
    clients_append(&cluster, 10, 30, &["0", "1", "2"]).await;
    assert_eq!(cluster.net().counts().requests.lost, 0);
}

// Unreliable: one client, messages get lost.

#[tokio::test(flavor = "multi_thread")]
async fn unreliable_one_client_sees_each_call_take_effect_once() {
    for transport in TRANSPORTS {
        let cluster = one_server().await;
        let mut options = quick_to_retry(cluster.clerk_options());
        options.transport = transport;
        let clerk = Clerk::connect(options).expect("the options are right");
        cluster.net().set(Faults::UNRELIABLE);
        let mut expected = String::new();
        for number in 0..80 {
            let token = format!("{number};");
            assert_eq!(append(&clerk, "1", &token).await, expected, "{transport:?}");
            expected += &token;
            if number % 10 == 9 {
                expected = format!("put {number};");
                clerk.put("1", expected.clone()).await.expect("a put");
            }
            assert_eq!(text(&clerk, "1").await, expected, "{transport:?}");
        }
        assert_unreliable(&cluster);
        // Each request says that the answers of all before it have come: a server keeps one
        // answer for this clerk, however many calls it has made.
        assert_eq!(cluster.net().counts().most_open, 1);
    }
}

// Unreliable one key: many clients, messages get lost.

#[tokio::test(flavor = "multi_thread")]
async fn unreliable_one_key_many_clients_append_each_token_once_and_in_order() {
    let cluster = one_server().await;
    cluster.net().set(Faults::UNRELIABLE);
    clients_append(&cluster, 10, 20, &["1"]).await;
    assert_unreliable(&cluster);
}

/// Calls of one clerk in flight at the same time may take effect in any order, but once each.
#[tokio::test(flavor = "multi_thread")]
async fn unreliable_many_calls_in_flight_of_one_clerk_take_effect_once_each() {
    let cluster = one_server().await;
    cluster.net().set(Faults::UNRELIABLE);
    let clerk = retrying(&cluster);
    let appends = (0..300).map(|number| {
        let clerk = &clerk;
        async move {
            let token = format!("<{number}>");
            (append(clerk, "1", &token).await, token)
        }
    });
    let appended = join_all(appends).await;
    let value = text(&clerk, "1").await;
    for (before, token) in &appended {
        assert!(value.starts_with(&format!("{before}{token}")), "{token} isn't after what it was told");
    }
    assert_eq!(
        value.len(),
        appended.iter().map(|(_, token)| token.len()).sum::<usize>(),
        "each once: {value}"
    );
    assert_unreliable(&cluster);
    assert!(cluster.net().counts().most_open > 1);
}

/// An answer of a stream gets lost, the stream and its other answers don't; a repeated call gets
/// the answer that was lost.
#[tokio::test(flavor = "multi_thread")]
async fn one_lost_answer_of_a_stream_is_given_again_to_the_resent_request() {
    let cluster = one_server().await;
    let clerk = retrying(&cluster);
    let before = clerk.put("1", "a").await.expect("a put").revision;
    let counts = cluster.net().counts();

    cluster.net().lose_next_reply_to("1");
    let others = (2..50).map(|key| clerk.append(key.to_string(), "x"));
    let (answer, others) = tokio::join!(clerk.append("1", "b"), join_all(others));
    let answer = answer.expect("an append");
    assert!(others.iter().all(Result::is_ok), "{others:?}");
    assert_eq!((&answer.old_value[..], answer.found), (&b"a"[..], true));
    assert!(answer.revision > before);
    let got = clerk.get("1").await.expect("a get");
    assert_eq!((&got.value[..], got.revision), (&b"ab"[..], answer.revision), "it was applied once");

    let after = cluster.net().counts();
    assert_eq!(after.replies.lost - counts.replies.lost, 1);
    assert_eq!(after.streams, counts.streams, "the stream lives");
    assert!(after.sent_again > counts.sent_again);
}

// Static shards: a ring.

/// Returns the servers of a ring that have a shard.
fn holders(shard: u32, servers: u32, replicas: u32) -> BTreeSet<u32> {
    (0..replicas).map(|step| (shard + step) % servers).collect()
}

/// Returns the number of keys that the tests write to each shard: more to those of higher number.
fn keys_of(shard: u32, shards: u32) -> Vec<u32> {
    (0..10 + shard).map(|index| index * shards + shard).collect()
}

async fn put_all(clerk: &Clerk, shards: u32) {
    for key in (0..shards).flat_map(|shard| keys_of(shard, shards)) {
        clerk.put(key.to_string(), format!("value {key}")).await.expect("a put");
    }
}

/// Returns the number of keys that each server has of each shard, as the servers report it.
async fn held(cluster: &Cluster) -> Vec<BTreeMap<u32, u64>> {
    let mut held = Vec::new();
    for server in &cluster.servers {
        let mut keys = BTreeMap::new();
        for &group in &server.groups {
            let replica = server.replica_of(group).await.expect("the server answers");
            keys.insert(group, replica.keys);
        }
        held.push(keys);
    }
    held
}

/// Returns the keys that answer, of any number that are asked together.
async fn answering(clerk: &Clerk, keys: impl Iterator<Item = u32>) -> BTreeSet<u32> {
    let gets = keys.map(|key| async move {
        let got = clerk.get(key.to_string()).await.ok()?;
        assert_eq!(got.value, format!("value {key}").as_bytes());
        Some(key)
    });
    join_all(gets).await.into_iter().flatten().collect()
}

/// Asserts that in a ring each server has exactly the keys of its shards; and when some servers are
/// stopped, exactly those shards answer of which a majority of servers is left.
async fn static_shards(servers: u32, replicas: u32, stopped: &[u32]) {
    let mut cluster = Cluster::start(Settings::ring(servers, replicas)).await;
    put_all(&cluster.clerk(), servers).await;
    let expected: Vec<BTreeMap<u32, u64>> = (0..servers)
        .map(|server| {
            (0..servers)
                .filter(|shard| holders(*shard, servers, replicas).contains(&server))
                .map(|shard| (shard, keys_of(shard, servers).len() as u64))
                .collect()
        })
        .collect();
    eventually("each server has the keys of its shards, and no others", || async {
        (held(&cluster).await == expected).then_some(())
    })
    .await;

    for &server in stopped {
        let status = cluster.servers[server as usize].process.stop().await;
        assert!(status.success(), "{status}");
    }
    let alive = |shard: &u32| {
        let left = holders(*shard, servers, replicas).into_iter().filter(|server| !stopped.contains(server));
        2 * left.count() > replicas as usize
    };
    let expected: BTreeSet<u32> =
        (0..servers).filter(alive).flat_map(|shard| keys_of(shard, servers)).collect();
    let all: Vec<u32> = (0..servers).flat_map(|shard| keys_of(shard, servers)).collect();
    assert!(!expected.is_empty() && expected.len() < all.len());
    // Keys that can answer do, also to a clerk that doesn't know which servers are gone.
    let patient = retrying(&cluster);
    assert_eq!(answering(&patient, expected.iter().copied()).await, expected);
    let mut options = cluster.clerk_options();
    options.deadline = Duration::from_secs(2);
    let hasty = Clerk::connect(options).expect("the options are right");
    let silent = all.into_iter().filter(|key| !expected.contains(key));
    assert_eq!(answering(&hasty, silent).await, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn static_shards_three_ways_without_copies() {
    static_shards(3, 1, &[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn static_shards_three_ways_with_a_copy_on_every_server() {
    let cluster = Cluster::start(Settings::ring(3, 3)).await;
    put_all(&cluster.clerk(), 3).await;
    let all: BTreeMap<u32, u64> = (0..3).map(|shard| (shard, keys_of(shard, 3).len() as u64)).collect();
    eventually("each server has the keys of all shards", || async {
        (held(&cluster).await == vec![all.clone(); 3]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn static_shards_around_a_ring_of_five_with_three_copies() {
    static_shards(5, 3, &[1, 2]).await;
}

// Rejection: a server refuses the keys that it doesn't hold.

/// A ring in which each server has two of four shards.
const SERVERS: u32 = 4;
const REPLICAS: u32 = 2;

/// Returns the number of refusals of keys as another group's.
async fn refused(cluster: &Cluster) -> u64 {
    let mut refusals = 0;
    for server in &cluster.servers {
        let (_, page) = http_get(&server.http_address, "/metrics").await.expect("a page");
        let mut counts = page.lines().filter(|line| line.contains("operations_failed"));
        let count = counts.find(|line| line.contains("WRONG_GROUP")).and_then(|line| line.split(' ').nth(1));
        refusals += count.map_or(0, |count| count.parse::<u64>().expect("a number"));
    }
    refusals
}

/// Returns the map with every shard in the group at the other side of the ring, none of whose
/// servers has it.
fn forged(map: &ShardMap, epoch: impl Fn(u64) -> u64) -> ShardMap {
    let mut map = map.clone();
    for range in &mut map.ranges {
        assert_eq!(range.count, 1, "each group has one shard");
        range.group = (range.group + SERVERS / 2) % SERVERS;
        range.epoch = epoch(range.epoch);
    }
    map
}

/// Makes a clerk that gets this map from its shard manager.
fn misled(map: ShardMap) -> (Clerk, Fake) {
    let mut fake = Fake::group(1, SERVERS);
    fake.publish(map);
    let mut options = Options::manager([fake.manager()]);
    options.deadline = Duration::from_secs(5);
    // On a busy machine an answer takes its time. Without one in time the outcome were unknown;
    // without a connection, a server with better knowledge would be asked to pass the call on.
    (options.attempt_timeout, options.connect_timeout) = (options.deadline, options.deadline);
    (Clerk::connect(options).expect("the options are right"), fake)
}

#[tokio::test(flavor = "multi_thread")]
async fn rejection_a_server_refuses_keys_that_it_does_not_hold() {
    let cluster = Cluster::start(Settings::ring(SERVERS, REPLICAS)).await;
    put_all(&cluster.clerk(), SERVERS).await;
    for (index, server) in (0..).zip(&cluster.servers) {
        let address = format!("http://{}", server.client_address);
        let mut kv = KvClient::connect(address).await.expect("the server answers");
        for shard in 0..SERVERS {
            let key = shard.to_string();
            let get = kv.get(GetRequest { key: key.clone().into(), direct: true, ..GetRequest::default() });
            let get = get.await.map_err(|status| skv_proto::Error::from_status(&status));
            let put =
                PutRequest { key: key.into(), value: "forged".into(), direct: true, ..PutRequest::default() };
            if holders(shard, SERVERS, REPLICAS).contains(&index) {
                // Servers that don't lead, or miss their quorum just now, say so.
                let refused = matches!(get, Err(Some(skv_proto::Error::WrongGroup { .. })));
                assert!(!refused, "server {index} holds shard {shard}: {get:?}");
                continue;
            }
            let put = kv.put(put).await.map(|_| ()).map_err(|s| skv_proto::Error::from_status(&s));
            for refusal in [get.map(|_| ()), put] {
                let Err(Some(skv_proto::Error::WrongGroup { owner: Some(owner), .. })) = refusal else {
                    panic!("server {index} has to refuse shard {shard}, and to name its owner: {refusal:?}");
                };
                assert_eq!(owner.group.0, shard);
            }
        }
    }
    let all = (0..SERVERS).flat_map(|shard| keys_of(shard, SERVERS));
    assert_eq!(answering(&cluster.clerk(), all.clone()).await, all.collect(), "nothing changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn rejection_a_clerk_with_an_old_map_is_refused_and_finds_the_right_servers() {
    let cluster = Cluster::start(Settings::ring(SERVERS, REPLICAS)).await;
    put_all(&cluster.clerk(), SERVERS).await;
    let before = held(&cluster).await;
    let old = forged(&cluster.shard_map().await.expect("a map"), |_| 0);
    let mut marks = String::new();
    // A clerk that had to wait for its map may have asked servers for theirs too, and so be
    // corrected before it calls: then the next one is misled.
    while refused(&cluster).await == 0 {
        assert!(marks.len() < 30, "no clerk asked a wrong server");
        let (clerk, _fake) = misled(old.clone());
        for shard in 0..SERVERS {
            assert_eq!(append(&clerk, &shard.to_string(), "!").await, format!("value {shard}{marks}"));
        }
        marks.push('!');
    }
    assert_eq!(held(&cluster).await, before, "no server has a key that it hadn't");
}

#[tokio::test(flavor = "multi_thread")]
async fn rejection_a_clerk_with_a_forged_map_is_refused_and_nothing_changes() {
    let cluster = Cluster::start(Settings::ring(SERVERS, REPLICAS)).await;
    put_all(&cluster.clerk(), SERVERS).await;
    let before = held(&cluster).await;
    // The clerk believes this map rather than the servers: its epochs are higher.
    let (clerk, _fake) = misled(forged(&cluster.shard_map().await.expect("a map"), |epoch| epoch + 1000));
    let puts = (0..SERVERS).map(|shard| clerk.put(shard.to_string(), "forged"));
    for (shard, put) in join_all(puts).await.into_iter().enumerate() {
        let is_refused = matches!(put, Err(Error::Refused(skv_proto::Error::WrongGroup { .. })));
        assert!(is_refused, "shard {shard}: {put:?}");
    }
    let all = (0..SERVERS).flat_map(|shard| keys_of(shard, SERVERS));
    assert_eq!(answering(&cluster.clerk(), all.clone()).await, all.collect(), "nothing changed");
    assert_eq!(held(&cluster).await, before, "no server has a key that it hadn't");
}

// Unreliable sharded: many clients, a ring, messages get lost.

#[tokio::test(flavor = "multi_thread")]
async fn unreliable_sharded_many_clients_append_each_token_once_and_in_order() {
    let cluster = Cluster::start(Settings { net: true, ..Settings::ring(5, 3) }).await;
    cluster.net().set(Faults::UNRELIABLE);
    clients_append(&cluster, 10, 20, &["0", "1", "2", "3", "4", "5", "6", "-1"]).await;
    assert_unreliable(&cluster);
}
