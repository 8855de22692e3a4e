//! What the clerk makes of everything that servers and networks do to its calls.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use skv_client::{Clerk, Error, Options, Transport};
use skv_fake::{Fake, Fate, Seen};
use skv_sharding::{GroupId, Hash, Revision, ShardId};
use tokio::sync::watch;

const TRANSPORTS: [Transport; 2] = [Transport::Stream, Transport::Unary];

/// Long enough for any answer that comes.
const PATIENT: Duration = Duration::from_mins(1);

fn options(options: Options, transport: Transport) -> Options {
    let mut options = options;
    options.transport = transport;
    options.deadline = PATIENT;
    options.attempt_timeout = Duration::from_millis(100);
    options
}

fn clerk(fake: &Fake, transport: Transport) -> Clerk {
    Clerk::connect(options(Options::manager([fake.manager()]), transport)).unwrap()
}

fn hasty_clerk(fake: &Fake, transport: Transport) -> Clerk {
    let mut options = options(Options::manager([fake.manager()]), transport);
    options.deadline = Duration::from_millis(400);
    options.connect_timeout = Duration::from_millis(100);
    Clerk::connect(options).unwrap()
}

/// Leaves half its deadline for an answer to the last transmission.
fn careful_clerk(fake: &Fake, transport: Transport) -> Clerk {
    let mut options = options(Options::manager([fake.manager()]), transport);
    options.deadline = Duration::from_secs(2);
    options.attempt_timeout = Duration::from_secs(1);
    Clerk::connect(options).unwrap()
}

/// Keys that belong to this one of two shards.
fn keys_of(shard: u32) -> impl Iterator<Item = String> {
    (0..)
        .map(|i| format!("key{i}"))
        .filter(move |key| Hash::Fnv1.shard(key.as_bytes(), 2) == Ok(ShardId(shard)))
}

#[tokio::test]
async fn every_operation_is_answered() {
    for transport in TRANSPORTS {
        let fake = Fake::group(1, 4);
        let clerk = clerk(&fake, transport);
        let missing = clerk.get("k").await.unwrap();
        assert_eq!((missing.found, missing.revision, missing.value.len()), (false, Revision(0), 0));
        let put = clerk.put("k", "a").await.unwrap();
        assert!(put.success);
        let append = clerk.append("k", "b").await.unwrap();
        assert_eq!((&append.old_value[..], append.found), (&b"a"[..], true));
        let got = clerk.get("k").await.unwrap();
        assert_eq!((&got.value[..], got.found, got.revision), (&b"ab"[..], true, append.revision));
        let failed = clerk.put_if("k", "c", put.revision).await.unwrap();
        assert_eq!((failed.success, failed.revision), (false, append.revision));
        assert!(clerk.put_if("k", "c", append.revision).await.unwrap().success);
        assert!(!clerk.delete_if("k", Revision(0)).await.unwrap().success);
        let deleted = clerk.delete("k").await.unwrap();
        assert_eq!((deleted.success, deleted.found, deleted.revision), (true, true, Revision(0)));
        assert!(!clerk.get("k").await.unwrap().found);
        assert!(
            fake.seen()
                .iter()
                .all(|seen| seen.is_direct() && seen.streamed == (transport == Transport::Stream))
        );
    }
}

#[tokio::test]
async fn a_hint_leads_to_the_leader_and_is_remembered() {
    for transport in TRANSPORTS {
        let fake = Fake::group(3, 4);
        let hint = fake.not_leader(Some(2), 5);
        fake.rule(move |seen| if seen.server == 2 { Fate::Serve } else { hint.clone() });
        let clerk = clerk(&fake, transport);
        clerk.put("k", "v").await.unwrap();
        assert!(fake.seen().len() <= 2, "{:?}", fake.seen());
        let before = fake.seen().len();
        clerk.get("k").await.unwrap();
        assert_eq!(fake.seen().len(), before + 1);
    }
}

#[tokio::test]
async fn without_a_hint_the_other_replicas_are_tried_until_one_leads() {
    for transport in TRANSPORTS {
        let fake = Fake::group(3, 4);
        let nobody = fake.not_leader(None, 0);
        let mut refusals = 10;
        fake.rule(move |seen| {
            if seen.server == 1 && refusals == 0 {
                return Fate::Serve;
            }
            refusals -= i32::from(refusals > 0);
            nobody.clone()
        });
        clerk(&fake, transport).append("k", "v").await.unwrap();
        let seen = fake.mutations();
        assert_eq!(seen.iter().map(|seen| seen.server).collect::<HashSet<_>>().len(), 3);
        assert!(seen.iter().all(|seen| seen.seq() == 1), "a retry is the same request");
    }
}

