//! Data directories that are removed or moved while their store runs, and who may read them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use skv_process::{eventually, is_alive};

use crate::place::{Place, SMALL, pids};

pub(crate) async fn all_end(pids: &[u64]) {
    eventually("everything stops", || async { (!pids.iter().any(|pid| is_alive(*pid))).then_some(()) }).await;
}

#[tokio::test]
async fn a_store_whose_directory_is_removed_stops_instead_of_acknowledging_into_deleted_files() {
    let mut place = Place::new();
    place.up("store");
    let directory = place.data("store");
    place.home.must(&["put", "k", "v"]);
    let before = pids(&directory);
    fs::remove_dir_all(&directory).unwrap();
    all_end(&before).await;
    assert!(!directory.join("cluster.json").exists(), "nothing is made again");

    place.up("store");
    assert_eq!(place.home.run(&["get", "k"]).status.code(), Some(2), "it is a new store");
    place.home.must(&["down"]);
}

#[tokio::test]
async fn a_store_whose_directory_is_moved_stops_and_starts_from_its_new_place() {
    let mut place = Place::new();
    place.up("store");
    let moved = place.elsewhere("moved");
    place.home.must(&["put", "k", "v"]);
    let before = pids(&place.data("store"));
    fs::create_dir_all(moved.parent().unwrap()).unwrap();
    fs::rename(place.data("store"), &moved).unwrap();
    all_end(&before).await;
    let log = fs::read_to_string(moved.join("logs/supervisor.log")).unwrap();
    assert!(log.contains("was moved while its store ran"), "{log}");

    let manifest = place.manifest("store", SMALL);
    let data_dir = moved.to_str().unwrap();
    place.home.must(&["up", "-d", "-f", &manifest, "--data-dir", data_dir]);
    assert_eq!(place.home.must(&["get", "k"]), "v");
    place.home.must(&["down"]);
}

#[test]
fn only_their_owner_reads_data_and_logs() {
    let mut place = Place::new();
    place.up("store");
    place.home.must(&["put", "k", "v"]);
    place.home.must(&["down"]);
    let mut open_to_others = Vec::new();
    look(&place.home.path("home"), &mut open_to_others);
    assert_eq!(open_to_others, [""; 0]);
}

fn look(path: &Path, open_to_others: &mut Vec<String>) {
    let metadata = fs::metadata(path).unwrap();
    if metadata.permissions().mode() & 0o077 != 0 {
        open_to_others.push(path.display().to_string());
    }
    for entry in path.is_dir().then(|| fs::read_dir(path).unwrap()).into_iter().flatten() {
        look(&entry.unwrap().path(), open_to_others);
    }
}

#[test]
fn a_directory_of_other_files_is_refused() {
    let mut place = Place::new();
    let directory = place.elsewhere("mine");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("thesis.tex"), "").unwrap();
    let manifest = place.manifest("store", SMALL);
    let complaint =
        place.home.must_fail(1, &["up", "-d", "-f", &manifest, "--data-dir", directory.to_str().unwrap()]);
    assert!(complaint.contains("holds other files (thesis.tex)"), "{complaint}");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing was put there");
}
