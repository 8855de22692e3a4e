//! Groups come and go, and shards are pinned.

use serde_json::{Value, json};

use crate::store::{SHARDS, Store};

/// Returns the moves of an answer: shard, source and target.
fn moves(answer: &Value) -> Vec<(u64, u64, u64)> {
    let number = |value: &Value| value.as_u64().unwrap();
    let moves = answer["moves"].as_array().unwrap().iter();
    moves.map(|m| (number(&m["shard"]), number(&m["source"]), number(&m["target"]))).collect()
}

#[test]
fn a_dry_run_tells_what_would_move_and_changes_nothing() {
    let store = Store::start();
    for key in 0..24 {
        store.must(&["put", &key.to_string(), "12345678"]);
    }
    let before = (store.assignment(), store.json(&["map", "--config", "1"]));
    let owners = store.owners();
    let of_g2 = || (0..SHARDS).filter(|shard| owners[*shard as usize] == 2);

    let plan = store.json(&["groups", "remove", "g2", "--dry-run"]);
    assert_eq!((&plan["dry_run"], &plan["configuration"]), (&json!(true), &json!(2)), "{plan}");
    let moved: Vec<u64> = moves(&plan)
        .iter()
        .map(|(shard, source, target)| {
            assert!(*source == 2 && *target != 2, "{plan}");
            *shard
        })
        .collect();
    assert!(moved.iter().copied().eq(of_g2()), "{plan}");
    // There are two keys in each shard, of one or two digits, with 8 bytes each.
    let digits: u64 = of_g2().map(|shard| if shard < 10 { 3 } else { 4 }).sum();
    let (keys, bytes) = (2 * moved.len() as u64, 16 * moved.len() as u64 + digits);
    assert_eq!((&plan["keys"], &plan["bytes"]), (&json!(keys), &json!(bytes)), "{plan}");
    assert!(plan["expected_seconds"].as_f64() > Some(0.0), "{plan}");

    let table = store.must(&["groups", "remove", "g2", "--dry-run"]);
    assert!(table.starts_with("configuration 2, if it is made: 4 shards move\nFROM"), "{table}");
    assert!(table.contains("about") || table.contains("less than a second"), "{table}");

    let pinned = owners.iter().position(|owner| *owner == 0).unwrap().to_string();
    let plan = store.json(&["shard", "move", &pinned, "g1", "--dry-run"]);
    assert!(moves(&plan).contains(&(pinned.parse().unwrap(), 0, 1)), "{plan}");
    for arguments in [
        &["groups", "add", "g2", "--dry-run"][..],
        &["shard", "unpin", &pinned, "--dry-run"],
        &["rebalance", "--dry-run"],
    ] {
        assert_eq!(moves(&store.json(arguments)), [], "{arguments:?}");
        let told = store.must(arguments);
        assert!(told.starts_with("nothing to move: "), "{told}");
    }
    assert_eq!((store.assignment(), store.json(&["map", "--config", "1"])), before);
    assert!(store.must_fail(&["map", "--config", "2"]).contains("no configuration 2"));
}

#[test]
fn groups_leave_and_join_and_their_shards_are_handed_over() {
    let store = Store::start();
    for key in 0..SHARDS {
        store.must(&["put", &key.to_string(), &format!("value {key}")]);
    }
    assert_eq!(store.counts(), [4, 4, 4]);

    let left = store.json(&["groups", "remove", "g2"]);
    assert_eq!((&left["configuration"], &left["done"]), (&json!(2), &json!(true)), "{left}");
    assert_eq!((moves(&left).len(), &left["moved"]), (4, &json!(4)), "{left}");
    // Each shard has a key of one or two digits and 7 or 8 bytes more.
    assert!(left["bytes"].as_u64() >= Some(4 * 8), "{left}");
    assert_eq!(store.counts(), [6, 6, 0]);
    let drained = || -> Vec<bool> {
        let map = store.json(&["map"]);
        map["groups"].as_array().unwrap().iter().map(|group| group["drained"] == json!(true)).collect()
    };
    assert_eq!(drained(), [false, false, true]);
    assert!(store.must(&["map"]).contains("0, drained"));

    // This is the same command under the name that goes with its siblings.
    let joined = store.must(&["group", "add", "g2"]);
    assert!(joined.starts_with("configuration 3: 4 shards move\n"), "{joined}");
    assert!(joined.contains("all 4 shards are there, "), "{joined}");
    assert_eq!(drained(), [false; 3]);
    assert_eq!(store.counts(), [4, 4, 4]);
    for key in 0..SHARDS {
        assert_eq!(store.must(&["get", &key.to_string()]), format!("value {key}"));
    }

    let again = store.must(&["groups", "add", "g2"]);
    assert_eq!(again, "nothing to move: 12 shards are spread as evenly as the pins allow over 3 groups\n");
    let several = store.json(&["groups", "remove", "g1", "g2"]);
    assert_eq!((moves(&several).len(), store.counts()), (8, [12, 0, 0]), "{several}");
}

#[test]
fn a_shard_is_where_it_is_pinned_until_it_is_unpinned() {
    let store = Store::start();
    let owners = store.owners();
    let shard = owners.iter().position(|owner| *owner == 0).unwrap();
    let (name, number) = (shard.to_string(), shard as u64);

    let moved = store.json(&["shard", "move", &name, "g1"]);
    assert!(moves(&moved).contains(&(number, 0, 1)), "{moved}");
    assert_eq!((store.owners()[shard], store.counts()), (1, [4, 4, 4]));
    let again = store.must(&["shard", "move", &name, "g1"]);
    assert_eq!(again, format!("nothing to move: shard {shard} is in g1\n"));

    // g1 would hand over other shards, but not this one.
    store.must(&["groups", "remove", "g2"]);
    store.must(&["groups", "add", "g2"]);
    assert_eq!(store.owners()[shard], 1);

    store.must(&["shard", "unpin", &name]);
    store.must(&["groups", "remove", "g1"]);
    assert_ne!(store.owners()[shard], 1);
    assert_eq!(store.counts(), [6, 0, 6]);
}

#[test]
fn what_cant_be_done_is_refused_with_what_to_do() {
    let store = Store::start();
    let before = store.assignment();
    for (arguments, expected) in [
        (&["groups", "add", "g7"][..], "its servers must run and register"),
        (&["groups", "remove", "g0", "g1", "g2"], "no group is left to take the 12 shards"),
        (&["shard", "move", "99", "g0"], "there are 12 shards"),
        (&["shard", "move", "1", "g7"], "let it join first"),
        (&["shard", "unpin", "99"], "there are 12 shards"),
    ] {
        let complaint = store.must_fail(arguments);
        assert!(complaint.contains(expected), "{arguments:?}: {complaint}");
    }
    assert_eq!(store.assignment(), before);
}
