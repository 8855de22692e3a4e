//! A store that `skv up` runs, and the commands that a person gives it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};
use skv_process::programs;
use tempfile::TempDir;

/// The number of shards, which three groups share evenly.
pub(crate) const SHARDS: u64 = 12;

/// The number of looks after which what is waited for never comes, and the pause between two.
const TRIES: u32 = 1500;
const POLL: Duration = Duration::from_millis(20);

/// A store. Keys are decimal numbers, so that key n is in shard n mod 12.
pub(crate) struct Store {
    /// The command line, with the servers beside it, where `skv up` finds them.
    skv: &'static Path,
    home: TempDir,
}

impl Store {
    /// Starts three groups of one server each, in memory.
    pub(crate) fn start() -> Store {
        let store = Store::new();
        store.up(&store.manifest("groups: 3, replicas: 1, storage: {memoryOnly: true}"));
        store
    }

    /// Makes a place for a store that isn't started yet.
    pub(crate) fn new() -> Store {
        Store { skv: &programs().skv, home: tempfile::tempdir().unwrap() }
    }

    /// Writes the store's manifest; returns its path.
    pub(crate) fn manifest(&self, spec: &str) -> String {
        let manifest = self.home.path().join("store.yaml");
        let text = format!(
            "apiVersion: shardedkv.io/v1alpha1\nkind: ShardedKV\nmetadata: {{name: store}}\nspec: {{shards: \
             {SHARDS}, hash: integer, {spec}}}\n"
        );
        std::fs::write(&manifest, text).unwrap();
        manifest.to_str().unwrap().to_owned()
    }

    /// Starts the store in the background; returns the output.
    #[track_caller]
    pub(crate) fn up(&self, manifest: &str) -> String {
        self.must(&["up", "--detach", "--file", manifest])
    }

    /// Returns a command of a person who started this store.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.skv);
        command.args(arguments).env("SKV_HOME", self.home.path()).stdin(Stdio::null());
        command.env_remove("SKV_MANAGER").env_remove("SKV_COMMAND");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must succeed; returns its output.
    #[track_caller]
    pub(crate) fn must(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "skv {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail; returns its complaint.
    #[track_caller]
    pub(crate) fn must_fail(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "skv {arguments:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Returns the JSON that a command prints.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.must(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Returns the group of each shard, as the map has it.
    #[track_caller]
    pub(crate) fn owners(&self) -> Vec<u64> {
        owners(&self.json(&["map"]))
    }

    /// Returns the state that a change would change, once all groups have reported that they began; without the
    /// leaders, which are reported again all the time.
    #[track_caller]
    pub(crate) fn assignment(&self) -> Value {
        for _ in 0..TRIES {
            let map = self.json(&["map"]);
            // Those reports raise the first revision by one.
            if map["revision"].as_u64() > Some(1) {
                return json!([map["revision"], map["configuration"], map["ranges"]]);
            }
            sleep(POLL);
        }
        panic!("not all groups have reported");
    }

    /// Returns the number of shards that each of the three groups owns.
    #[track_caller]
    pub(crate) fn counts(&self) -> [usize; 3] {
        let owners = self.owners();
        [0, 1, 2].map(|group| owners.iter().filter(|owner| **owner == group).count())
    }

    /// Returns the number of a member's process.
    #[track_caller]
    pub(crate) fn pid(&self, name: &str) -> i32 {
        let members = self.members();
        let member = members.iter().find(|member| member["name"] == name);
        number_of(&member.unwrap()["process"])
    }

    /// Returns the number of the process that keeps the others running.
    #[track_caller]
    pub(crate) fn supervisor(&self) -> i32 {
        number_of(&self.record()["supervisor"])
    }

    /// Returns the processes of the store, as the data directory has it.
    #[track_caller]
    pub(crate) fn members(&self) -> Vec<Value> {
        self.record()["members"].as_array().unwrap().clone()
    }

    fn record(&self) -> Value {
        let record = std::fs::read(self.data().join("cluster.json")).unwrap();
        serde_json::from_slice(&record).unwrap()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.home.path().join("store")
    }
}

fn number_of(process: &Value) -> i32 {
    i32::try_from(process["pid"].as_i64().unwrap()).unwrap()
}

impl Drop for Store {
    fn drop(&mut self) {
        let stopped = self.command(&["down"]).output();
        assert!(stopped.is_ok() || std::thread::panicking(), "{stopped:?}");
    }
}

/// Returns the group of each shard in the JSON output of `skv map`.
pub(crate) fn owners(map: &Value) -> Vec<u64> {
    let ranges = map["ranges"].as_array().unwrap().iter();
    let of_range = |range: &Value| {
        std::iter::repeat_n(range["group"].as_u64().unwrap(), range["count"].as_u64().unwrap() as usize)
    };
    ranges.flat_map(of_range).collect()
}
