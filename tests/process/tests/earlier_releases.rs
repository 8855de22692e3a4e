//! A store that an earlier release has written opens with all its data, serves, and continues.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use skv_process::{Home, free_port};

fn archives() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../releases");
    let files = fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    let mut archives: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|e| e == "gz")).collect();
    archives.sort();
    assert!(!archives.is_empty(), "there is no data of an earlier release");
    archives
}

/// Returns the home of a store that an earlier release has left.
fn left_by(archive: &Path) -> Home {
    let home = Home::new("{groups: 2, replicas: 1, shards: 8, tuning: {snapshotLogBytes: 1024}}");
    fs::create_dir_all(home.path("home")).expect("a directory");
    let unpacked = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(home.path("home")).status();
    assert!(unpacked.expect("tar can be run").success(), "{}", archive.display());
    // Another process may have its ports by now.
    let file = home.data("cluster.json");
    let mut record: Value = serde_json::from_slice(&fs::read(&file).expect("the record")).expect("JSON");
    for member in record["members"].as_array_mut().expect("members") {
        for port in ["clientPort", "httpPort"] {
            member[port] = free_port().into();
        }
        if let Some(port) = member.pointer_mut("/role/server/peerPort") {
            *port = free_port().into();
        }
    }
    fs::write(&file, record.to_string()).expect("the record can be written");
    home
}

#[test]
fn what_each_earlier_release_has_written_is_served_and_goes_on() {
    for archive in archives() {
        let home = left_by(&archive);
        home.up();
        let get = |key: &str| home.must(&["get", key]).trim_end().to_owned();
        for number in 0..30 {
            let key = format!("k{number}");
            match number {
                0..10 => assert_eq!(get(&key), format!("value-{number},more"), "{}", archive.display()),
                20..23 => drop(home.must_fail(2, &["get", &key])),
                _ => assert_eq!(get(&key), format!("value-{number}"), "{}", archive.display()),
            }
        }
        assert_eq!(get("after-the-snapshot"), "yes");
        assert_eq!(home.json(&["map"])["configuration"], 2, "the record is the one of before");

        home.must(&["shard", "unpin", "0"]);
        assert_eq!(home.must(&["append", "k3", "!"]).trim_end(), "value-3,more");
        home.must(&["down"]);
        home.up();
        assert_eq!(get("k3"), "value-3,more!");
        home.must(&["down"]);
    }
}
