//! Looks into a store of this machine, and the options that name one in Kubernetes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::place::Place;

#[test]
fn a_store_shows_what_its_servers_do_and_gives_an_archive_for_a_report() {
    let mut place = Place::new();
    place.up("store");
    let home = &place.home;
    home.must(&["put", "greeting", "hello"]);
    let servers = home.json(&["top"]);
    assert_eq!(servers.as_array().map(Vec::len), Some(1), "{servers}");
    assert_eq!(servers[0]["server"], "store-g0-0");
    assert_eq!(servers[0]["keys"], 1);
    assert!(servers[0]["memory_bytes"].is_u64(), "{servers}");
    assert!(home.must(&["top"]).starts_with("SERVER"));
    let logs = home.must(&["logs", "g0"]);
    assert!(!logs.is_empty() && !logs.contains("==>"), "the log of one server: {logs}");

    let archive = home.path("report.tar.gz");
    let file = archive.to_str().unwrap();
    let said = home.must(&["diag", "--file", file]);
    for name in ["status.json", "map.txt", "metrics/store-manager.txt", "logs/store-g0-0.log", "record.json"]
    {
        assert!(said.contains(name), "{name}: {said}");
    }
    assert!(said.contains("Values of environment variables, Secrets and data are left out"), "{said}");
    assert_eq!(fs::metadata(&archive).unwrap().permissions().mode() & 0o777, 0o600);
    let complaint = home.must_fail(1, &["diag", "--file", file]);
    assert!(complaint.contains("another name is --file"), "{complaint}");
}

#[test]
fn a_store_in_kubernetes_is_named_by_its_own_options() {
    let place = Place::new();
    let both = place.home.must_fail(1, &["status", "--namespace", "prod", "--manager", "127.0.0.1:1"]);
    assert!(both.contains("--namespace and --manager each name a store"), "{both}");
    let ignored = place.home.must_fail(1, &["down", "--namespace", "prod"]);
    assert!(ignored.contains("`skv down` doesn't take --namespace"), "{ignored}");
    let missing = place.home.path("no.conf");
    let unread = place.home.must_fail(1, &["status", "--kubeconfig", missing.to_str().unwrap()]);
    assert!(unread.contains(&format!("can't read {}", missing.display())), "{unread}");
}
