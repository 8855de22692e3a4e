//! The store that each command is about.

use rustix::process::Signal;
use serde_json::{Value, json};
use skv_process::{eventually, is_alive, signal};

use crate::place::{Place, address, pids, run};

#[test]
fn a_store_is_stopped_only_if_it_is_the_one_that_is_named() {
    let mut place = Place::new();
    place.up("first");
    let said = place.up("second");
    assert!(said.contains("mean second from now on, and no longer first"), "{said}");
    let (first, second) = (place.data("first"), place.data("second"));
    let (of_first, of_second) = (pids(&first), pids(&second));

    let complaint = place.home.must_fail(1, &["down", "--server", "127.0.0.1:1"]);
    assert!(complaint.contains("belongs to no store that runs on this machine"), "{complaint}");
    assert!(of_first.iter().chain(&of_second).all(|pid| is_alive(*pid)));

    let said = place.home.must(&["down", "--manager", &address(&first, 0)]);
    assert!(said.contains("first is stopped"), "{said}");
    assert!(!of_first.iter().any(|pid| is_alive(*pid)));
    assert!(of_second.iter().all(|pid| is_alive(*pid)), "the other one goes on");

    let said = place.home.must(&["down", "--server", &address(&second, 1)]);
    assert!(said.contains("second is stopped"), "{said}");
    assert!(!of_second.iter().any(|pid| is_alive(*pid)));
}

#[test]
fn options_that_a_command_would_ignore_are_refused() {
    let place = Place::new();
    let manifest = place.manifest("store", crate::place::SMALL);
    for arguments in [
        &["up", "-f", &manifest, "--manager", "127.0.0.1:1"][..],
        &["--server", "127.0.0.1:1", "up", "-f", &manifest],
        &["completions", "bash", "--manager", "127.0.0.1:1"],
        &["probe", "http://127.0.0.1:1/readyz", "--store", "x"],
        &["explain", "--timeout", "1s"],
    ] {
        let complaint = place.home.must_fail(1, arguments);
        assert!(complaint.contains("doesn't take --"), "{arguments:?}: {complaint}");
    }
    let both = place.home.must_fail(1, &["get", "k", "--manager", "127.0.0.1:1", "--store", "x"]);
    assert!(both.contains("each name a store"), "{both}");
    let empty = place.home.must_fail(1, &["get", "k", "--manager", ""]);
    assert!(empty.contains("names no address"), "{empty}");
}

