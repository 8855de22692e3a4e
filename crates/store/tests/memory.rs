//! The cost of keys and sessions, measured on this process. One test, so that nothing else allocates
//! meanwhile.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "helpers of tests, which read files")]

#[path = "store/support.rs"]
mod support;

use skv_proto::v1;
use skv_store::{Store, encode_batch, encode_tick};

use support::*;

/// Returns the bytes of this process that are in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Compares the memory that a store counts with what the process really took.
fn assert_honest(what: &str, counted: u64, taken: u64) {
    println!("{what}: {counted} bytes are counted, {taken} were taken");
    assert!(counted * 5 >= taken * 4, "{what}: {counted} bytes are counted, but {taken} were taken");
    assert!(counted * 3 <= taken * 4, "{what}: {counted} bytes are counted, but only {taken} were taken");
}

/// Applies small batches: an allocator may keep the largest buffer that was freed, and that is no data.
fn apply_in_batches(store: &Store, commands: impl Iterator<Item = v1::Command>) {
    let mut commands = commands.peekable();
    while commands.peek().is_some() {
        let batch = commands.by_ref().take(100).collect();
        store.apply_silently(&encode_batch(500, batch)).unwrap();
    }
}

#[test]
fn keys_and_sessions_stay_small() {
    let (keys, mut kept) = (400_000, Vec::new());
    let store = founded(1, v1::Limits::default());
    let before = resident();
    apply_in_batches(&store, (0..).map(|i| put(&format!("key{i:013}"), &"v".repeat(64))).take(keys * 4 / 3));
    let (stats, taken) = (store.stats(), resident() - before);
    assert_honest("keys", store.memory(), taken);
    let beyond = taken.saturating_sub(stats.bytes) / stats.keys;
    println!("{} keys: {beyond} bytes each beyond key and value", stats.keys);
    assert!(beyond <= 200, "{beyond} bytes for each key");

    let sessions = 100_000;
    let unlimited = v1::Limits { max_sessions_per_shard: u64::MAX, ..v1::Limits::default() };
    let (small, large) = (founded(1, v1::Limits::default()), founded(1, unlimited));
    let key = &keys_of(0, 1)[0];
    let each_once = || (0..sessions).map(|random| by((400, random), 1, 1, put(key, "x")));

    let before = resident();
    apply_in_batches(&large, each_once());
    let taken = resident() - before;
    assert_honest("sessions", large.memory(), taken);
    let each = taken / large.stats().sessions;
    println!("{} sessions: {each} bytes each", large.stats().sessions);
    assert!(each <= 400, "{each} bytes for each session");

    for (length, count) in [(0, 200_000), (1000, 60_000), (20_000, 3000)] {
        let other = founded(1, v1::Limits::default());
        let before = resident();
        apply_in_batches(&other, (0..).map(|i| put(&format!("key{i:013}"), &"v".repeat(length))).take(count));
        assert_honest(&format!("values of {length} bytes"), other.memory(), resident() - before);
        // What is freed would be used again.
        kept.push(other);
    }

    // With the usual limit the least recently used give way.
    apply_in_batches(&small, (0..sessions).map(|i| by((400 + i / 4, i), 1, 1, put(key, "x"))));
    assert_eq!(small.stats().sessions, 16_384);

    store.apply_silently(&encode_tick(u64::MAX)).unwrap();
    large.apply_silently(&encode_tick(u64::MAX)).unwrap();
    assert_eq!(large.stats().sessions, 0);
}
