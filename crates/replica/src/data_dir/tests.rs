use skv_disk::MemoryDisk;
use skv_raft::types::{LogId, leader};

use super::*;

const GROUP: GroupId = GroupId(0);
const ROOT: &str = "/data";
const BELONGS: Belongs = Belongs { cluster: ClusterId(1), uid: GroupUid(2), incarnation: Incarnation(0) };

/// A replica of a group, in a directory that is durable.
struct Bench {
    disk: MemoryDisk,
    old: Identity,
    reborn: Identity,
}

impl Bench {
    async fn new() -> Bench {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new(ROOT)).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let old = Identity { belongs: Some(BELONGS), ..open(&disk).await };
        data(&disk).save_identity(&old).await.unwrap();
        let belongs = Belongs { incarnation: Incarnation(1), ..BELONGS };
        let reborn = Identity { replica: ReplicaId(77), group: GROUP, belongs: Some(belongs) };
        Bench { disk, old, reborn }
    }

    /// Returns what a reset leaves to its successor.
    fn legacy(&self) -> (Identity, Succession, StoreView) {
        let last = LogId { leader_id: leader(8, self.old.replica), index: 5 };
        let succession = Succession::after(last, self.reborn.replica, "kv-0".into()).unwrap();
        (self.reborn, succession, Store::new(1).view())
    }

    async fn write_reborn(&self) {
        let (identity, succession, view) = self.legacy();
        data(&self.disk).write_reborn(identity, succession, view, drop).await.unwrap();
    }

    async fn rebirth(&self) -> Result<PathBuf, RebirthError> {
        let (identity, succession, view) = self.legacy();
        data(&self.disk).rebirth(identity, succession, view, drop).await
    }

    /// Makes it impossible to put a directory aside.
    fn block(&self) {
        self.disk.create(&Path::new(ROOT).join("former")).unwrap();
    }

    fn unblock(&self) {
        self.disk.remove(&Path::new(ROOT).join("former")).unwrap();
    }
}

fn data(disk: &MemoryDisk) -> DataDir {
    let options = skv_log::Options { segment_bytes: 1 << 19, ..skv_log::Options::default() };
    DataDir::new(Arc::new(disk.clone()), PathBuf::from(ROOT), options)
}

/// Opens the directory, and returns the identity that is found in it.
async fn open(disk: &MemoryDisk) -> Identity {
    let Opened { identity, log, state } = data(disk).open(GROUP, Arc::new(Store::new(1))).await.unwrap();
    let finished = log.finished();
    drop((log, state));
    finished.wait().await;
    identity
}

/// Returns answers that alternate, of which the first is the opposite of `survives`.
fn every_other(mut survives: bool) -> impl FnMut() -> bool {
    move || {
        survives = !survives;
        survives
    }
}

/// Returns the disk after power failures: one that takes all that isn't durable, one that takes
/// nothing of it, and two of which each takes what the other one leaves.
fn power_failures(disk: &MemoryDisk) -> [MemoryDisk; 4] {
    [disk.crash(|| false), disk.crash(|| true), disk.crash(every_other(false)), disk.crash(every_other(true))]
}

#[tokio::test]
async fn a_rebirth_puts_the_new_replica_in_the_place_of_the_old_one() {
    let bench = Bench::new().await;
    bench.rebirth().await.unwrap();
    for disk in power_failures(&bench.disk) {
        assert_eq!(open(&disk).await, bench.reborn);
    }
}

/// It may be the only copy of what was acknowledged before.
#[tokio::test]
async fn a_former_life_is_kept_until_a_person_removes_it() {
    let bench = Bench::new().await;
    assert_eq!(data(&bench.disk).former(GROUP).unwrap(), None);
    let place = bench.rebirth().await.unwrap();
    for disk in power_failures(&bench.disk) {
        let data = data(&disk);
        // A replica that is a voter removes what it no longer needs.
        open(&disk).await;
        clear_quarantine(&data, 0);
        let former = data.former(GROUP).unwrap().unwrap();
        assert!(disk.exists(&place.join("identity")).unwrap());
        assert_eq!(former.dir, Path::new(ROOT).join("former"));
        // Another life of the same group, and one of another group.
        data.keep_as_former(GROUP).unwrap();
        disk.create_dir_all(&former.dir.join("g1-1")).unwrap();
        let both = data.former(GROUP).unwrap().unwrap().bytes;
        assert!(both > former.bytes && former.bytes > 1 << 19, "{both} and {}", former.bytes);
        assert_eq!(data.remove_former(GROUP).unwrap(), both);
        assert_eq!((data.former(GROUP).unwrap(), data.remove_former(GROUP).unwrap()), (None, 0));
        assert!(disk.exists(&former.dir.join("g1-1")).unwrap());
    }
}

