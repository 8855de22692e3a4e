//! The state machine as openraft drives it: applying, building and installing snapshots.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::stream;
use openraft::storage::RaftStateMachine as _;
use openraft::vote::RaftLeaderId as _;
use openraft::{EntryPayload, RaftSnapshotBuilder as _};
use prost::Message as _;
use rustix::io::Errno;
use skv_disk::{Disk, MemoryDisk};
use skv_proto::v1;
use skv_raft::state_machine::{StateMachine, meta_of};
use skv_raft::types::{EncodedEntry, LeaderId, LogEntry, LogId, Membership, ServerName, StoredMembership};
use skv_sharding::{ClusterId, MapRevision, ReplicaId};
use skv_store::{ApplyError, Store, encode_batch, encode_found};

use crate::support::*;

struct Replica {
    memory: Arc<MemoryDisk>,
    store: Arc<Store>,
    machine: StateMachine,
    next: u64,
}

async fn open(memory: Arc<MemoryDisk>) -> Replica {
    memory.create_dir_all(Path::new("/s")).unwrap();
    memory.sync_dir(Path::new("/")).unwrap();
    let store = Arc::new(Store::new(1));
    let disk: Arc<dyn Disk> = Arc::clone(&memory) as _;
    let machine = StateMachine::open(disk, "/s".into(), Arc::clone(&store)).await.unwrap();
    let next = machine.covered().map_or(0, |index| index + 1);
    Replica { memory, store, machine, next }
}

async fn new() -> Replica {
    open(Arc::new(MemoryDisk::new())).await
}

/// Returns a replica that has a key and a snapshot of it, and one that has neither.
async fn leader_and_follower() -> (Replica, Replica) {
    let (mut leader, mut follower) = (new().await, new().await);
    leader.found().await;
    leader.put("k", "leader").await;
    leader.snapshot().await;
    follower.found().await;
    (leader, follower)
}

fn log_id(index: u64) -> LogId {
    LogId { leader_id: LeaderId::new(1, ReplicaId(1)), index }
}

impl Replica {
    async fn apply(&mut self, payload: EntryPayload<EncodedEntry, ReplicaId, ServerName>) -> io::Result<()> {
        let entry = LogEntry { log_id: log_id(self.next), payload };
        self.next += 1;
        self.machine.apply(stream::iter([Ok((entry, None))])).await
    }

    async fn apply_normal(&mut self, entry: Bytes) -> io::Result<()> {
        self.apply(EntryPayload::Normal(EncodedEntry(entry))).await
    }

    async fn found(&mut self) {
        let membership = members();
        self.apply(EntryPayload::Membership(membership)).await.unwrap();
        let entry = encode_found(0, ClusterId(5), record(v1::Limits::default()), MapRevision(1)).unwrap();
        self.apply_normal(entry).await.unwrap();
    }

    async fn put(&mut self, key: &str, value: &str) {
        self.apply_normal(encode_batch(1, vec![put(key, value)])).await.unwrap();
    }

    /// Builds a snapshot and returns the index that it covers.
    async fn snapshot(&mut self) -> Option<u64> {
        let mut builder = self.machine.try_create_snapshot_builder(false).await?;
        let snapshot = builder.build_snapshot().await.unwrap();
        assert_eq!(snapshot.meta, meta_of(&snapshot.snapshot).unwrap());
        snapshot.meta.last_log_id.map(|id| id.index)
    }

    fn bytes(&self) -> u64 {
        self.machine.applied_bytes().load(Ordering::Relaxed)
    }
}

fn members() -> Membership {
    let names = [(ReplicaId(1), ServerName("kv-0".into()))];
    Membership::new(vec![[ReplicaId(1)].into()], std::collections::BTreeMap::from(names)).unwrap()
}

#[tokio::test]
async fn a_restarted_replica_goes_on_from_its_snapshot() {
    let mut replica = new().await;
    assert!(replica.machine.get_current_snapshot().await.unwrap().is_none());
    replica.found().await;
    replica.put("k", "1").await;
    assert_eq!(replica.snapshot().await, Some(2));
    replica.put("k", "2").await;

    let again = open(Arc::new(replica.memory.crash(|| false))).await;
    assert_eq!(again.machine.covered(), Some(2));
    assert_eq!(value(&again.store, "k").as_deref(), Some("1"));
    let mut machine = again.machine;
    let (last_applied, membership) = machine.applied_state().await.unwrap();
    assert_eq!(last_applied, Some(log_id(2)));
    assert_eq!(membership, StoredMembership::new(Some(log_id(0)), members()));
}

#[tokio::test]
async fn a_snapshot_holds_what_was_applied_when_it_was_asked_for() {
    let mut replica = new().await;
    replica.found().await;
    for i in 0..3000 {
        replica.put(&format!("key{i}"), "before").await;
    }
    let before = dump(&replica.store);
    let mut builder = replica.machine.try_create_snapshot_builder(true).await.unwrap();
    let building = tokio::spawn(async move { builder.build_snapshot().await.unwrap() });
    for i in 0..3000 {
        replica.put(&format!("key{i}"), "after").await;
        tokio::task::yield_now().await;
    }
    building.await.unwrap();
    let again = open(Arc::new(replica.memory.crash(|| false))).await;
    assert_eq!(dump(&again.store), before);
}

#[tokio::test]
async fn bytes_are_counted_from_the_snapshot_on() {
    let mut replica = new().await;
    replica.found().await;
    replica.put("k", &"x".repeat(1000)).await;
    let mut builder = replica.machine.try_create_snapshot_builder(true).await.unwrap();
    let before = replica.bytes();
    assert!(before > 1000);
    replica.put("k", &"x".repeat(500)).await;
    let since = replica.bytes() - before;
    builder.build_snapshot().await.unwrap();
    assert_eq!(replica.bytes(), since);
}

