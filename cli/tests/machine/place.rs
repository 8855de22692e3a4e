//! A person's home with several stores.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::Signal;
use serde_json::Value;
use skv_process::{Home, signal};

/// The smallest store.
pub(crate) const SMALL: &str = "{groups: 1, replicas: 1, shards: 4}";

pub(crate) struct Place {
    pub(crate) home: Home,
    /// Directories of stores outside of the home.
    elsewhere: Vec<PathBuf>,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { home: Home::new(SMALL), elsewhere: Vec::new() }
    }

    /// Writes the manifest of a store of this name.
    pub(crate) fn manifest(&self, name: &str, spec: &str) -> String {
        let file = self.home.path(&format!("{name}.yaml"));
        let text = format!(
            "apiVersion: shardedkv.io/v1alpha1\nkind: ShardedKV\nmetadata: {{name: {name}}}\nspec: {spec}\n"
        );
        fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    }

    /// Starts a store in the home; returns what that printed.
    #[track_caller]
    pub(crate) fn up(&mut self, name: &str) -> String {
        let directory = self.home.path("home").join(name);
        self.elsewhere.push(directory);
        let manifest = self.manifest(name, SMALL);
        self.home.must(&["up", "-d", "-f", &manifest])
    }

    /// Returns a directory outside of the home in which a store will be.
    pub(crate) fn elsewhere(&mut self, name: &str) -> PathBuf {
        let directory = self.home.path("elsewhere").join(name);
        self.elsewhere.push(directory.clone());
        directory
    }

    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.home.path("home").join(name)
    }
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

/// Returns the record in the directory of a store; null if it has gone.
pub(crate) fn record(directory: &Path) -> Value {
    let record = fs::read(directory.join("cluster.json")).unwrap_or_else(|_| b"null".to_vec());
    serde_json::from_slice(&record).unwrap()
}

/// The supervisor, and the processes that it keeps running.
pub(crate) fn pids(directory: &Path) -> Vec<u64> {
    let record = record(directory);
    let members = record["members"].as_array().into_iter().flatten().map(|member| &member["process"]);
    [&record["supervisor"]].into_iter().chain(members).filter_map(|process| process["pid"].as_u64()).collect()
}

/// The address of a member for users.
pub(crate) fn address(directory: &Path, member: usize) -> String {
    format!("127.0.0.1:{}", record(directory)["members"][member]["clientPort"])
}

impl Drop for Place {
    fn drop(&mut self) {
        for pid in self.elsewhere.iter().flat_map(|directory| pids(directory)) {
            signal(pid, Signal::KILL);
        }
    }
}
