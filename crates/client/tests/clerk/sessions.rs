//! Exactly once: the sessions of mutations.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures::future::join_all;
use skv_client::{Error, Transport};
use skv_fake::{Fake, Fate};
use skv_sharding::Revision;

use crate::{TRANSPORTS, clerk, keys_of};

#[tokio::test]
async fn a_request_whose_answer_was_lost_is_applied_once_and_answered() {
    for transport in TRANSPORTS {
        for fate in [Fate::Mute, Fate::Lose, Fate::Break] {
            let fake = Fake::group(1, 4);
            let lost = fate.clone();
            fake.rule(
                move |seen| if seen.is_mutation() && seen.nth < 2 { lost.clone() } else { Fate::Serve },
            );
            let clerk = clerk(&fake, transport);
            let answer = clerk.append("k", "x").await.unwrap();
            assert_eq!((answer.found, &answer.old_value[..]), (false, &b""[..]), "{fate:?}");
            assert_eq!(fake.value(b"k"), b"x", "{fate:?}");
            let ids: HashSet<_> =
                fake.mutations().iter().map(|seen| (seen.session().random, seen.seq())).collect();
            assert_eq!(ids.len(), 1);
            assert_eq!(fake.mutations().len(), 3);
        }
    }
}

fn expired(floor: u64) -> Fate {
    Fate::Refuse(skv_proto::Error::SessionExpired { floor })
}

#[tokio::test]
async fn an_expired_session_is_replaced_if_nothing_else_was_sent() {
    for transport in TRANSPORTS {
        let fake = Fake::group(1, 4);
        fake.rule(|seen| if seen.nth == 0 { expired(5000) } else { Fate::Serve });
        let clerk = clerk(&fake, transport);
        clerk.append("k", "x").await.unwrap();
        clerk.append("k", "y").await.unwrap();
        assert_eq!(fake.value(b"k"), b"xy");
        let seen = fake.mutations();
        assert_ne!(seen[0].session(), seen[1].session());
        assert!(seen[1].session().opened_at > 5000);
        assert_eq!(seen[1].session(), seen[2].session());
    }
}

#[tokio::test]
async fn an_expired_session_after_a_refusal_is_replaced_too() {
    let fake = Fake::group(1, 4);
    fake.rule(|seen| match seen.nth {
        0 => Fate::Refuse(skv_proto::Error::Overloaded("queue".into())),
        1 => expired(5000),
        _ => Fate::Serve,
    });
    clerk(&fake, Transport::Stream).append("k", "x").await.unwrap();
    assert_eq!(fake.value(b"k"), b"x");
}

#[tokio::test]
async fn an_expired_session_after_a_lost_transmission_leaves_the_outcome_unknown() {
    for transport in TRANSPORTS {
        for fate in [Fate::Mute, Fate::Lose, Fate::Break] {
            let fake = Fake::group(1, 4);
            fake.rule(move |seen| if seen.nth == 0 { fate.clone() } else { expired(5000) });
            let error = clerk(&fake, transport).append("k", "x").await.unwrap_err();
            assert!(matches!(error, Error::OutcomeUnknown(_)), "{error}");
            assert_eq!(fake.mutations().len(), 2);
        }
    }
}

#[tokio::test]
async fn a_session_from_the_future_is_replaced() {
    let fake = Fake::group(1, 4);
    let skewed = Fate::Refuse(skv_proto::Error::ClockSkew { time: 3 });
    fake.rule(move |seen| if seen.nth < 3 { skewed.clone() } else { Fate::Serve });
    clerk(&fake, Transport::Stream).append("k", "x").await.unwrap();
    let sessions: HashSet<_> = fake.mutations().iter().map(|seen| seen.session().random).collect();
    assert_eq!(sessions.len(), 4);
    assert_eq!(fake.value(b"k"), b"x");
}

#[tokio::test]
async fn a_request_applied_long_ago_says_so() {
    let fake = Fake::group(1, 4);
    fake.rule(|_| Fate::Refuse(skv_proto::Error::AlreadyApplied { revision: Revision(8) }));
    let error = clerk(&fake, Transport::Stream).append("k", "x").await.unwrap_err();
    assert_eq!(error, Error::AlreadyApplied { revision: Revision(8) });
}

#[tokio::test]
async fn sessions_are_changed_while_they_are_used() {
    let fake = Fake::group(1, 4);
    fake.sessions_last(40);
    let clerk = clerk(&fake, Transport::Stream);
    let mut appends = 0;
    while fake.mutations().iter().map(|seen| seen.session().random).collect::<HashSet<_>>().len() < 4 {
        clerk.append("k", ".").await.unwrap();
        appends += 1;
    }
    assert_eq!(fake.value(b"k").len(), appends);
}

#[tokio::test]
async fn reads_need_no_session() {
    let fake = Fake::group(1, 4);
    let clerk = clerk(&fake, Transport::Stream);
    clerk.get("k").await.unwrap();
    clerk.put("k", "v").await.unwrap();
    assert_eq!(fake.mutations()[0].session().random, 1000, "the put opened the first session");
}

/// Every transmission meets one fate of many; each token must be there exactly once if its
/// append was answered, and at most once if not.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_appended_under_faults_are_there_exactly_once() {
    for transport in TRANSPORTS {
        let fake = Fake::group(3, 2);
        let mut random = 12_345_u64;
        let nobody = fake.not_leader(None, 0);
        let hint = fake.not_leader(Some(1), 3);
        fake.rule(move |_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match (random >> 33) % 20 {
                0 => Fate::Mute,
                1 => Fate::Lose,
                2 => Fate::Break,
                3 => nobody.clone(),
                4 => hint.clone(),
                5 => Fate::Refuse(skv_proto::Error::Overloaded("queue".into())),
                6 => Fate::Refuse(skv_proto::Error::OutcomeUnknown("deposed".into())),
                _ => Fate::Serve,
            }
        });
        let clerk = Arc::new(clerk(&fake, transport));
        let keys: Vec<String> = keys_of(0).take(2).chain(keys_of(1).take(2)).collect();
        let callers = (0..8).map(|caller| {
            let (clerk, keys) = (Arc::clone(&clerk), keys.clone());
            tokio::spawn(async move {
                let mut answered = Vec::new();
                for i in 0..15 {
                    let (key, token) = (&keys[i % keys.len()], format!("<{caller}.{i}>"));
                    let answer = clerk.append(key.clone(), token.clone()).await;
                    answered.push((key.clone(), token, answer.is_ok()));
                }
                answered
            })
        });
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (key, token, answered) in join_all(callers).await.into_iter().flat_map(Result::unwrap) {
            let value = String::from_utf8(fake.value(key.as_bytes())).unwrap();
            let times = value.matches(&token).count();
            assert!(times == 1 || times == 0 && !answered, "{token} is {times} times in {value}");
            *counts.entry(key).or_default() += usize::from(answered);
        }
        assert_eq!(counts.values().sum::<usize>(), 8 * 15, "the deadline leaves room for every retry");
        assert_eq!(fake.applied(), 8 * 15);
    }
}
