//! `skv apply`, and `skv up` of a store that exists: the number of groups changes, and after any
//! kill the same command continues.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use skv_client::{Clerk, Options};

use crate::store::{SHARDS, Store};

/// The beginnings of the lines of `apply` for a third group that comes, and for one that goes.
const COMING: [&str; 3] = ["g2: starting", "store-g2-0: ready", "configuration "];
const GOING: [&str; 3] = ["configuration ", "g2 is empty, and is retired", "g2: stopping"];

fn spec(groups: u32) -> String {
    format!("groups: {groups}, replicas: 1")
}

/// Starts a store of two groups of one server each, with a value in each shard.
fn two_groups() -> Store {
    let store = Store::new();
    store.up(&store.manifest(&spec(2)));
    for key in 0..SHARDS {
        store.must(&["put", &key.to_string(), &format!("value {key}")]);
    }
    store
}

#[track_caller]
fn apply(store: &Store, groups: u32) -> String {
    let manifest = store.manifest(&spec(groups));
    store.must(&["apply", "--file", &manifest])
}

/// Asserts that this number of groups run, share the shards evenly, and have all writes; nothing is
/// left of others.
#[track_caller]
fn assert_groups(store: &Store, groups: usize) {
    let expected: Vec<usize> = (0..3).map(|group| if group < groups { 12 / groups } else { 0 }).collect();
    assert_eq!(store.counts().to_vec(), expected);
    let names: Vec<String> = store.members().iter().map(|m| m["name"].as_str().unwrap().to_owned()).collect();
    let servers = (0..groups).map(|group| format!("store-g{group}-0"));
    let expected: Vec<String> = std::iter::once("store-manager".to_owned()).chain(servers).collect();
    assert_eq!(names, expected);
    for group in groups..3 {
        assert!(!store.data().join(format!("store-g{group}-0")).exists(), "g{group}");
    }
    let map = store.json(&["map"]);
    assert_eq!(map["groups"].as_array().unwrap().len(), groups, "{map}");
    for key in 0..SHARDS {
        assert_eq!(store.must(&["get", &key.to_string()]), format!("value {key}"));
    }
}