#[test]
fn every_command_finds_the_store_that_is_chosen() {
    let mut place = Place::new();
    place.up("first");
    let directory = place.elsewhere("second");
    let manifest = place.manifest("second", crate::place::SMALL);
    let data_dir = directory.to_str().unwrap();
    place.home.must(&["up", "-d", "-f", &manifest, "--data-dir", data_dir]);
    let home = &place.home;

    home.must(&["put", "whose", "second's"]);
    home.must(&["--store", "first", "put", "whose", "first's"]);
    assert_eq!(home.must(&["get", "whose", "--store", "first"]), "first's");
    assert_eq!(home.must(&["get", "whose", "--data-dir", data_dir]), "second's");
    home.must(&["use", "first"]);
    assert_eq!(home.must(&["get", "whose"]), "first's");
    assert!(home.must(&["use"]).contains("use first in "));
    let status = home.json(&["--store", "second", "status"]);
    assert_eq!(status["store"]["name"], "second");
    assert_eq!(status["groups"][0]["replicas"][0]["pid"], pids(&directory)[2]);
    assert!(home.must(&["status"]).starts_with("store first  manager 127.0.0.1:"));

    let stores = home.json(&["stores"]);
    let facts: Vec<Value> =
        stores.as_array().unwrap().iter().map(|s| json!([s["name"], s["running"], s["current"]])).collect();
    assert_eq!(facts, [json!(["first", true, true]), json!(["second", true, false])]);
    assert_eq!(stores[1]["manager_address"], address(&directory, 0));
    let table = home.must(&["stores", "second"]);
    assert!(table.contains("second-g0-0") && table.contains(data_dir), "{table}");
    let exported = home.must(&["env", "--store", "second"]);
    assert_eq!(exported, format!("export SKV_MANAGER={}\n", address(&directory, 0)));

    // From the environment, also with blanks; without a value it counts as unset.
    let by = |variable: &str, value: &str| {
        let output = home.command(["get", "whose"]).env(variable, value).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(by("SKV_STORE", "second"), "second's");
    assert_eq!(by("SKV_MANAGER", &format!(" {} , ", address(&directory, 0))), "second's");
    assert_eq!(by("SKV_MANAGER", " "), "first's");
    let overridden = home.command(["use", "first"]).env("SKV_STORE", "second").output().unwrap();
    let note = String::from_utf8(overridden.stderr).unwrap();
    assert!(note.contains("as long as SKV_STORE is set"), "{note}");

    home.must(&["down", "--store", "second"]);
    home.must(&["down"]);
    let complaint = home.must_fail(1, &["get", "whose"]);
    assert!(complaint.contains("first in ") && complaint.contains("isn't running"), "{complaint}");
    let complaint = home.must_fail(1, &["get", "whose", "--store", "third"]);
    assert!(
        complaint.contains("there is no store third") && complaint.contains("first, second"),
        "{complaint}"
    );
}

#[test]
fn a_store_that_doesnt_run_is_answered_with_those_that_do() {
    let mut place = Place::new();
    place.up("first");
    place.up("second");
    place.home.must(&["down"]);
    let complaint = place.home.must_fail(1, &["get", "k"]);
    assert!(complaint.contains("second in ") && complaint.contains("`skv use first`"), "{complaint}");
    place.home.must(&["down", "--store", "first"]);
}

#[test]
fn without_a_home_directory_a_data_directory_is_enough() {
    let mut place = Place::new();
    let directory = place.elsewhere("store");
    let manifest = place.manifest("store", crate::place::SMALL);
    let data_dir = directory.to_str().unwrap();
    let homeless = |arguments: &[&str]| {
        let mut command = place.home.command(arguments);
        command.env_remove("HOME").env_remove("SKV_HOME").env_remove("XDG_DATA_HOME");
        command
    };
    let up = run(&mut homeless(&["up", "-d", "-f", &manifest, "--data-dir", data_dir]));
    let said = String::from_utf8(up.stdout).unwrap();
    assert!(said.contains("commands must name this store with --data-dir"), "{said}");
    run(&mut homeless(&["put", "k", "v", "--data-dir", data_dir]));
    assert_eq!(run(&mut homeless(&["get", "k", "--data-dir", data_dir])).stdout, b"v");
    let lost = homeless(&["get", "k"]).output().unwrap();
    assert!(String::from_utf8(lost.stderr).unwrap().contains("no store is known"));
    run(&mut homeless(&["down", "--data-dir", data_dir]));
}

#[tokio::test]
async fn servers_are_asked_when_the_shard_manager_doesnt_answer() {
    let mut place = Place::new();
    place.up("store");
    place.home.must(&["put", "k", "v"]);
    let manager = pids(&place.data("store"))[1];
    // The server has a copy of the map.
    let server = address(&place.data("store"), 1);
    eventually("a copy", || async {
        place.home.run(&["map", "--server", &server]).status.success().then_some(())
    })
    .await;
    signal(manager, Signal::STOP);
    let got = place.home.run(&["get", "k"]);
    let status = place.home.run(&["status"]);
    signal(manager, Signal::CONT);
    assert_eq!(got.stdout, b"v", "{got:?}");
    let note = String::from_utf8(got.stderr).unwrap();
    assert!(note.contains("doesn't answer: asking the servers"), "{note}");
    assert!(status.status.success(), "{status:?}");
    place.home.must(&["down"]);
}
