//! The commonest mistakes of people, and what they are told; keys that aren't text; what is left behind.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader};
use std::os::unix::ffi::OsStringExt as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use skv_fake::{AdminCall, Fake, Fate};
use skv_proto::v1::ReplicaState;

/// Runs skv as if no store had ever been started here.
fn skv<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Output {
    let home = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_skv"))
        .args(arguments)
        .env("SKV_HOME", home.path())
        .env_remove("SKV_MANAGER")
        .env_remove("SKV_STORE")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Returns the way to run skv so that nobody reads its output.
fn unread<const N: usize>(fake: &Fake, arguments: [&str; N]) -> Option<i32> {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut skv = Command::new(env!("CARGO_BIN_EXE_skv"));
    skv.args(["--manager", &fake.manager()]).args(arguments).stdin(Stdio::null()).stdout(writer);
    skv.status().unwrap().code()
}

/// Runs skv against a store.
fn on<const N: usize>(fake: &Fake, arguments: [&str; N]) -> Output {
    let manager = fake.manager();
    skv(["--manager", &manager].into_iter().chain(arguments))
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn a_key_may_be_any_bytes() {
    let fake = Fake::group(1, 4);
    assert!(on(&fake, ["put", "--hex", "ff00", "by hex"]).status.success());
    assert_eq!(fake.value(b"\xff\x00"), b"by hex");
    let manager = fake.manager();
    let key = OsString::from_vec(vec![0xff, 1]);
    let put =
        skv([OsStr::new("--manager"), OsStr::new(&manager), OsStr::new("put"), &key, OsStr::new("raw")]);
    assert!(put.status.success(), "{put:?}");
    assert_eq!(fake.value(b"\xff\x01"), b"raw");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"\xff\x00").unwrap();
    let of_file = format!("@{}", file.path().display());
    assert_eq!(out(&on(&fake, ["get", &of_file])), "by hex");
    let got = document(&on(&fake, ["get", "--hex", "ff00", "-o", "json"]));
    assert_eq!((&got["key_hex"], &got["value"]), (&"ff00".into(), &"by hex".into()));
    assert_eq!(out(&on(&fake, ["delete", "--hex", "FF00"])), "deleted\n");
    let wrong = on(&fake, ["get", "--hex", "f"]);
    assert!(wrong.status.code() == Some(1) && err(&wrong).contains("isn't hexadecimal"), "{wrong:?}");
}

#[test]
fn people_of_other_stores_find_their_words() {
    let fake = Fake::group(1, 4);
    assert_eq!(out(&on(&fake, ["set", "k", "v"])), "revision 1\n");
    assert_eq!(out(&on(&fake, ["del", "k"])), "deleted\n");
    assert_eq!(on(&fake, ["rm", "k"]).status.code(), Some(2));
}

#[test]
fn a_status_is_watched_also_while_its_servers_are_away() {
    let mut fake = Fake::group(1, 4);
    let mut watch = Command::new(env!("CARGO_BIN_EXE_skv"))
        .args(["--manager", &fake.manager(), "status", "--watch=20ms", "-o", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut has_quorum = || {
        let mut document = String::new();
        while !document.ends_with("\n}\n") {
            document.extend([&*lines.next().expect("it goes on"), "\n"]);
        }
        serde_json::from_str::<Value>(&document).unwrap()["groups"][0]["quorum"] == true
    };
    assert!(has_quorum());
    assert!(has_quorum(), "again");
    fake.kill_server(0);
    while has_quorum() {}
    assert!(!has_quorum());
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn a_keys_place_is_shown() {
    let fake = Fake::groups(&[2], &[0, 0, 0]);
    let which = out(&on(&fake, ["which", "greeting"]));
    assert!(which.starts_with("shard ") && which.contains(" of 3  group g0  "), "{which}");
    let which = document(&on(&fake, ["which", "greeting", "-o", "json"]));
    assert_eq!((&which["key"], &which["group"]), (&"greeting".into(), &0.into()));
    assert_eq!(which["servers"], json!(["kv-0", "kv-1"]));
}

#[test]
fn a_server_in_place_of_a_manager_and_the_other_way_round_are_told() {
    let fake = Fake::group(1, 4);
    let (server, manager) = (fake.server(0), fake.manager());
    for command in [&["map"][..], &["status"], &["get", "k"], &["put", "k", "v"], &["rebalance"]] {
        let output = skv(["--manager", &server].iter().chain(command));
        let said = err(&output);
        assert!(said.contains(&format!("{server} isn't a shard manager")), "{command:?}: {said}");
        assert!(said.contains("--server"), "{command:?}: {said}");
    }
    for command in [&["map"][..], &["status"], &["get", "k"], &["put", "k", "v"]] {
        let output = skv(["--server", &manager].iter().chain(command));
        let said = err(&output);
        assert!(said.contains(&format!("{manager} isn't a server's port")), "{command:?}: {said}");
        assert!(said.contains("--manager"), "{command:?}: {said}");
    }
}

#[test]
fn without_a_shard_manager_people_are_told_of_servers() {
    let mut fake = Fake::group(1, 4);
    fake.kill_manager();
    let get = on(&fake, ["get", "k", "--timeout", "300ms"]);
    assert!(err(&get).contains("--server HOST:PORT asks a server instead"), "{get:?}");
}

#[test]
fn a_time_limit_of_nothing_is_refused() {
    for arguments in [["--timeout", "0s", "get", "k"], ["bench", "put", "--duration", "0s"]] {
        let refused = skv(arguments);
        assert!(refused.status.code() == Some(1) && err(&refused).contains("at least 1ms"), "{refused:?}");
    }
}

#[test]
fn two_variables_that_each_name_a_store_are_named() {
    let mut skv = Command::new(env!("CARGO_BIN_EXE_skv"));
    skv.args(["get", "k"]).env("SKV_STORE", "store").env("SKV_MANAGER", "127.0.0.1:1").stdin(Stdio::null());
    let complaint = err(&skv.output().unwrap());
    assert!(complaint.contains("SKV_STORE and SKV_MANAGER are set"), "{complaint}");
}

#[test]
fn a_cause_is_told_once() {
    let fake = Fake::group(1, 4);
    let run = on(&fake, ["workload", "--ops", "1", "--history", "/no/such/directory/x"]);
    assert_eq!(err(&run).matches("os error 2").count(), 1, "{run:?}");
    let manifest = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(manifest.path(), "a: 1\n\tb: 2\n").unwrap();
    let refused = skv([OsStr::new("validate"), OsStr::new("-f"), manifest.path().as_os_str()]);
    assert_eq!(err(&refused).matches("line 1 column 4").count(), 1, "{refused:?}");
}

#[test]
fn what_isnt_known_isnt_zero() {
    let mut fake = Fake::groups(&[3], &[0]);
    fake.kill_server(0);
    fake.kill_server(2);
    let status = on(&fake, ["status"]);
    let shown = out(&status);
    assert!(shown.contains("g0: no majority: kv-0, kv-2 can't be reached"), "{shown}");
    let line = shown.lines().find(|line| line.contains("kv-2 ")).unwrap();
    assert!(line.split_whitespace().filter(|word| *word == "-").count() >= 6, "{shown}");
    let replica = document(&on(&fake, ["status", "-o", "json"]))["groups"][0]["replicas"][2].clone();
    assert_eq!(
        (&replica["state"], &replica["term"], &replica["keys"]),
        (&"unreachable".into(), &json!(null), &json!(null))
    );
}

#[test]
fn servers_are_listed_in_order() {
    let mut fake = Fake::groups(&[3], &[0]);
    let mut map = fake.map();
    map.groups[0].replicas.reverse();
    fake.publish(map);
    for command in ["status", "map"] {
        let document = document(&on(&fake, [command, "-o", "json"]));
        let replicas = document["groups"][0]["replicas"].as_array().unwrap();
        let servers: Vec<&str> = replicas.iter().map(|r| r["server"].as_str().unwrap()).collect();
        assert_eq!(servers, ["kv-0", "kv-1", "kv-2"], "{command}");
    }
    fake.status(0, |replica| replica.set_state(ReplicaState::Follower));
    assert!(out(&on(&fake, ["status"])).contains("g0: no leader has a majority now"));
}

#[test]
fn a_benchmark_removes_what_it_wrote_unless_told_otherwise() {
    let fake = Fake::group(1, 4);
    let bench = ["bench", "get", "--keys", "20", "--duration", "1s", "--warmup", "1ms"];
    // How much it measures in this time is another matter.
    assert!(out(&on(&fake, bench)).starts_with("REQUESTS/S"));
    assert!(fake.mutations().iter().any(|seen| seen.key() == b"bench-00000007"));
    assert_eq!(fake.value(b"bench-00000007"), b"");
    let manager = fake.manager();
    let kept = skv(["--manager", &manager].iter().chain(&bench).chain(&["--keep"]));
    assert!(out(&kept).contains("the keys bench-00000000 to bench-00000019 stay"), "{kept:?}");
    assert_ne!(fake.value(b"bench-00000007"), b"");
}

#[test]
fn a_workload_removes_the_keys_that_it_made_and_no_others() {
    let fake = Fake::group(1, 4);
    on(&fake, ["put", "K1", "mine"]);
    let run = on(&fake, ["workload", "--ops", "60", "--keys", "2", "--seed", "1", "-o", "json"]);
    assert_eq!(document(&run)["answered"], 300, "{run:?}");
    assert_eq!(fake.value(b"K2"), b"");
    assert_ne!(fake.value(b"K1"), b"", "it was there before");
    on(&fake, ["workload", "--ops", "60", "--keys", "2", "--seed", "1", "--quiet", "--keep"]);
    assert_ne!(fake.value(b"K2"), b"");
}

#[test]
fn a_workload_whose_output_ends_removes_its_keys() {
    let fake = Fake::group(1, 4);
    assert_eq!(unread(&fake, ["workload", "--ops", "50", "--keys", "2"]), Some(0));
    assert!(fake.mutations().iter().any(|seen| seen.key() == b"K1"), "it has begun");
    assert_eq!((fake.value(b"K1"), fake.value(b"K2")), (Vec::new(), Vec::new()));
}

#[test]
fn a_result_that_nobody_reads_is_told_by_the_exit_code() {
    let fake = Fake::group(1, 4);
    assert_eq!(unread(&fake, ["put", "k", "a"]), Some(0));
    assert_eq!(unread(&fake, ["put", "k", "b", "--if-revision", "0"]), Some(3));
    assert_eq!(unread(&fake, ["delete", "missing"]), Some(2));
    assert_eq!(unread(&fake, ["get", "k"]), Some(0), "it had nothing to do but to print");
    fake.status(0, |replica| replica.set_state(ReplicaState::Follower));
    let reset = ["group", "reset", "g0", "--accept-data-loss"];
    assert_eq!((unread(&fake, reset), fake.admin_calls()), (Some(0), vec![AdminCall::Reset { server: 0 }]));
}

#[test]
fn a_workload_whose_history_cant_be_written_removes_its_keys() {
    let fake = Fake::group(1, 4);
    let run = on(&fake, ["workload", "--keys", "2", "--history", "/dev/full"]);
    assert!(run.status.code() == Some(1) && err(&run).contains("/dev/full"), "{run:?}");
    assert_eq!((fake.value(b"K1"), fake.value(b"K2")), (Vec::new(), Vec::new()));
}

#[test]
fn the_first_failure_of_a_quiet_workload_is_told() {
    let fake = Fake::group(1, 4);
    fake.rule(|_| Fate::Refuse(skv_proto::Error::InvalidArgument("no".into())));
    let run = on(&fake, ["workload", "--ops", "2", "--clients", "1", "--quiet"]);
    assert!(err(&run).starts_with("the first failure: refused: no\n"), "{run:?}");
}

#[test]
fn programs_read_what_commands_about_members_did() {
    let fake = Fake::groups(&[3], &[0]);
    let transferred = document(&on(&fake, ["group", "transfer-leader", "g0", "--to", "kv-2", "-o", "json"]));
    assert_eq!(transferred, json!({"group": 0, "leader": "kv-2", "before": "kv-0"}));
    let removed = document(&on(&fake, ["group", "remove-replica", "g0", "kv-2", "--yes", "-o", "json"]));
    assert_eq!(removed, json!({"group": 0, "removed": "kv-2"}));
}

#[test]
fn manifests_are_judged_and_explained() {
    let explained = out(&skv(["explain", "spec.tuning"]));
    assert!(
        explained.starts_with("spec.tuning <object>") && explained.contains("\nheartbeatMs <integer"),
        "{explained}"
    );
    let unknown = skv(["explain", "spec.tunings"]);
    assert!(err(&unknown).contains("spec has no field tunings"), "{unknown:?}");
    let manifest = tempfile::NamedTempFile::new().unwrap();
    let text =
        "{apiVersion: shardedkv.io/v1alpha1, kind: ShardedKV, metadata: {name: demo}, spec: {groups: 1}}";
    std::fs::write(manifest.path(), text).unwrap();
    let valid = skv([OsStr::new("validate"), OsStr::new("-f"), manifest.path().as_os_str()]);
    assert_eq!(out(&valid), "demo is valid: 1 group, 3 replicas of each, 240 shards\n");
}
