//! `skv up` and the other commands, as a person uses them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use skv_chaos::{assert_linearizable, eventually, programs};
use skv_checker::read_history;
use tempfile::TempDir;

/// A place where stores live, apart from those of the person who runs the tests.
struct Home {
    directory: TempDir,
    manifest: PathBuf,
}

impl Home {
    fn new() -> Home {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let home = Home { manifest: directory.path().join("store.yaml"), directory };
        home.write_manifest("{groups: 2, replicas: 1, shards: 12}");
        home
    }

    fn write_manifest(&self, spec: &str) {
        let text = format!(
            "apiVersion: shardedkv.io/v1alpha1\nkind: ShardedKV\nmetadata: {{name: store}}\nspec: {spec}\n"
        );
        fs::write(&self.manifest, text).expect("a file can be written");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(&programs().skv);
        command.args(arguments).env("SKV_HOME", self.path("home")).stdin(Stdio::null());
        command.env_remove("SKV_MANAGER").env_remove("RUST_BACKTRACE");
        command
    }

    /// Runs a command to its end.
    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("skv can be run")
    }

    /// Runs a command that must succeed; answers what it printed.
    #[track_caller]
    fn must(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "skv {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs a command that must fail with this code; answers its complaint.
    #[track_caller]
    fn must_fail(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "skv {arguments:?}: {output:?}");
        String::from_utf8(output.stderr).expect("text")
    }

    #[track_caller]
    fn up(&self) -> String {
        self.must(&["up", "--detach", "--file", &self.manifest.to_string_lossy()])
    }

    fn record(&self) -> serde_json::Value {
        let bytes = fs::read(self.path("home/store/cluster.json")).expect("there is a record");
        serde_json::from_slice(&bytes).expect("it is JSON")
    }

    /// The process number of a member, or of the supervisor.
    fn pid(&self, name: &str) -> Option<u64> {
        let record = self.record();
        if name == "supervisor" {
            return record["supervisor"]["pid"].as_u64();
        }
        let members = record["members"].as_array().expect("members");
        members.iter().find(|member| member["name"] == name)?["process"]["pid"].as_u64()
    }

    fn pids(&self) -> Vec<u64> {
        let names = ["supervisor", "store-manager", "store-g0-0", "store-g1-0"];
        names.iter().filter_map(|name| self.pid(name)).collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Also when the test failed: nothing may be left running.
        for pid in self.pids() {
            signal(pid, Signal::KILL);
        }
    }
}

fn pid(number: u64) -> Pid {
    Pid::from_raw(i32::try_from(number).expect("it fits")).expect("it isn't 0")
}

fn signal(number: u64, signal: Signal) {
    let _ = kill_process(pid(number), signal);
}

fn is_alive(number: u64) -> bool {
    let ended = |stat: String| stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'));
    test_kill_process(pid(number)).is_ok()
        && !fs::read_to_string(format!("/proc/{number}/stat")).map_or(true, ended)
}

#[tokio::test]
async fn a_store_is_started_used_stopped_and_started_again_with_all_its_data() {
    let home = Home::new();
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
    let home = Home::new();
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
    let home = Home::new();
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
        let log = fs::read_to_string(home.path("home/store/logs/supervisor.log")).expect("a log");
        assert!(log.contains(&said), "{log}");
        let ready = format!("{name} is ready again");
        eventually("it is ready again", || async {
            let log = fs::read_to_string(home.path("home/store/logs/supervisor.log")).expect("a log");
            log.contains(&ready).then_some(())
        })
        .await;
    }
    assert_eq!(home.must(&["get", "k"]).trim_end(), "v");
    home.must(&["down"]);
}

#[tokio::test]
async fn a_process_that_crashes_before_it_was_ready_is_said_to_be_ready_again() {
    let home = Home::new();
    let mut up = home.command(["up", "--detach", "--file"]);
    let mut up = up.arg(&home.manifest).stdout(Stdio::null()).spawn().expect("skv can be run");
    // `up` itself may not have written the record yet.
    let record = home.path("home/store/cluster.json");
    let pid =
        eventually("it is started", || async { record.exists().then(|| home.pid("store-g0-0")).flatten() })
            .await;
    signal(pid, Signal::KILL);
    let log = home.path("home/store/logs/supervisor.log");
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
    let home = Home::new();
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
    let home = Home::new();
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
    let home = Home::new();
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
    assert!(complaint.contains("spec.replicas: 4"), "{complaint}");
    assert!(complaint.contains("spec.placement: ring is not available yet"), "{complaint}");
    let missing = home.must_fail(1, &["up", "-f", "no-such-file.yaml"]);
    assert!(missing.contains("no-such-file.yaml"), "{missing}");

    home.write_manifest("{groups: 2, replicas: 1, shards: 12}");
    home.up();
    assert!(up(&[]).contains("is in use by process"));
    assert!(up(&["--detach"]).contains("is in use by process"));
    home.must(&["down"]);
    home.write_manifest("{groups: 2, replicas: 1, shards: 24}");
    let complaint = up(&["--detach"]);
    assert!(complaint.contains("spec.shards is 12 there, 24 in the manifest"), "{complaint}");
}