#[tokio::test]
async fn a_hint_of_an_older_term_is_not_followed() {
    let fake = Fake::group(3, 4);
    let (new, old) = (fake.not_leader(Some(1), 9), fake.not_leader(Some(2), 8));
    fake.rule(move |seen| match seen.nth {
        0 => new.clone(),
        2 => old.clone(),
        _ => Fate::Serve,
    });
    let clerk = clerk(&fake, Transport::Stream);
    clerk.put("k", "v").await.unwrap();
    clerk.put("k", "w").await.unwrap();
    let servers: Vec<_> = fake.seen().iter().map(|seen| seen.server).collect();
    assert_eq!(servers[1..3], [1, 1]);
    assert_ne!(servers[3], 2, "server 2 was named for a term that is over");
}

#[tokio::test]
async fn calls_go_to_the_next_leader_when_the_leader_dies() {
    for transport in TRANSPORTS {
        let mut fake = Fake::group(3, 4);
        let not_leader = fake.not_leader(Some(0), 1);
        fake.rule(move |seen| if seen.server == 0 { Fate::Serve } else { not_leader.clone() });
        let clerk = clerk(&fake, transport);
        clerk.put("k", "v").await.unwrap();
        let not_leader = fake.not_leader(Some(1), 2);
        fake.rule(move |seen| if seen.server == 1 { Fate::Serve } else { not_leader.clone() });
        fake.kill_server(0);
        let appends = join_all((0..50).map(|_| clerk.append("k", "."))).await;
        assert!(appends.iter().all(Result::is_ok), "{appends:?}");
        assert_eq!(fake.value(b"k").len(), 51);
    }
}

#[tokio::test]
async fn a_higher_epoch_moves_a_shard_and_a_lower_one_does_not() {
    for transport in TRANSPORTS {
        let fake = Fake::groups(&[1, 1, 1], &[0, 0]);
        let moved = Fate::Refuse(skv_proto::Error::WrongGroup {
            group: GroupId(0),
            owner: Some(fake.owner(0, 1, 2, &[1])),
        });
        let mut served = 0;
        let outdated = Fate::Refuse(skv_proto::Error::WrongGroup {
            group: GroupId(1),
            owner: Some(fake.owner(0, 2, 1, &[2])),
        });
        fake.rule(move |seen| match seen.server {
            0 if keys_of(0).next().unwrap().as_bytes() == seen.key() => moved.clone(),
            1 => {
                served += 1;
                if served == 1 { outdated.clone() } else { Fate::Serve }
            }
            _ => Fate::Serve,
        });
        let clerk = clerk(&fake, transport);
        clerk.put(keys_of(0).next().unwrap(), "v").await.unwrap();
        clerk.put(keys_of(0).next().unwrap(), "v").await.unwrap();
        clerk.put(keys_of(1).next().unwrap(), "v").await.unwrap();
        let servers: Vec<_> = fake.seen().iter().map(|seen| seen.server).collect();
        assert_eq!(servers, [0, 1, 1, 1, 0]);
    }
}

#[tokio::test]
async fn a_moving_shard_is_asked_for_at_its_target() {
    let fake = Fake::groups(&[1, 1], &[0, 0]);
    let moving = Fate::Refuse(skv_proto::Error::ShardMoving {
        group: GroupId(0),
        target: Some(fake.owner(1, 1, 2, &[1])),
    });
    fake.rule(move |seen| if seen.server == 0 { moving.clone() } else { Fate::Serve });
    clerk(&fake, Transport::Stream).put(keys_of(1).next().unwrap(), "v").await.unwrap();
    assert_eq!(fake.seen().iter().map(|seen| seen.server).collect::<Vec<_>>(), [0, 1]);
}

#[tokio::test]
async fn the_managers_map_replaces_owners_by_epoch_only() {
    let mut fake = Fake::groups(&[1, 1], &[0, 0]);
    let clerk = clerk(&fake, Transport::Stream);
    let (first, second) = (keys_of(0).next().unwrap(), keys_of(1).next().unwrap());
    clerk.put(first.clone(), "v").await.unwrap();
    let mut map = fake.map();
    map.revision = 2;
    // Shard 0 without a higher epoch, shard 1 with one.
    map.ranges[0].group = 1;
    (map.ranges[1].group, map.ranges[1].epoch) = (1, 2);
    fake.publish(map);
    let served_by = async |key: &str| {
        clerk.get(key.to_owned()).await.unwrap();
        fake.seen().last().unwrap().server
    };
    while served_by(&second).await != 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(served_by(&first).await, 0);
}

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

