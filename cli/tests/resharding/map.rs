//! The map, its history, and its changes.

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::store::{Store, owners};

#[test]
fn every_configuration_of_the_history_is_shown() {
    let store = Store::start();
    let empty = store.json(&["map", "--config", "0"]);
    assert_eq!(empty, json!({"number": 0, "groups": [], "ranges": []}));
    assert_eq!(store.must(&["map", "--config", "0"]), "configuration 0  0 shards in 0 groups\n");
    let first = store.json(&["map", "--config", "1"]);
    assert_eq!((&first["number"], &first["groups"]), (&json!(1), &json!([0, 1, 2])));
    assert_eq!(owners(&first), store.owners());

    store.must(&["groups", "remove", "g1"]);
    let second = store.json(&["map", "--config", "2"]);
    assert_eq!((&second["number"], &second["groups"]), (&json!(2), &json!([0, 2])));
    assert_eq!(owners(&second), store.owners());
    assert_eq!(store.json(&["map", "--config", "1"]), first, "the past stays as it was");
    let table = store.must(&["map", "--config", "2"]);
    assert!(table.starts_with("configuration 2  12 shards in 2 groups\nGROUP"), "{table}");
    assert!(table.contains("\ng2 "), "{table}");
    assert!(store.must_fail(&["map", "--config", "3"]).contains("the newest is 2"));
}

/// A running `skv map --watch`.
struct Watch {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watch {
    fn start(store: &Store, more: &[&str]) -> Watch {
        let arguments = [&["map", "--watch"], more].concat();
        let mut child = store.command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Watch { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("it watches on").unwrap()
    }

    /// Ends it as Ctrl-C does; returns its exit code.
    fn stop(mut self) -> Option<i32> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        self.child.wait().unwrap().code()
    }
}

#[test]
fn a_watched_map_tells_each_move() {
    let store = Store::start();
    let shard = store.owners().iter().position(|owner| *owner == 0).unwrap();
    let (mut people, mut programs) = (Watch::start(&store, &[]), Watch::start(&store, &["-o", "json"]));
    let first = people.line();
    assert!(first.starts_with("revision ") && first.contains("g0 is new"), "{first}");
    let first: Value = serde_json::from_str(&programs.line()).unwrap();
    assert_eq!((&first["founded"], &first["configuration"]), (&json!([0, 1, 2]), &json!(1)));
    assert_eq!(first["moves"].as_array().map(Vec::len), Some(12));

    store.must(&["shard", "move", &shard.to_string(), "g1"]);
    let told = std::iter::from_fn(|| Some(people.line()))
        .find(|line| line.contains(&format!("shard {shard} g0 -> g1")))
        .unwrap();
    assert!(told.starts_with("revision "), "{told}");
    let expected = json!({"shard": shard, "source": 0, "target": 1});
    let is_told = |line: &Value| line["moves"].as_array().unwrap().contains(&expected);
    let change = std::iter::from_fn(|| serde_json::from_str::<Value>(&programs.line()).ok()).find(is_told);
    assert_eq!(change.unwrap()["configuration"], 2);
    assert_eq!((people.stop(), programs.stop()), (Some(0), Some(0)));
}
