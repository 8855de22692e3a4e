//! The sequence numbers of a session, and their window.

use futures::future::join_all;
use skv_client::{Error, Transport};
use skv_fake::{Fake, Fate};
use tokio::sync::watch;

use crate::{TRANSPORTS, clerk, hasty_clerk, keys_of};

#[tokio::test]
async fn sequence_numbers_count_per_shard_and_acknowledge_all_answers() {
    for transport in TRANSPORTS {
        let fake = Fake::group(1, 2);
        let clerk = clerk(&fake, transport);
        let keys: Vec<String> = keys_of(0).take(3).chain(keys_of(1).take(2)).collect();
        for key in &keys {
            clerk.put(key.clone(), "v").await.unwrap();
        }
        let seen: Vec<_> = fake.mutations().iter().map(|s| (s.seq(), s.id().unwrap().acked_below)).collect();
        assert_eq!(seen, [(1, 1), (2, 2), (3, 3), (1, 1), (2, 2)]);
    }
}

#[tokio::test]
async fn an_open_number_is_not_acknowledged() {
    let fake = Fake::group(1, 2);
    let (open, gate) = watch::channel(false);
    let slow = keys_of(0).next().unwrap();
    let held = slow.clone();
    fake.rule(move |seen| if seen.key() == held.as_bytes() { Fate::Hold(gate.clone()) } else { Fate::Serve });
    let clerk = clerk(&fake, Transport::Stream);
    let waiting = tokio::spawn({
        let clerk = clerk.clone();
        async move { clerk.put(slow, "v").await }
    });
    while fake.mutations().is_empty() {
        tokio::task::yield_now().await;
    }
    for key in keys_of(0).skip(1).take(5) {
        clerk.put(key, "v").await.unwrap();
    }
    assert!(fake.mutations().iter().all(|seen| seen.id().unwrap().acked_below == 1));
    open.send_replace(true);
    waiting.await.unwrap().unwrap();
    clerk.put(keys_of(0).next().unwrap(), "v").await.unwrap();
    assert_eq!(fake.mutations().last().unwrap().id().unwrap().acked_below, 7);
}

#[tokio::test]
async fn a_call_that_was_given_up_is_acknowledged_and_never_applied_later() {
    let fake = Fake::group(1, 2);
    fake.rule(|seen| if seen.seq() == 1 { Fate::Lose } else { Fate::Serve });
    let key = keys_of(0).next().unwrap();
    let clerk = hasty_clerk(&fake, Transport::Stream);
    let error = clerk.append(key.clone(), "x").await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown(_)), "{error}");
    clerk.append(key.clone(), "y").await.unwrap();
    let last = fake.mutations().last().unwrap().clone();
    assert_eq!((last.seq(), last.id().unwrap().acked_below), (2, 2));
    assert_eq!(fake.value(key.as_bytes()), b"y");
}

#[tokio::test]
async fn a_full_window_makes_calls_wait() {
    let fake = Fake::group(1, 2);
    let (open, gate) = watch::channel(false);
    let key = keys_of(0).next().unwrap();
    let held = key.clone();
    fake.rule(move |seen| {
        let is_first = seen.seq() == 1 && seen.key() == held.as_bytes();
        if is_first { Fate::Hold(gate.clone()) } else { Fate::Serve }
    });
    let clerk = clerk(&fake, Transport::Stream);
    let first = tokio::spawn({
        let (clerk, key) = (clerk.clone(), key.clone());
        async move { clerk.append(key, "x").await }
    });
    while fake.mutations().is_empty() {
        tokio::task::yield_now().await;
    }
    let window = skv_proto::Error::WINDOW as usize;
    let within = join_all((1..window).map(|_| clerk.append(key.clone(), "x"))).await;
    assert!(within.iter().all(Result::is_ok));
    let beyond: Vec<_> = (0..5)
        .map(|_| {
            let (clerk, key) = (clerk.clone(), key.clone());
            tokio::spawn(async move { clerk.append(key, "x").await })
        })
        .collect();
    // Another shard has a window of its own, and its call is later than those that wait.
    clerk.append(keys_of(1).next().unwrap(), "x").await.unwrap();
    assert!(fake.mutations().iter().all(|seen| seen.seq() <= window as u64));
    open.send_replace(true);
    first.await.unwrap().unwrap();
    for call in beyond {
        call.await.unwrap().unwrap();
    }
    assert_eq!(fake.value(key.as_bytes()).len(), window + 5);
}
