//! A store that `skv up` runs, and the commands that a person gives it.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use skv_scratch::Directory;

use crate::programs;

/// A directory of a store, apart from those of the person who runs the tests.
#[derive(Debug)]
pub struct Home {
    /// The manifest of the store.
    pub manifest: PathBuf,
    directory: Directory,
}

impl Home {
    /// Makes a home for a store of this specification, which isn't started yet.
    pub fn new(spec: &str) -> Home {
        let directory = Directory::new().expect("a temporary directory");
        let home = Home { manifest: directory.path().join("store.yaml"), directory };
        home.write_manifest(spec);
        home
    }

    /// Gives the manifest another specification.
    pub fn write_manifest(&self, spec: &str) {
        let text = format!(
            "apiVersion: shardedkv.io/v1alpha1\nkind: ShardedKV\nmetadata: {{name: store}}\nspec: {spec}\n"
        );
        fs::write(&self.manifest, text).expect("a file can be written");
    }

    /// Returns the path of a file of the test's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the path of a file in the store's data directory.
    pub fn data(&self, name: &str) -> PathBuf {
        self.path("home/store").join(name)
    }

    /// Returns a command of the person who lives here.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(&programs().skv);
        command
            .args(arguments)
            .env("SKV_HOME", self.path("home"))
            .env("TMPDIR", self.directory.parent())
            .stdin(Stdio::null());
        command.env_remove("SKV_MANAGER").env_remove("RUST_BACKTRACE");
        command
    }

    /// Runs a command to its end.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("skv can be run")
    }

    /// Runs a command that must succeed; returns its output.
    #[track_caller]
    pub fn must(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "skv {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Returns the JSON that a command prints.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.must(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Runs a command that must fail with this code; returns its complaint.
    #[track_caller]
    pub fn must_fail(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "skv {arguments:?}: {output:?}");
        String::from_utf8(output.stderr).expect("text")
    }

    /// Starts the store in the background; returns the output.
    #[track_caller]
    pub fn up(&self) -> String {
        self.must(&["up", "--detach", "--file", &self.manifest.to_string_lossy()])
    }

    /// Returns the address of the shard manager.
    pub fn manager_address(&self) -> String {
        let port = self.record().map(|record| record["members"][0]["clientPort"].clone());
        format!("127.0.0.1:{}", port.expect("the store was started"))
    }

    /// Returns the process number of a member, or of the supervisor.
    pub fn pid(&self, name: &str) -> Option<u64> {
        self.processes().into_iter().find(|(member, _)| member == name).map(|(_, pid)| pid)
    }

    /// Returns the process numbers of the supervisor, and of all members in their order.
    pub fn pids(&self) -> Vec<u64> {
        self.processes().into_iter().map(|(_, pid)| pid).collect()
    }

    fn processes(&self) -> Vec<(String, u64)> {
        let record = self.record().unwrap_or_default();
        let members = record["members"].as_array().into_iter().flatten();
        let members = members.map(|member| (member["name"].as_str().unwrap_or_default(), &member["process"]));
        [("supervisor", &record["supervisor"])]
            .into_iter()
            .chain(members)
            .filter_map(|(name, process)| Some((name.to_owned(), process["pid"].as_u64()?)))
            .collect()
    }

    /// Returns the record in the data directory; `None` before the first start.
    fn record(&self) -> Option<Value> {
        serde_json::from_slice(&fs::read(self.data("cluster.json")).ok()?).ok()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // This happens also when the test failed: nothing may be left running.
        for pid in self.pids() {
            signal(pid, Signal::KILL);
        }
    }
}

/// Sends a signal to a process, if it is still there.
pub fn signal(pid: u64, signal: Signal) {
    let _ = kill_process(number(pid), signal);
}

/// Returns true if a process runs; a zombie doesn't.
pub fn is_alive(pid: u64) -> bool {
    let ended = |stat: String| stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'));
    test_kill_process(number(pid)).is_ok()
        && !fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, ended)
}

fn number(pid: u64) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("it fits")).expect("it isn't 0")
}
