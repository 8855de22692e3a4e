//! The server that a call goes to: leaders, owners of shards, and ways around servers out of reach.

use std::collections::HashSet;

use futures::future::join_all;
use skv_client::{Clerk, Options, Transport};
use skv_fake::{Fake, Fate};
use skv_sharding::GroupId;

use crate::{TRANSPORTS, clerk, keys_of, options};

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
async fn a_leader_that_denies_a_shard_and_knows_nobody_newer_is_not_asked_for_ever() {
    for transport in TRANSPORTS {
        let fake = Fake::groups(&[2], &[0, 0]);
        let clerk = clerk(&fake, transport);
        clerk.put("k", "v").await.unwrap();
        let leader = fake.seen().last().unwrap().server;
        // A member that was cut off before the shard came, and doesn't know that another leads by now.
        let denied = Fate::Refuse(skv_proto::Error::WrongGroup { group: GroupId(0), owner: None });
        fake.rule(move |seen| if seen.server == leader { denied.clone() } else { Fate::Serve });
        clerk.put("k", "w").await.unwrap();
        assert_eq!(fake.value(b"k"), b"w");
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