/// Clears the quarantine for a successor of this incarnation.
fn clear_quarantine(data: &DataDir, incarnation: u32) {
    data.clear_quarantine(GROUP, BELONGS.uid, Incarnation(incarnation)).unwrap();
}

/// The group was revived while a damaged replica lay in quarantine, which may have more than the survivor had.
#[tokio::test]
async fn damaged_files_of_a_former_life_are_kept_until_a_person_removes_them() {
    let bench = Bench::new().await;
    let [mut kept, mut removed] = [None, None];
    for (incarnation, place) in [(0, &mut removed), (1, &mut kept)] {
        let data = data(&bench.disk);
        open(&bench.disk).await;
        data.save_identity(&bench.old).await.unwrap();
        let quarantined = data.quarantine(GROUP).unwrap();
        clear_quarantine(&data, incarnation);
        assert!(!bench.disk.exists(&quarantined).unwrap());
        *place = data.former(GROUP).unwrap();
    }
    assert!(removed.is_none() && kept.is_some(), "{removed:?} {kept:?}");

    // Nobody can tell of which life it is.
    let data = data(&bench.disk);
    data.remove_former(GROUP).unwrap();
    open(&bench.disk).await;
    let quarantined = data.quarantine(GROUP).unwrap();
    bench.disk.remove(&quarantined.join("identity")).unwrap();
    clear_quarantine(&data, 0);
    assert!(data.former(GROUP).unwrap().is_some());
    // It had no place in the group, and so nothing of it.
    data.remove_former(GROUP).unwrap();
    open(&bench.disk).await;
    data.quarantine(GROUP).unwrap();
    clear_quarantine(&data, 1);
    assert_eq!(data.former(GROUP).unwrap(), None);
}

#[tokio::test]
async fn a_replica_that_holds_nothing_leaves_nothing() {
    let bench = Bench::new().await;
    for _ in 0..2 {
        data(&bench.disk).discard(GROUP).unwrap();
    }
    for disk in power_failures(&bench.disk) {
        assert_eq!(open(&disk).await.belongs, None, "a new, empty replica");
        assert_eq!(data(&disk).former(GROUP).unwrap(), None);
    }
}

/// It is put aside then, and another one gets its name.
#[tokio::test]
async fn a_directory_that_cannot_be_opened_is_used_by_nobody() {
    let bench = Bench::new().await;
    let other = Identity { replica: ReplicaId(78), ..bench.old };
    data(&bench.disk).save_identity(&other).await.unwrap();
    let disk: Arc<dyn Disk> = Arc::new(bench.disk.clone());
    let data = DataDir { disk: disk.clone(), ..data(&bench.disk) };
    let refused = data.open(GROUP, Arc::new(Store::new(1))).await.err().unwrap();
    assert!(
        matches!(&refused, OpenError::Damaged { reason, .. } if reason.contains("log of replica")),
        "{refused}"
    );
    drop(data);
    assert_eq!(Arc::strong_count(&disk), 1, "the tasks of its log have ended");
}

#[tokio::test]
async fn a_rebirth_that_fails_never_comes_to_life() {
    let bench = Bench::new().await;
    bench.block();
    let failed = bench.rebirth().await.unwrap_err();
    assert!(matches!(failed, RebirthError::Unchanged(_)), "{failed}");
    bench.unblock();
    // The replica may be opened again before it is put aside, or not.
    let without_opening = bench.disk.kill();
    data(&without_opening).quarantine(GROUP).unwrap();
    for disk in power_failures(&without_opening) {
        assert_eq!(open(&disk).await.belongs, None, "a new, empty replica");
    }
}

#[tokio::test]
async fn a_rebirth_that_was_interrupted_before_the_old_replica_was_put_aside_never_comes_to_life() {
    let bench = Bench::new().await;
    bench.write_reborn().await;
    for disk in power_failures(&bench.disk) {
        assert_eq!(open(&disk).await, bench.old);
        assert!(!disk.exists(&data(&disk).reborn_dir(GROUP)).unwrap());
        data(&disk).quarantine(GROUP).unwrap();
        assert_eq!(open(&disk).await.belongs, None, "a new, empty replica");
    }
}

#[tokio::test]
async fn a_rebirth_that_was_interrupted_after_the_old_replica_was_put_aside_is_finished() {
    let bench = Bench::new().await;
    bench.write_reborn().await;
    data(&bench.disk).put_aside(GROUP, &data(&bench.disk).former_dir()).unwrap();
    for disk in power_failures(&bench.disk) {
        assert_eq!(open(&disk).await, bench.reborn);
        for disk in power_failures(&disk) {
            assert_eq!(open(&disk).await, bench.reborn);
        }
    }
}
