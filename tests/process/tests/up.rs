//! `skv up` and the other commands, as a person uses them.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use skv_checker::read_history;
use skv_process::{Home, assert_linearizable, eventually, is_alive, signal};

const TWO_GROUPS: &str = "{groups: 2, replicas: 1, shards: 12}";

#[tokio::test]
async fn a_store_is_started_used_stopped_and_started_again_with_all_its_data() {
    let home = Home::new(TWO_GROUPS);
    let shown = home.up();
    for expected in ["store-manager", "store-g0-0", "store-g1-0", "skv put greeting hello"] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    home.must(&["put", "greeting", "hello"]);
    assert_eq!(home.must(&["append", "greeting", ", world"]).trim_end(), "hello");
    assert_eq!(home.must(&["get", "greeting"]).trim_end(), "hello, world");
    home.must_fail(2, &["get", "no such key"]);
    home.must_fail(3, &["put", "greeting", "x", "--if-revision", "0"]);
    home.must(&["delete", "greeting"]);
    home.must_fail(2, &["get", "greeting"]);
    home.must(&["put", "kept", "value"]);
    home.must(&["status"]);
    let status: serde_json::Value =
        serde_json::from_str(&home.must(&["status", "-o", "json"])).expect("it is JSON");
    assert_eq!(status["groups"].as_array().map(Vec::len), Some(2), "{status}");
    assert!(home.must(&["map"]).contains("g1"));

    let running = home.pids();
    assert_eq!(running.len(), 4);
    home.must(&["down"]);
    assert!(running.iter().all(|&pid| !is_alive(pid)), "nothing is left running");
    let complaint = home.must_fail(1, &["get", "kept"]);
    assert!(complaint.contains("isn't running"), "{complaint}");

    home.up();
    assert_eq!(home.must(&["get", "kept"]).trim_end(), "value");
    home.must(&["down"]);
    assert!(home.must(&["down"]).contains("isn't running"));
}

#[tokio::test]
async fn five_clients_do_their_random_work_and_the_history_is_right() {
    let home = Home::new(TWO_GROUPS);
    home.up();
    let history = home.path("history.jsonl");
    let printed =
        home.must(&["workload", "--clients", "5", "--ops", "200", "--history", &history.to_string_lossy()]);
    assert!(printed.lines().count() >= 1000, "{printed}");
    let events = read_history(&history).expect("a history");
    assert_eq!(events.len(), 1000);
    assert_linearizable(&events);
    home.must(&["down"]);
}

#[tokio::test]
async fn a_crashed_process_is_started_again_and_said_so() {
    let home = Home::new(TWO_GROUPS);
    home.up();
    home.must(&["put", "k", "v"]);
    for name in ["store-g0-0", "store-g1-0", "store-manager"] {
        let before = home.pid(name).expect("it runs");
        signal(before, Signal::KILL);
        eventually("it runs again", || async {
            home.pid(name).filter(|&pid| pid != before && is_alive(pid))
        })
        .await;
        let said = format!("{name} ended with signal: 9 (SIGKILL); it is started again");
        let log = fs::read_to_string(home.data("logs/supervisor.log")).expect("a log");
        assert!(log.contains(&said), "{log}");
        let ready = format!("{name} is ready again");
        eventually("it is ready again", || async {
            let log = fs::read_to_string(home.data("logs/supervisor.log")).expect("a log");
            log.contains(&ready).then_some(())
        })
        .await;
    }
    assert_eq!(home.must(&["get", "k"]).trim_end(), "v");
    home.must(&["down"]);
}

#[tokio::test]
async fn a_process_that_crashes_before_it_was_ready_is_said_to_be_ready_again() {
    let home = Home::new(TWO_GROUPS);
    let mut up = home.command(["up", "--detach", "--file"]);
    let mut up = up.arg(&home.manifest).stdout(Stdio::null()).spawn().expect("skv can be run");
    // `up` itself may not have written the record yet.
    let record = home.data("cluster.json");
    let pid =
        eventually("it is started", || async { record.exists().then(|| home.pid("store-g0-0")).flatten() })
            .await;
    signal(pid, Signal::KILL);
    let log = home.data("logs/supervisor.log");
    eventually("it is ready again", || async {
        let log = fs::read_to_string(&log).expect("a log");
        log.contains("store-g0-0 is ready again").then_some(())
    })
    .await;
    assert!(up.wait().expect("a child can be waited for").success());
    home.must(&["down"]);
}

