//! The sources of the shard map, and what the clerk does without one.

use skv_client::{Clerk, Options, Transport};
use skv_fake::{Fake, Fate, Seen};
use skv_proto::v1;
use skv_sharding::GroupId;

use crate::{TRANSPORTS, clerk, options};

#[tokio::test]
async fn a_dead_manager_is_not_missed() {
    for transport in TRANSPORTS {
        let mut fake = Fake::groups(&[1, 1], &[0, 0]);
        let clerk = clerk(&fake, transport);
        clerk.put("k", "v").await.unwrap();
        fake.kill_manager();
        let moved = Fate::Refuse(skv_proto::Error::WrongGroup { group: GroupId(0), owner: None });
        fake.rule(move |seen| if seen.server == 0 { moved.clone() } else { Fate::Serve });
        // Server 0 doesn't name the owners of the shards, but the servers' copies of the map do.
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

fn v1_empty(map: &v1::ShardMap) -> v1::ShardMap {
    v1::ShardMap { shards: 0, ranges: Vec::new(), groups: Vec::new(), revision: 0, ..map.clone() }
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
async fn a_map_names_the_later_leader_of_one_term() {
    let mut fake = Fake::groups(&[3], &[0]);
    let lead = |fake: &mut Fake, leader: usize, revision: u64| {
        let leader = fake.replica(leader).id.0;
        let mut map = v1::ShardMap { revision, ..fake.map() };
        (map.groups[0].leader, map.groups[0].leader_term) = (leader, 5);
        fake.publish(map);
    };
    lead(&mut fake, 1, 2);
    let clerk = clerk(&fake, Transport::Stream);
    clerk.put("k", "v").await.unwrap();
    assert_eq!(fake.seen().last().unwrap().server, 1);
    lead(&mut fake, 2, 3);
    let served_by = async || {
        clerk.get("k").await.unwrap();
        fake.seen().last().unwrap().server
    };
    while served_by().await != 2 {
        tokio::task::yield_now().await;
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
