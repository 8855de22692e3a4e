//! Random traffic while a shard moves on and on: the groups together are one store.

use proptest::prelude::*;
use skv_proto::v1;
use skv_proto::v1::command::Kind;
use skv_proto::v1::snapshot_item::Item;

use super::world::{SHARD, World};
use crate::support::{by, command, if_revision};

const GROUPS: usize = 3;
const KEYS: u8 = 6;

#[derive(Debug, Clone)]
enum Event {
    /// A command of a session; later ones may repeat it.
    Command {
        group: usize,
        session: u64,
        seq: u64,
        acked: u64,
        kind: u8,
        key: u8,
        condition: Option<u64>,
    },
    /// Repeats a command from before.
    Again {
        group: usize,
        which: usize,
    },
    Want(Option<u32>),
    Drive {
        hasty: bool,
    },
    Pause(usize),
    NewLeader(usize),
    Restart(usize),
    CollectGarbage(usize),
    /// Repeats an entry from before.
    Repeat(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let group = 0..GROUPS;
    prop_oneof![
        8 => (group.clone(), 1u64..6, 1u64..8, 0u64..3, 0u8..3, 0..KEYS, proptest::option::weighted(0.1, 0u64..20))
            .prop_map(|(group, session, seq, acked, kind, key, condition)| Event::Command {
                group, session, seq, acked, kind, key, condition,
            }),
        3 => (group.clone(), any::<usize>()).prop_map(|(group, which)| Event::Again { group, which }),
        1 => proptest::option::weighted(0.8, 0..GROUPS as u32).prop_map(Event::Want),
        10 => any::<bool>().prop_map(|hasty| Event::Drive { hasty }),
        1 => group.clone().prop_map(Event::Pause),
        1 => group.clone().prop_map(Event::NewLeader),
        1 => group.clone().prop_map(Event::Restart),
        1 => group.prop_map(Event::CollectGarbage),
        4 => any::<usize>().prop_map(Event::Repeat),
    ]
}

fn to_command(session: u64, seq: u64, acked: u64, kind: u8, key: u8, condition: Option<u64>) -> v1::Command {
    let kind = [Kind::Put, Kind::Append, Kind::Delete][usize::from(kind)];
    let made =
        v1::Command { shard: SHARD.0, ..command(kind, &format!("key{key}"), &format!("{session}.{seq};")) };
    let made = match condition {
        Some(revision) if kind != Kind::Append => if_revision(revision, made),
        _ => made,
    };
    by((100 + session, session), seq, seq.saturating_sub(acked), made)
}

/// Returns all that is served: keys with revisions and values, and sessions.
fn contents(store: &skv_store::Store) -> Vec<v1::SnapshotItem> {
    let is_content = |item: &v1::SnapshotItem| matches!(item.item, Some(Item::Key(_) | Item::Session(_)));
    let mut items: Vec<_> = store.view().into_items().filter(is_content).collect();
    items.sort_by_key(|item| format!("{item:?}"));
    items
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]
    #[test]
    fn a_shard_that_moves_answers_as_if_it_had_stayed(events in proptest::collection::vec(event(), 1..250)) {
        let mut world = World::new(GROUPS as u32);
        let mut commands = Vec::new();
        for event in events {
            match event {
                Event::Command { group, session, seq, acked, kind, key, condition } => {
                    commands.push(to_command(session, seq, acked, kind, key, condition));
                    world.command(group, &commands[commands.len() - 1]);
                }
                Event::Again { group, which } if !commands.is_empty() => {
                    world.command(group, &commands[which % commands.len()]);
                }
                Event::Again { .. } => {}
                Event::Want(target) => world.want(target),
                Event::Drive { hasty } => for source in 0..GROUPS {
                    world.drive(source, hasty);
                },
                Event::Pause(group) => world.pause(group),
                Event::NewLeader(group) => world.forget(group),
                Event::Restart(group) => {
                    world.restart(group);
                    world.forget(group);
                }
                Event::CollectGarbage(group) => world.collect_garbage(group),
                Event::Repeat(which) => world.repeat(which),
            }
            world.check();
        }
        // Each move that was under way comes to its end, and nothing is left behind.
        while (0..GROUPS).any(|source| world.drive(source, true)) {}
        (0..GROUPS).for_each(|group| world.collect_garbage(group));
        let owner = world.owner().unwrap();
        prop_assert_eq!(contents(&world.groups[owner]), contents(&world.alone));
        for group in (0..GROUPS).filter(|group| *group != owner) {
            prop_assert_eq!(contents(&world.groups[group]), []);
            prop_assert!(world.groups[group].arrivals().is_empty());
        }
    }
}
