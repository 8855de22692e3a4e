use super::*;

fn contents(disk: &MemoryDisk, path: &str) -> Option<Vec<u8>> {
    let file = disk.open(Path::new(path)).ok()?;
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    Some(bytes)
}

fn write(disk: &MemoryDisk, path: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.create(Path::new(path)).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

#[tokio::test]
async fn a_crash_leaves_what_was_synced() {
    let disk = MemoryDisk::new();
    let file = write(&disk, "/a", &[1; 1200]);
    file.sync().await.unwrap();
    file.write_all_at(&[2; 600], 500).unwrap();
    file.write_all_at(&[2; 600], 1100).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    write(&disk, "/b", &[3]).sync().await.unwrap();

    let after = disk.crash(|| false);
    assert_eq!(contents(&after, "/a"), Some(vec![1; 1200]));
    assert_eq!(contents(&after, "/b"), None, "its name wasn't synced");
    assert_eq!(after.used(), 1200);
    assert!(file.write_all_at(&[0], 0).is_err(), "the old disk has no power");
    assert!(disk.list(Path::new("/")).is_err());
}

#[tokio::test]
async fn what_a_killed_process_did_not_sync_is_seen_and_not_durable() {
    let disk = MemoryDisk::new();
    let file = write(&disk, "/a", b"a");
    file.sync().await.unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    file.write_all_at(b"b", 0).unwrap();
    write(&disk, "/c", b"c");

    let next = disk.kill();
    assert!(file.write_all_at(b"x", 0).is_err());
    assert_eq!((contents(&next, "/a"), contents(&next, "/c")), (Some(b"b".to_vec()), Some(b"c".to_vec())));
    assert_eq!(next.used(), 2);
    let after = next.crash(|| false);
    assert_eq!((contents(&after, "/a"), contents(&after, "/c")), (Some(b"a".to_vec()), None));
}

#[tokio::test]
async fn a_crash_may_leave_any_sector_and_name_that_was_not_synced() {
    let disk = MemoryDisk::new();
    let file = write(&disk, "/a", &[1; 1024]);
    file.sync().await.unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    file.write_all_at(&[2; 2048], 0).unwrap();

    let mut odd = false;
    let after = disk.crash(|| {
        odd = !odd;
        odd
    });
    let expected = [vec![2; 512], vec![1; 512], vec![2; 512]].concat();
    assert_eq!(contents(&after, "/a"), Some(expected));
}

#[tokio::test]
async fn a_renamed_directory_takes_its_files_along() {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new("/x.tmp/y")).unwrap();
    write(&disk, "/x.tmp/y/f", b"f").sync().await.unwrap();
    disk.sync_dir(Path::new("/x.tmp/y")).unwrap();
    disk.sync_dir(Path::new("/x.tmp")).unwrap();
    disk.rename(Path::new("/x.tmp"), Path::new("/x")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();

    let after = disk.crash(|| false);
    assert_eq!(contents(&after, "/x/y/f"), Some(b"f".to_vec()));
    assert!(!after.exists(Path::new("/x.tmp")).unwrap());
}

#[tokio::test]
async fn a_removed_file_is_back_after_a_crash_until_its_directory_is_synced() {
    let disk = MemoryDisk::new();
    write(&disk, "/a", b"a").sync().await.unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.remove(Path::new("/a")).unwrap();
    let disk = disk.crash(|| false);
    assert_eq!(contents(&disk, "/a"), Some(b"a".to_vec()));
    disk.remove(Path::new("/a")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(disk.used(), 0);
    assert_eq!(contents(&disk.crash(|| false), "/a"), None);
}

#[tokio::test]
async fn a_full_disk_refuses_to_grow_and_takes_what_does_not_grow() {
    let disk = MemoryDisk::new();
    disk.set_capacity(Some(10));
    let file = write(&disk, "/a", &[1; 10]);
    let refused = file.write_all_at(&[2; 2], 9).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    file.write_all_at(&[3; 10], 0).unwrap();
    assert_eq!(contents(&disk, "/a"), Some(vec![3; 10]));

    disk.remove(Path::new("/a")).unwrap();
    assert!(disk.create(Path::new("/b")).unwrap().write_all_at(&[1], 0).is_err(), "still open");
    drop(file);
    write(&disk, "/c", &[1; 10]);
}

#[tokio::test]
async fn a_removed_directory_frees_its_files() {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new("/x/y")).unwrap();
    write(&disk, "/x/y/f", b"f");
    disk.remove_dir_all(Path::new("/x")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(disk.used(), 0);
    disk.remove_dir_all(Path::new("/x")).unwrap();
}

#[tokio::test]
async fn a_failing_sync_makes_nothing_durable() {
    let disk = MemoryDisk::new();
    let file = write(&disk, "/a", b"a");
    disk.sync_dir(Path::new("/")).unwrap();
    disk.set_sync_error(Some(io::ErrorKind::Other));
    assert!(file.sync().await.is_err());
    assert!(disk.sync_dir(Path::new("/")).is_err());
    assert_eq!(contents(&disk.crash(|| false), "/a"), Some(vec![]));
}

#[tokio::test]
async fn a_lying_disk_goes_back_to_its_last_honest_sync() {
    let disk = MemoryDisk::new();
    let file = write(&disk, "/a", b"old");
    file.sync().await.unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.set_lies(true);
    file.write_all_at(b"new and longer", 0).unwrap();
    file.sync().await.unwrap();
    write(&disk, "/b", b"b").sync().await.unwrap();
    disk.remove(Path::new("/a")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(contents(&disk, "/b"), Some(b"b".to_vec()));
    let after = disk.crash(|| false);
    assert_eq!((contents(&after, "/a"), contents(&after, "/b")), (Some(b"old".to_vec()), None));
}

#[tokio::test]
async fn a_copy_of_a_disk_is_a_disk_of_its_own() {
    let disk = MemoryDisk::new();
    let file = write(&disk, "/a", b"1");
    let copy = disk.copy();
    file.write_all_at(b"2", 0).unwrap();
    assert_eq!((contents(&disk, "/a"), contents(&copy, "/a")), (Some(b"2".to_vec()), Some(b"1".to_vec())));
    assert_eq!(copy.used(), 1);
}