fn is_alive(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Starts an `apply` of this number of groups, and kills it when it has printed a line with this
/// beginning.
#[track_caller]
fn kill_apply(store: &Store, groups: u32, phase: &str) {
    let manifest = store.manifest(&spec(groups));
    let mut apply = store.command(&["apply", "--file", &manifest]);
    let mut child = apply.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let said = read_until(&mut out, phase);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(said.last().is_some_and(|line| line.starts_with(phase)), "{phase}: {said:?}");
}

/// Returns the lines up to one with this beginning.
fn read_until(out: &mut impl BufRead, beginning: &str) -> Vec<String> {
    let mut said = Vec::new();
    for line in out.lines() {
        said.push(line.unwrap());
        if said.last().unwrap().starts_with(beginning) {
            break;
        }
    }
    said
}

/// Clerks that each write one key after the other until they are told to stop.
struct Writers {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<u64>>,
}

impl Writers {
    const CLERKS: u64 = 3;

    fn start(manager: &str) -> Writers {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let write = |clerk: u64| {
            let (stop, written, manager) = (Arc::clone(&stop), Arc::clone(&written), manager.to_owned());
            std::thread::spawn(move || {
                skv_net::runtime().build().unwrap().block_on(async {
                    let clerk_of_store = Clerk::connect(Options::manager([manager])).unwrap();
                    let mut count = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let key = Writers::key(clerk, count);
                        // A second application would be seen.
                        let answer = clerk_of_store.append(key.clone(), key).await.unwrap();
                        assert!(!answer.found, "clerk {clerk}, write {count}");
                        count += 1;
                        written.fetch_add(1, Ordering::Relaxed);
                    }
                    count
                })
            })
        };
        let threads = (0..Writers::CLERKS).map(write).collect();
        Writers { stop, written, threads }
    }

    /// Returns a number that no other write has, and that isn't a shard's.
    fn key(clerk: u64, count: u64) -> String {
        (SHARDS + Writers::CLERKS * count + clerk).to_string()
    }

    /// Waits until all have made progress.
    fn go_on(&self) {
        let enough = self.written.load(Ordering::Relaxed) + 100;
        while self.written.load(Ordering::Relaxed) < enough {
            assert!(self.threads.iter().all(|thread| !thread.is_finished()), "a clerk failed");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops them; returns the keys that were written.
    fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let counts = self.threads.into_iter().map(|thread| thread.join().unwrap());
        let counts: Vec<u64> = counts.collect();
        let keys = (0..).zip(counts).flat_map(|(clerk, all)| (0..all).map(move |c| Writers::key(clerk, c)));
        keys.collect()
    }
}

/// Fails if the value of a key isn't exactly the written one.
fn assert_written(manager: &str, keys: &[String]) {
    skv_net::runtime().build().unwrap().block_on(async {
        let clerk = Clerk::connect(Options::manager([manager])).unwrap();
        for key in keys {
            let found = clerk.get(key.clone()).await.unwrap();
            assert_eq!(&found.value[..], key.as_bytes(), "key {key}");
        }
    });
}

#[test]
fn groups_come_and_go_while_clerks_write_and_no_write_is_lost() {
    let store = Store::new();
    let of_three = |groups: u32| store.manifest(&format!("groups: {groups}, replicas: 3"));
    store.up(&of_three(2));
    let members = store.members();
    let manager = format!("127.0.0.1:{}", members[0]["clientPort"]);
    let writers = Writers::start(&manager);
    writers.go_on();

    let said = store.must(&["apply", "--file", &of_three(3)]);
    for expected in
        ["g2: starting the servers\n", "store-g2-2: ready\n", ": 4 shards move\n", "store has g0, g1, g2\n"]
    {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert_eq!(store.counts(), [4, 4, 4]);
    let unchanged = store.members();
    assert_eq!(unchanged[..members.len()], members, "the others go on as they were");
    let new = ["store-g2-0", "store-g2-1", "store-g2-2"];
    let pids = new.map(|name| store.pid(name));
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    writers.go_on();

    let said = store.must(&["apply", "--file", &of_three(2)]);
    for expected in ["g2 is empty, and is retired\n", "g2: stopping the servers and removing their data\n"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert_eq!(store.counts(), [6, 6, 0]);
    assert_eq!(store.members(), members);
    assert!(!pids.iter().any(|pid| is_alive(*pid)), "{pids:?}");
    assert!(!new.iter().any(|name| store.data().join(name).exists()));
    writers.go_on();
    let written = writers.stop();
    let different: BTreeSet<&String> = written.iter().collect();
    assert_eq!(different.len(), written.len());
    assert_written(&manager, &written);
    let again = store.must(&["apply", "--file", &of_three(2)]);
    assert_eq!(again, "nothing to do: the number of groups of store is 2\n");
}

#[test]
fn an_apply_that_is_killed_anywhere_is_finished_by_the_next_one() {
    let store = two_groups();
    for phase in COMING {
        kill_apply(&store, 3, phase);
        apply(&store, 3);
        assert_groups(&store, 3);
        apply(&store, 2);
        assert_groups(&store, 2);
    }
    for phase in GOING {
        apply(&store, 3);
        kill_apply(&store, 2, phase);
        let said = apply(&store, 2);
        assert!(!said.contains("is 3"), "the number of before: {said}");
        assert_groups(&store, 2);
    }
}

#[test]
fn an_apply_that_is_killed_is_taken_back_by_another_number() {
    let store = two_groups();
    for phase in COMING {
        kill_apply(&store, 3, phase);
        apply(&store, 2);
        assert_groups(&store, 2);
    }
    apply(&store, 3);
    for phase in GOING {
        kill_apply(&store, 2, phase);
        apply(&store, 3);
        assert_groups(&store, 3);
    }
}

#[test]
fn a_store_that_is_started_again_has_its_groups_and_gets_those_of_the_manifest() {
    let store = two_groups();
    apply(&store, 3);
    store.must(&["down"]);
    let said = store.up(&store.manifest(&spec(3)));
    assert!(!said.contains("starting the servers"), "{said}");
    assert_groups(&store, 3);

    store.must(&["down"]);
    let said = store.up(&store.manifest(&spec(1)));
    assert!(said.ends_with("store has g0\n"), "{said}");
    assert_groups(&store, 1);

    store.must(&["down"]);
    let manifest = store.manifest(&spec(3));
    let mut up = store.command(&["up", "--file", &manifest]).stdout(Stdio::piped()).spawn().unwrap();
    let said = read_until(&mut BufReader::new(up.stdout.take().unwrap()), "store has ");
    assert!(said.contains(&"g1, g2: starting the servers".to_owned()), "{said:?}");
    assert_groups(&store, 3);
    store.must(&["down"]);
    assert!(up.wait().unwrap().success());
}

#[test]
fn apply_finds_the_store_wherever_it_was_started() {
    let store = Store::new();
    let elsewhere = store.data().with_file_name("elsewhere");
    let elsewhere = elsewhere.to_str().unwrap();
    store.must(&["up", "--detach", "--file", &store.manifest(&spec(1)), "--data-dir", elsewhere]);
    apply(&store, 2);
    let map = store.json(&["map"]);
    assert_eq!(map["configuration"], 2, "{map}");
    store.must(&["down"]);
}

#[test]
fn an_apply_tells_why_servers_dont_run_and_gives_up() {
    let store = Store::new();
    store.up(&store.manifest(&spec(1)));
    // The server can't make its directory.
    std::fs::write(store.data().join("store-g1-0"), "").unwrap();
    for attempt in 0..2 {
        let apply = store.run(&["apply", "--file", &store.manifest(&spec(2))]);
        let out = String::from_utf8(apply.stdout.clone()).unwrap();
        assert_eq!(apply.status.code(), Some(1), "attempt {attempt}: {apply:?}");
        assert!(out.contains("store-g1-0 ended with exit status: 1: "), "attempt {attempt}: {out}");
        assert!(out.contains("store-g1-0.log"), "attempt {attempt}: {out}");
        let complaint = String::from_utf8(apply.stderr).unwrap();
        assert!(complaint.contains("store-g1-0 ended "), "attempt {attempt}: {complaint}");
    }
}

#[test]
fn an_apply_tells_why_the_groups_cant_be_changed_yet() {
    let store = Store::new();
    store.up(&store.manifest(&spec(2)));
    // What isn't a directory can't be removed like one. The server goes on with its open files.
    let (data, moved) = (store.data().join("store-g1-0"), store.data().join("moved"));
    std::fs::rename(&data, moved).unwrap();
    std::fs::write(&data, "").unwrap();
    let manifest = store.manifest(&spec(1));
    let mut apply = store.command(&["apply", "--file", &manifest]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(apply.stdout.take().unwrap());
    let said = read_until(&mut out, "the groups can't be changed yet: ");
    assert!(said.last().is_some_and(|line| line.contains("can't remove ")), "{said:?}");
    std::fs::remove_file(&data).unwrap();
    assert!(apply.wait().unwrap().success());
    assert_eq!(store.members().len(), 2);
}

#[test]
fn an_apply_whose_output_nobody_reads_goes_on_to_its_end() {
    let store = Store::new();
    store.up(&store.manifest(&spec(1)));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let apply = store.command(&["apply", "--file", &store.manifest(&spec(2))]).stdout(writer).status();
    assert!(apply.unwrap().success());
    let map = store.json(&["map"]);
    assert_eq!((&map["configuration"], store.counts()), (&2.into(), [6, 6, 0]), "{map}");
}

#[test]
fn what_a_killed_supervisor_and_a_killed_apply_left_is_finished_by_the_next_start() {
    let store = two_groups();
    for phase in &GOING[1..] {
        apply(&store, 3);
        kill_apply(&store, 2, phase);
        let supervisor = store.supervisor();
        kill_process(Pid::from_raw(supervisor).unwrap(), Signal::KILL).unwrap();
        // Until it is gone the supervisor has the lock of the directory.
        while is_alive(supervisor) {
            std::thread::sleep(Duration::from_millis(10));
        }
        store.up(&store.manifest(&spec(2)));
        assert_groups(&store, 2);
    }
}

#[test]
fn a_store_in_memory_begins_with_the_groups_of_the_manifest() {
    let store = Store::new();
    let in_memory =
        |groups| store.manifest(&format!("groups: {groups}, replicas: 1, storage: {{memoryOnly: true}}"));
    store.up(&in_memory(1));
    store.must(&["put", "1", "value 1"]);
    store.must(&["apply", "--file", &in_memory(3)]);
    assert_eq!(store.counts(), [4, 4, 4]);
    assert_eq!(store.must(&["get", "1"]), "value 1");
    store.must(&["down"]);
    store.up(&in_memory(2));
    let map = store.json(&["map"]);
    assert_eq!((&map["configuration"], store.counts()), (&1.into(), [6, 6, 0]), "{map}");
}

#[test]
fn what_cant_be_changed_is_refused_with_what_to_do() {
    let store = Store::new();
    let refused = |spec: &str, expected: &[&str]| {
        let complaint = store.must_fail(&["apply", "--file", &store.manifest(spec)]);
        assert!(expected.iter().all(|expected| complaint.contains(expected)), "{expected:?}: {complaint}");
    };
    refused(&spec(3), &["there is no store in", "`skv up -f FILE`"]);
    store.up(&store.manifest(&spec(2)));
    let before = store.assignment();
    refused("groups: 0, replicas: 1", &["spec.groups"]);
    refused("groups: 13, replicas: 1", &["spec.groups", "shard"]);
    refused("groups: 3, replicas: 3", &["spec.replicas is 1 there, 3 in the manifest"]);
    refused(
        "groups: 3, replicas: 1, server: {logOperations: true}",
        &["spec.server.logOperations is false there, true in the manifest", "`skv down`"],
    );
    assert_eq!((store.assignment(), store.members().len()), (before, 3));
    store.must(&["down"]);
    refused(&spec(3), &["store in ", "isn't running", "`skv up -f FILE`"]);
}
