//! Forwarding one request between servers.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use skv_client::{Forwarder, Reply};
use skv_fake::{Fake, Fate};
use skv_net::tcp;
use skv_proto::v1::operation::Operation;
use skv_proto::{Error, v1};
use skv_sharding::GroupId;

fn forwarder() -> Forwarder {
    Forwarder::new(tcp(), Duration::from_mins(1))
}

fn append() -> Operation {
    let append = v1::AppendRequest { key: "k".into(), args: "x".into(), direct: true, ..Default::default() };
    Operation::Append(append)
}

#[tokio::test]
async fn the_leader_is_found_among_the_addresses() {
    let mut fake = Fake::group(3, 4);
    let not_leader = fake.not_leader(None, 0);
    fake.rule(move |seen| if seen.server == 2 { Fate::Serve } else { not_leader.clone() });
    fake.kill_server(0);
    let addresses: Vec<String> = (0..3).map(|index| fake.server(index)).collect();
    let reply =
        forwarder().forward(GroupId(0), addresses.iter().map(String::as_str), &append()).await.unwrap();
    assert!(matches!(reply, Reply::Append(_)));
    assert_eq!(fake.value(b"k"), b"x");
}

#[tokio::test]
async fn what_may_have_been_executed_is_never_sent_again() {
    let fake = Fake::group(2, 4);
    fake.rule(|_| Fate::Break);
    let addresses = [fake.server(0), fake.server(1)];
    let error =
        forwarder().forward(GroupId(0), addresses.iter().map(String::as_str), &append()).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown(_)), "{error}");
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn a_read_is_asked_for_elsewhere() {
    let fake = Fake::group(2, 4);
    fake.rule(|seen| if seen.server == 0 { Fate::Break } else { Fate::Serve });
    let addresses = [fake.server(0), fake.server(1)];
    let get = Operation::Get(v1::GetRequest { key: "k".into(), direct: true, ..Default::default() });
    forwarder().forward(GroupId(0), addresses.iter().map(String::as_str), &get).await.unwrap();
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test]
async fn a_silent_server_leaves_time_to_ask_others_for_a_read_and_then_itself_once_more() {
    let fake = Fake::group(2, 4);
    let not_leader = fake.not_leader(None, 0);
    fake.rule(move |seen| match (seen.server, seen.nth) {
        (0, 0) => Fate::Lose,
        (0, _) => Fate::Serve,
        _ => not_leader.clone(),
    });
    let addresses = [fake.server(0), fake.server(1)];
    let get = Operation::Get(v1::GetRequest { key: "k".into(), direct: true, ..Default::default() });
    let forwarder = Forwarder::new(tcp(), Duration::from_secs(10));
    forwarder.forward(GroupId(0), addresses.iter().map(String::as_str), &get).await.unwrap();
    let asked: Vec<usize> = fake.seen().iter().map(|seen| seen.server).collect();
    assert_eq!(asked, [0, 1, 0]);
}

#[tokio::test]
async fn nobody_else_may_be_asked_for_a_mutation_so_its_server_has_all_the_time() {
    let fake = Fake::group(2, 4);
    let (open, held) = tokio::sync::watch::channel(false);
    fake.rule(move |_| Fate::Hold(held.clone()));
    let addresses = [fake.server(0), fake.server(1)];
    let (forwarder, append) = (forwarder(), append());
    let forwarded = forwarder.forward(GroupId(0), addresses.iter().map(String::as_str), &append);
    // A read would be asked for elsewhere by then.
    let opened = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        open.send_replace(true);
    };
    let (reply, ()) = tokio::join!(forwarded, opened);
    assert!(matches!(reply, Ok(Reply::Append(_))), "{reply:?}");
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn other_errors_are_passed_on() {
    let fake = Fake::group(2, 4);
    fake.rule(|_| Fate::Refuse(Error::DiskFull("log".into())));
    let addresses = [fake.server(0), fake.server(1)];
    let error =
        forwarder().forward(GroupId(0), addresses.iter().map(String::as_str), &append()).await.unwrap_err();
    assert_eq!(error, Error::DiskFull("log".into()));
    let error = forwarder().forward(GroupId(0), [], &append()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn without_a_majority_the_error_says_what_became_of_each_server() {
    let mut fake = Fake::group(2, 4);
    let nobody = fake.not_leader(None, 0);
    fake.rule(move |_| nobody.clone());
    fake.kill_server(0);
    let addresses = [fake.server(0), fake.server(1)];
    let addresses = addresses.iter().map(String::as_str);
    let error = forwarder().forward(GroupId(0), addresses, &append()).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    assert!(text.contains("no replica of group g0 serves: "), "{text}");
    assert!(text.contains(&format!("{} can't be reached (Connection refused", fake.server(0))), "{text}");
    assert!(text.contains(&format!("{} says that it hears no leader", fake.server(1))), "{text}");
    assert!(text.contains("a majority of the group is needed"), "{text}");
}

#[tokio::test]
async fn a_leader_that_was_not_asked_is_named() {
    let fake = Fake::group(2, 4);
    let elsewhere = fake.not_leader(Some(1), 3);
    fake.rule(move |_| elsewhere.clone());
    let address = fake.server(0);
    let error = forwarder().forward(GroupId(0), [&*address], &append()).await.unwrap_err();
    assert!(matches!(error, Error::NotLeader { leader: Some(_), .. }), "{error}");
}
