//! The output of a store that starts and stops, as people see it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use skv_process::signal;

use crate::gone::all_end;
use crate::place::{Place, SMALL, pids};

/// Returns the command that starts a store in the background whose shard manager can't run.
fn start_of_damaged_store() -> (Place, Command) {
    let mut place = Place::new();
    place.up("store");
    place.home.must(&["down"]);
    fs::write(place.data("store").join("manager/shard-map"), "garbage").expect("the manager has a directory");
    let manifest = place.manifest("store", SMALL);
    let up = place.home.command(["up", "-d", "-f", &manifest]);
    (place, up)
}

#[test]
fn a_start_in_the_background_shows_why_a_process_ends_and_gives_up() {
    let (place, mut up) = start_of_damaged_store();
    // A backtrace isn't the reason.
    let output = up.env("RUST_BACKTRACE", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(out.contains("store-manager ended with exit status: 1: shardmanager: "), "{out}");
    assert!(out.contains("shard-map is damaged") && out.contains("store-manager.log"), "{out}");
    assert!(err.contains("`skv down` stops it") && err.contains("supervisor.log"), "{err}");
    place.home.must(&["down"]);
}

#[test]
fn a_store_that_just_starts_isnt_said_not_to_run() {
    let mut place = Place::new();
    place.up("store");
    place.home.must(&["down"]);
    // A start takes the lock first.
    let lock = fs::File::open(place.data("store").join("lock")).unwrap();
    lock.lock().unwrap();
    let complaint = place.home.must_fail(1, &["down"]);
    assert!(complaint.contains("is just starting or stopping: try again"), "{complaint}");
}

#[test]
fn a_start_that_is_interrupted_says_that_it_goes_on() {
    let (place, mut up) = start_of_damaged_store();
    let mut child = up.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    signal(u64::from(child.id()), Signal::INT);
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert!(err.contains("goes on starting in the background"), "{line}{err}");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    place.home.must(&["down"]);
}

#[tokio::test]
async fn a_stop_that_is_interrupted_says_that_it_goes_on() {
    let mut place = Place::new();
    place.up("store");
    let all = pids(&place.data("store"));
    // A supervisor whose clock stands still stops nothing yet.
    signal(all[0], Signal::STOP);
    let mut down = place.home.command(["down"]);
    let mut child = down.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "stopping store\n");
    signal(u64::from(child.id()), Signal::INT);
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert!(err.contains("store goes on stopping"), "{err}");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    signal(all[0], Signal::CONT);
    all_end(&all).await;
}

#[test]
fn programs_read_one_document() {
    let place = Place::new();
    let manifest = place.manifest("store", SMALL);
    let document = |arguments: &[&str]| -> Value {
        let text = place.home.must(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    let up = document(&["up", "-d", "-f", &manifest]);
    assert_eq!((&up["name"], &up["running"]), (&"store".into(), &true.into()), "{up}");
    assert_eq!(up["processes"].as_array().map(Vec::len), Some(2), "{up}");
    let more = place.manifest("store", "{groups: 2, replicas: 1, shards: 4}");
    let preview = document(&["apply", "-f", &more, "--dry-run"]);
    assert_eq!((&preview["dry_run"], &preview["add"]), (&true.into(), &serde_json::json!([1])), "{preview}");
    let applied = document(&["apply", "-f", &more]);
    assert_eq!(
        (&applied["changed"], &applied["groups"]),
        (&true.into(), &serde_json::json!([0, 1])),
        "{applied}"
    );
    let again = document(&["apply", "-f", &more]);
    assert_eq!(again["changed"], false, "{again}");
    let fewer = place.manifest("store", SMALL);
    let plan = place.home.must(&["apply", "-f", &fewer, "--dry-run"]);
    assert!(plan.contains("g1 would give away all shards") && plan.contains("2 shards move"), "{plan}");
    assert_eq!(place.home.json(&["map"])["groups"].as_array().map(Vec::len), Some(2), "nothing was changed");
    let down = document(&["down"]);
    assert_eq!((&down["name"], &down["stopped"]), (&"store".into(), &true.into()));
    assert_eq!(document(&["down"])["stopped"], false);
}

#[test]
fn servers_that_stop_together_dont_wait_for_a_successor() {
    let mut place = Place::new();
    let directory = place.elsewhere("store");
    let manifest = place.manifest("store", "{groups: 1, replicas: 3, shards: 4}");
    let data_dir = directory.to_str().unwrap();
    place.home.must(&["up", "-d", "-f", &manifest, "--data-dir", data_dir]);
    place.home.must(&["put", "k", "v"]);
    place.home.must(&["down"]);
    let logs =
        (0..3).map(|index| fs::read_to_string(directory.join(format!("logs/store-g0-{index}.log"))).unwrap());
    let logs: String = logs.collect();
    assert!(!logs.contains("no other leader was seen"), "{logs}");
}

#[test]
fn logs_are_shown_and_followed() {
    let mut place = Place::new();
    place.up("store");
    let all = place.home.must(&["logs"]);
    for name in ["store-g0-0", "store-manager", "supervisor"] {
        assert!(all.contains(&format!("==> {name} <==")), "{all}");
    }
    let one = place.home.must(&["logs", "store-manager", "-n", "1"]);
    assert_eq!(one.lines().count(), 1, "{one}");
    let complaint = place.home.must_fail(1, &["logs", "g7"]);
    assert!(complaint.contains("there is no log of g7: there are store-g0-0, store-manager"), "{complaint}");

    let mut logs = place.home.command(["logs", "-f", "-n", "1", "supervisor"]);
    let mut child = logs.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // What comes before the first line is shown would be no news.
    lines.next().unwrap().unwrap();
    signal(pids(&place.data("store"))[2], Signal::KILL);
    let line = lines.next().unwrap().unwrap();
    assert!(line.starts_with("store-g0-0 ended with signal: 9"), "{line}");
    signal(u64::from(child.id()), Signal::INT);
    assert!(child.wait().unwrap().success());
    place.home.must(&["down"]);
}

#[test]
fn what_a_store_in_memory_loses_is_said() {
    let place = Place::new();
    let manifest =
        place.manifest("store", "{groups: 1, replicas: 1, storage: {memoryOnly: true, size: 1Gi}}");
    let up = place.home.must(&["up", "-d", "-f", &manifest]);
    assert!(up.contains("data is in memory only") && up.contains("left out here: spec.storage.size"), "{up}");
    assert!(place.home.must(&["down"]).contains("its data was in memory only, and is gone"));
}

#[test]
fn ports_can_be_chosen() {
    let mut place = Place::new();
    let manifest = place.manifest("store", SMALL);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let complaint = place.home.must_fail(1, &["up", "-d", "-f", &manifest, "--first-port", &port]);
    assert!(complaint.contains(&format!("port {port} of 127.0.0.1 is taken")), "{complaint}");
    let said = place.up("other");
    assert!(said.contains("other-manager"), "{said}");
    place.home.must(&["down", "--store", "other"]);
}
