//! Moves that are watched, not watched, and watched again.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::store::Store;

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// A server whose clock stands still until this is dropped.
struct Paused(i32);

impl Paused {
    fn new(store: &Store, name: &str) -> Paused {
        let pid = store.pid(name);
        signal(pid, Signal::STOP);
        Paused(pid)
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        signal(self.0, Signal::CONT);
    }
}

#[test]
fn who_doesnt_wait_can_watch_later() {
    let store = Store::start();
    // The number of a shard is a key in it.
    let shard = shard_of(&store, 0);
    store.must(&["put", &shard, "12345678"]);
    // Nothing can come to g1 and g0 has everything; so there is something left to watch.
    let paused = Paused::new(&store, "store-g1-0");
    let asked = store.json(&["shard", "move", &shard, "g1", "--no-wait"]);
    assert_eq!((&asked["done"], &asked["moved"]), (&json!(false), &json!(0)), "{asked}");
    let plan = store.must(&["rebalance", "--dry-run"]);
    assert!(plan.starts_with("configuration 2, which is under way: "), "{plan}");
    let plan = store.json(&["rebalance", "--dry-run"]);
    let number: u32 = shard.parse().unwrap();
    let of_shard = |planned: &&Value| planned["shard"] == number;
    let known = plan["moves"].as_array().unwrap().iter().find(of_shard).unwrap();
    assert_eq!((&known["keys"], &known["bytes"]), (&json!(1), &json!(shard.len() + 8)), "{plan}");
    // The size of shards that g1 gives away in exchange is unknown, since it can't report it.
    for sum in ["keys", "bytes", "expected_seconds"] {
        assert_eq!(plan.get(sum), Some(&Value::Null), "{plan}");
    }
    drop(paused);
    let watched = store.json(&["rebalance"]);
    assert_eq!((&watched["done"], &watched["configuration"]), (&json!(true), &json!(2)), "{watched}");
    assert_eq!(store.counts(), [4, 4, 4]);
    let told = store.must(&["rebalance"]);
    assert!(told.starts_with("nothing to move: "), "{told}");
}

#[test]
fn moves_that_are_taken_back_are_done_when_their_groups_say_so() {
    let store = Store::new();
    // With this policy the same groups always have the same shards.
    store.up(&store.manifest("groups: 2, replicas: 1, policy: modulo"));
    let paused = Paused::new(&store, "store-g1-0");
    assert_eq!(store.json(&["groups", "remove", "g1", "--no-wait"])["done"], json!(false));
    let taken_back = store.json(&["groups", "add", "g1", "--no-wait"]);
    // Every shard is where it is wanted, but g1 may still give some away.
    assert_eq!((&taken_back["done"], &taken_back["moves"]), (&json!(false), &json!([])), "{taken_back}");
    drop(paused);
    assert_eq!(store.json(&["rebalance"])["done"], json!(true));
    assert_eq!(store.counts(), [6, 6, 0]);
    let settled = store.json(&["rebalance", "--no-wait"]);
    assert_eq!((&settled["done"], &settled["moves"]), (&json!(true), &json!([])), "{settled}");
}

#[test]
fn ctrl_c_stops_the_watching_and_not_the_moves() {
    let store = Store::start();
    let paused = Paused::new(&store, "store-g1-0");
    let shard = shard_of(&store, 0);
    let mut command = store.command(&["shard", "move", &shard, "g1"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    // The lines are the change, and then its progress.
    out.read_line(&mut line).unwrap();
    assert!(line.starts_with("configuration 2: "), "{line}");
    line.clear();
    out.read_line(&mut line).unwrap();
    assert!(line.starts_with("0/") || line.starts_with("1/"), "{line}");
    signal(i32::try_from(child.id()).unwrap(), Signal::INT);
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("the others move on") && rest.contains("`skv rebalance`"), "{rest}");
    assert_eq!(child.wait().unwrap().code(), Some(1));

    drop(paused);
    store.must(&["rebalance"]);
    assert_eq!(store.owners()[shard.parse::<usize>().unwrap()], 1);
}

/// Returns the first shard of a group.
fn shard_of(store: &Store, group: u64) -> String {
    store.owners().iter().position(|owner| *owner == group).unwrap().to_string()
}
