//! The memory that registrations may take.

use super::*;
use crate::rules::room::Room;

/// Returns this registration with so much in it that three don't fit.
fn large(mut registration: Registration) -> Registration {
    registration.replica.instance = "x".repeat(40 << 10);
    registration
}

#[test]
fn beyond_the_room_for_registrations_strangers_are_refused_and_members_go_on() {
    let mut bench = Bench::new();
    bench.heard.room = Room { most: 100 << 10, with_member: 140 << 10 };
    bench.found();
    assert!(waits(&bench.say(&large(empty(2, 0)))) && waits(&bench.say(&large(empty(2, 1)))));
    assert!(matches!(bench.refuse(&large(empty(3, 0))), Refusal::NoRoom { .. }));
    assert!(waits(&bench.say(&large(empty(2, 1)))), "it is the same one");
    assert!(serves(&bench.say(&large(bench.data(0, 1)))));
    assert!(matches!(bench.refuse(&empty(3, 0)), Refusal::NoRoom { .. }));
    assert!(serves(&bench.say(&bench.leader(1, 0))));
    assert!(matches!(bench.refuse(&large(bench.data(1, 1))), Refusal::NoRoom { .. }));
    bench.silence();
    assert!(waits(&bench.say(&empty(3, 0))), "there is room again");
}

#[test]
fn the_largest_store_has_room_with_the_longest_names_of_kubernetes() {
    const GROUPS: usize = 4096;
    const REPLICAS: usize = 7;
    const SHARDS: usize = 65_536;
    // The name of a store has at most 40 bytes, that of a namespace 63.
    let (service, namespace) = (format!("{}-g4095", "s".repeat(40)), "n".repeat(63));
    let server = format!("{service}-6");
    let address = format!("{server}.{service}.{namespace}.svc.cluster.local.:65535");
    let (client_address, peer_address, instance) = (address.clone(), address, "i".repeat(36));
    let member = Replica { id: ReplicaId(1), server, client_address, peer_address, instance };
    let mut bench = Bench::new();
    bench.found();
    let largest = with(bench.leader(0, 0), |report| {
        report.members = vec![member.clone(); REPLICAS];
        report.owned = vec![(ShardId(0), Epoch(1)); SHARDS / GROUPS];
        report.lineage = Lineage::new((0..64).map(Incarnation));
    });
    let largest = Registration { replica: member, ..largest };
    let all = largest.bytes() * GROUPS * REPLICAS;
    assert!(all < Room::default().most, "{all} bytes");
}