#[tokio::test]
async fn what_a_killed_supervisor_left_is_found_and_stopped() {
    let home = Home::new(TWO_GROUPS);
    home.up();
    home.must(&["put", "k", "v"]);
    let left = home.pids();
    signal(left[0], Signal::KILL);
    eventually("the supervisor is gone", || async { (!is_alive(left[0])).then_some(()) }).await;
    assert!(left[1..].iter().all(|&pid| is_alive(pid)), "the servers go on");
    assert_eq!(home.must(&["get", "k"]).trim_end(), "v");

    home.up();
    assert!(left.iter().all(|&pid| !is_alive(pid)), "those of before are stopped");
    assert_eq!(home.must(&["get", "k"]).trim_end(), "v");

    let left = home.pids();
    signal(left[0], Signal::KILL);
    eventually("the supervisor is gone", || async { (!is_alive(left[0])).then_some(()) }).await;
    assert!(home.must(&["down"]).contains("left running"));
    assert!(left.iter().all(|&pid| !is_alive(pid)));
}

#[tokio::test]
async fn in_the_foreground_it_runs_until_it_is_told_to_stop() {
    let home = Home::new(TWO_GROUPS);
    home.write_manifest("{groups: 2, replicas: 1, server: {logOperations: true}}");
    let shown = home.path("shown");
    let out = fs::File::create(&shown).expect("a file can be made");
    let arguments = [OsStr::new("up"), OsStr::new("-f"), home.manifest.as_os_str()];
    let mut up = home.command(arguments).stdout(out).spawn().expect("skv can be run");
    let text = |path: &Path| fs::read_to_string(path).expect("a file can be read");
    eventually("it is ready", || async { text(&shown).contains("Ctrl-C stops it").then_some(()) }).await;
    home.must(&["put", "watched", "value"]);
    eventually("the operation is shown", || async {
        text(&shown).lines().any(|line| line.starts_with("store-g") && line.contains("watched")).then_some(())
    })
    .await;
    let running = home.pids();
    signal(u64::from(up.id()), Signal::INT);
    let status = eventually("it stops", || {
        let status = up.try_wait().expect("a child can be waited for");
        async move { status }
    })
    .await;
    assert!(status.success(), "{status}");
    assert!(text(&shown).ends_with("stopped\n"), "{}", text(&shown));
    assert!(running.iter().all(|&pid| !is_alive(pid)), "nothing is left running");
}

#[tokio::test]
async fn what_can_not_be_started_is_refused_with_the_reason() {
    let home = Home::new(TWO_GROUPS);
    let file = home.manifest.to_string_lossy().into_owned();
    let up = |arguments: &[&str]| {
        let mut all = vec!["up", "-f", &file];
        all.extend(arguments);
        home.must_fail(1, &all)
    };
    home.write_manifest("{replicas: 4, placement: ring, shard: 3}");
    assert!(up(&[]).contains("spec.shard: unknown field"));
    home.write_manifest("{replicas: 4, placement: ring}");
    let complaint = up(&["--detach"]);
    assert!(complaint.contains("spec.replicas: a ring of 2 servers"), "{complaint}");
    assert!(complaint.contains("spec.groups: a ring has one group for each shard"), "{complaint}");
    let missing = home.must_fail(1, &["up", "-f", "no-such-file.yaml"]);
    assert!(missing.contains("no-such-file.yaml"), "{missing}");

    home.write_manifest(TWO_GROUPS);
    home.up();
    assert!(up(&[]).contains("is in use by process"));
    assert!(up(&["--detach"]).contains("is in use by process"));
    home.must(&["down"]);
    home.write_manifest("{groups: 2, replicas: 1, shards: 24}");
    let complaint = up(&["--detach"]);
    assert!(complaint.contains("spec.shards is 12 there, 24 in the manifest"), "{complaint}");
}