#[tokio::test]
async fn one_silent_call_does_not_hold_up_the_others() {
    for transport in TRANSPORTS {
        let fake = Fake::group(1, 4);
        let (open, gate) = watch::channel(false);
        fake.rule(move |seen| if seen.key() == b"slow" { Fate::Hold(gate.clone()) } else { Fate::Serve });
        let clerk = clerk(&fake, transport);
        let slow = tokio::spawn({
            let clerk = clerk.clone();
            async move { clerk.put("slow", "v").await }
        });
        for i in 0..20 {
            clerk.put(format!("quick{i}"), "v").await.unwrap();
        }
        open.send_replace(true);
        slow.await.unwrap().unwrap();
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

#[tokio::test]
async fn a_leader_that_denies_a_shard_and_knows_nobody_newer_is_not_asked_for_ever() {
    for transport in TRANSPORTS {
        let fake = Fake::groups(&[2], &[0, 0]);
        let clerk = clerk(&fake, transport);
        clerk.put("k", "v").await.unwrap();
        let leader = fake.seen().last().unwrap().server;
        // One that was cut off before the shard came, and doesn't know that another leads by now.
        let denied = Fate::Refuse(skv_proto::Error::WrongGroup { group: GroupId(0), owner: None });
        fake.rule(move |seen| if seen.server == leader { denied.clone() } else { Fate::Serve });
        clerk.put("k", "w").await.unwrap();
        assert_eq!(fake.value(b"k"), b"w");
    }
}

#[tokio::test]
async fn a_dead_manager_is_not_missed() {
    for transport in TRANSPORTS {
        let mut fake = Fake::groups(&[1, 1], &[0, 0]);
        let clerk = clerk(&fake, transport);
        clerk.put("k", "v").await.unwrap();
        fake.kill_manager();
        let moved = Fate::Refuse(skv_proto::Error::WrongGroup { group: GroupId(0), owner: None });
        fake.rule(move |seen| if seen.server == 0 { moved.clone() } else { Fate::Serve });
        // Server 0 doesn't say who owns the shards, but the servers' copies of the map do.
        let mut map = fake.map();
        map.revision = 2;
        map.ranges.iter_mut().for_each(|range| (range.group, range.epoch) = (1, 2));
        fake.publish(map);
        clerk.put("k", "w").await.unwrap();
        assert_eq!(fake.value(b"k"), b"w");
    }
}

#[tokio::test]
async fn a_clerk_waits_for_the_first_map() {
    let mut fake = Fake::group(1, 4);
    let map = fake.map();
    fake.publish(v1_empty(&map));
    let clerk = clerk(&fake, Transport::Stream);
    let put = tokio::spawn({
        let clerk = clerk.clone();
        async move { clerk.put("k", "v").await }
    });
    fake.publish(map);
    put.await.unwrap().unwrap();
}

fn v1_empty(map: &skv_proto::v1::ShardMap) -> skv_proto::v1::ShardMap {
    skv_proto::v1::ShardMap { shards: 0, ranges: Vec::new(), groups: Vec::new(), revision: 0, ..map.clone() }
}

#[tokio::test]
async fn seeds_are_asked_for_the_map() {
    for transport in TRANSPORTS {
        let mut fake = Fake::groups(&[1, 2], &[1, 1]);
        fake.kill_manager();
        let not_leader = fake.not_leader(None, 0);
        fake.rule(move |seen| match seen.server {
            2 => Fate::Serve,
            _ if !seen.is_direct() => Fate::Serve,
            _ => not_leader.clone(),
        });
        let clerk = Clerk::connect(options(Options::seeds([fake.server(0)]), transport)).unwrap();
        // The first calls may be forwarded, until there is a connection to the owner.
        loop {
            clerk.append("k", "v").await.unwrap();
            let last = fake.seen().last().unwrap().clone();
            if last.is_direct() {
                assert_eq!(last.server, 2);
                break;
            }
        }
    }
}

#[tokio::test]
async fn servers_without_a_map_forward() {
    for transport in TRANSPORTS {
        let fake = Fake::group(2, 4).without_copies();
        let seeds = [fake.server(0), fake.server(1)];
        let clerk = Clerk::connect(options(Options::seeds(seeds), transport)).unwrap();
        for i in 0..10 {
            clerk.append(format!("k{i}"), "v").await.unwrap();
        }
        assert!(fake.seen().iter().all(|seen| !seen.is_direct()));
        let numbers: Vec<u64> = fake.mutations().iter().map(Seen::seq).collect();
        assert_eq!(
            numbers,
            (1..=10).collect::<Vec<_>>(),
            "all keys share one count, so that none is used twice"
        );
    }
}

#[tokio::test]
async fn addresses_that_cannot_be_dialled_are_reached_through_another_server() {
    for transport in TRANSPORTS {
        let mut fake = Fake::groups(&[1, 1], &[1, 1]);
        fake.kill_server(1);
        let clerk = Clerk::connect(options(Options::seeds([fake.server(0)]), transport)).unwrap();
        clerk.put("k", "v").await.unwrap();
        assert_eq!(fake.value(b"k"), b"v");
        let seen = fake.seen();
        assert!(seen.iter().all(|seen| seen.server == 0 && !seen.is_direct()), "{seen:?}");
    }
}

#[tokio::test]
async fn a_group_out_of_reach_is_reached_through_another_group() {
    for transport in TRANSPORTS {
        let mut fake = Fake::groups(&[1, 1], &[1, 1]);
        fake.kill_server(1);
        clerk(&fake, transport).put("k", "v").await.unwrap();
        assert!(fake.seen().iter().all(|seen| seen.server == 0 && !seen.is_direct()));
    }
}

async fn both_errors(clerk: &Clerk) -> (Error, Error) {
    let (get, append) = tokio::join!(clerk.get("k"), clerk.append("k", "x"));
    (get.unwrap_err(), append.unwrap_err())
}

#[tokio::test]
async fn no_call_ends_silently() {
    for transport in TRANSPORTS {
        let mut fake = Fake::group(2, 4);
        let clerk = careful_clerk(&fake, transport);

        fake.rule(|_| Fate::Refuse(skv_proto::Error::DiskFull("log".into())));
        let (get, append) = both_errors(&clerk).await;
        assert!(matches!(get, Error::Refused(skv_proto::Error::DiskFull(_)) | Error::Deadline(_)), "{get}");
        assert!(matches!(append, Error::Refused(skv_proto::Error::DiskFull(_))), "{append}");

        fake.rule(|_| Fate::Refuse(skv_proto::Error::InvalidArgument("empty key".into())));
        let (get, append) = both_errors(&clerk).await;
        assert!(matches!(get, Error::Refused(skv_proto::Error::InvalidArgument(_))), "{get}");
        assert!(matches!(append, Error::Refused(skv_proto::Error::InvalidArgument(_))), "{append}");

        let nobody = fake.not_leader(None, 0);
        fake.rule(move |_| nobody.clone());
        let (get, append) = both_errors(&clerk).await;
        assert!(
            matches!(get, Error::Refused(skv_proto::Error::NotLeader { .. }) | Error::Deadline(_)),
            "{get}"
        );
        assert!(matches!(append, Error::Refused(skv_proto::Error::NotLeader { .. })), "{append}");

        let clerk = hasty_clerk(&fake, transport);
        fake.rule(|_| Fate::Refuse(skv_proto::Error::OutcomeUnknown("deposed".into())));
        let (get, append) = both_errors(&clerk).await;
        assert!(matches!(get, Error::Deadline(_)), "{get}");
        assert!(matches!(append, Error::OutcomeUnknown(_)), "{append}");

        for fate in [Fate::Lose, Fate::Mute, Fate::Break] {
            fake.rule(move |_| fate.clone());
            let (get, append) = both_errors(&clerk).await;
            assert!(matches!(get, Error::Deadline(_)), "{get}");
            assert!(matches!(append, Error::OutcomeUnknown(_)), "{append}");
        }

        fake.kill_server(0);
        fake.kill_server(1);
        let later = hasty_clerk(&fake, transport);
        let error = later.append("k", "x").await.unwrap_err();
        assert!(matches!(error, Error::Unreachable(_)), "{error}");
        fake.kill_manager();
        let error = hasty_clerk(&fake, transport).get("k").await.unwrap_err();
        assert!(matches!(error, Error::Unreachable(_)), "{error}");
    }
}

#[tokio::test]
async fn a_call_is_refused_only_if_every_transmission_was() {
    let fake = Fake::group(1, 4);
    fake.rule(|seen| match seen.nth {
        1 => Fate::Lose,
        _ => Fate::Refuse(skv_proto::Error::Overloaded("queue".into())),
    });
    let error = hasty_clerk(&fake, Transport::Stream).append("k", "x").await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown(_)), "{error}");
}

#[tokio::test]
async fn what_cannot_be_right_is_refused_before_it_is_sent() {
    assert!(matches!(Clerk::connect(Options::manager(Vec::<String>::new())), Err(Error::Invalid(_))));
    for address in ["", "localhost", "localhost:", "localhost:99999", "http://a:1", "a b:1"] {
        let error = Clerk::connect(Options::seeds([address])).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{address}");
    }
    let fake = Fake::group(1, 4);
    let error = clerk(&fake, Transport::Stream).put("k", vec![0; 33 << 20]).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn a_large_value_goes_there_and_back() {
    for transport in TRANSPORTS {
        let fake = Fake::group(1, 4);
        let clerk = clerk(&fake, transport);
        // What the fake's own limit lets through.
        let value = vec![7; 3 << 20];
        clerk.put("k", value.clone()).await.unwrap();
        assert_eq!(clerk.get("k").await.unwrap().value, value);
    }
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