#[tokio::test]
async fn a_full_disk_leaves_the_snapshot_before() {
    let mut replica = new().await;
    replica.found().await;
    replica.memory.set_capacity(Some(0));
    assert_eq!(replica.snapshot().await, None);

    // That is room for an empty snapshot.
    replica.memory.set_capacity(Some(150));
    assert_eq!(replica.snapshot().await, None);
    replica.memory.set_capacity(None);
    let mut replica = open(Arc::new(replica.memory.crash(|| false))).await;
    assert_eq!(replica.machine.covered(), None);
    replica.found().await;
    assert_eq!(replica.snapshot().await, Some(1));

    replica.put("k", "1").await;
    let bytes = replica.bytes();
    replica.memory.set_capacity(Some(replica.memory.used()));
    assert_eq!(replica.snapshot().await, Some(1));
    assert_eq!(replica.bytes(), bytes);
    replica.memory.set_capacity(None);
    assert_eq!(replica.snapshot().await, Some(2));
}

#[tokio::test]
async fn a_disk_that_opens_no_file_leaves_the_snapshot_before() {
    let mut replica = new().await;
    replica.found().await;
    replica.memory.set_open_error(Some(Errno::MFILE));
    assert_eq!(replica.snapshot().await, None);
    replica.memory.set_open_error(None);
    assert_eq!(replica.snapshot().await, Some(1));

    replica.put("k", "1").await;
    for error in [Errno::MFILE, Errno::NFILE, Errno::IO] {
        replica.memory.set_open_error(Some(error));
        assert_eq!(replica.snapshot().await, Some(1), "{error}");
    }
    replica.memory.set_open_error(None);
    assert_eq!(replica.memory.list(Path::new("/s")).unwrap().len(), 1);
    assert_eq!(replica.snapshot().await, Some(2));
}

#[tokio::test]
async fn a_snapshot_whose_sync_fails_ends_the_replica() {
    let mut replica = new().await;
    replica.found().await;
    assert_eq!(replica.snapshot().await, Some(1));
    replica.put("k", "1").await;
    replica.memory.set_sync_error(Some(io::ErrorKind::Other));
    let mut builder = replica.machine.try_create_snapshot_builder(false).await.unwrap();
    assert!(builder.build_snapshot().await.is_err());
}

#[tokio::test]
async fn a_snapshot_from_the_leader_waits_for_a_disk_that_opens_no_file() {
    let (mut leader, mut follower) = leader_and_follower().await;
    let snapshot = leader.machine.get_current_snapshot().await.unwrap().unwrap();
    follower.memory.set_open_error(Some(Errno::MFILE));
    {
        let mut installed =
            std::pin::pin!(follower.machine.install_snapshot(&snapshot.meta, snapshot.snapshot));
        for _ in 0..1000 {
            assert!(futures::poll!(&mut installed).is_pending(), "it gives up");
            tokio::task::yield_now().await;
        }
        follower.memory.set_open_error(None);
        installed.await.unwrap();
    }
    let again = open(Arc::new(follower.memory.crash(|| false))).await;
    assert_eq!(dump(&again.store), dump(&leader.store));
}

#[tokio::test]
async fn an_installed_snapshot_replaces_the_state_and_stays() {
    let (mut leader, mut follower) = leader_and_follower().await;
    let snapshot = leader.machine.get_current_snapshot().await.unwrap().unwrap();
    follower.machine.install_snapshot(&snapshot.meta, snapshot.snapshot).await.unwrap();
    assert_eq!(dump(&follower.store), dump(&leader.store));
    assert_eq!(follower.machine.applied_state().await.unwrap().0, Some(log_id(2)));
    assert_eq!(follower.bytes(), 0);
    assert_eq!(follower.machine.get_current_snapshot().await.unwrap().unwrap().meta, snapshot.meta);

    let again = open(Arc::new(follower.memory.crash(|| false))).await;
    assert_eq!(dump(&again.store), dump(&leader.store));
}

#[tokio::test]
async fn a_snapshot_that_ends_late_does_not_replace_a_newer_one() {
    let mut leader = new().await;
    leader.found().await;
    for i in 0..5 {
        leader.put("k", &i.to_string()).await;
    }
    leader.snapshot().await;
    let newer = leader.machine.get_current_snapshot().await.unwrap().unwrap();

    let mut follower = new().await;
    follower.found().await;
    let mut builder = follower.machine.try_create_snapshot_builder(true).await.unwrap();
    follower.machine.install_snapshot(&newer.meta, newer.snapshot).await.unwrap();
    assert_eq!(builder.build_snapshot().await.unwrap().meta, newer.meta);
    assert_eq!(follower.machine.get_current_snapshot().await.unwrap().unwrap().meta, newer.meta);
}

#[tokio::test]
async fn a_stopped_replica_writes_no_snapshot_any_more() {
    let mut replica = new().await;
    replica.found().await;
    let mut builder = replica.machine.try_create_snapshot_builder(true).await.unwrap();
    drop(replica.machine);
    assert!(builder.build_snapshot().await.is_err());
}

#[tokio::test]
async fn an_entry_of_another_version_stops_the_replica_and_says_why() {
    let mut replica = new().await;
    replica.found().await;
    let newer = v1::Entry { version: 9, time: 0, entry: None }.encode_to_vec();
    let error = replica.apply_normal(newer.into()).await.unwrap_err();
    let expected = ApplyError::UnsupportedVersion { found: 9, supported: 1 };
    assert_eq!(error.downcast::<ApplyError>().unwrap(), expected);
}
