//! This server's copy of the shard map: it names other groups' addresses in answers, also while the
//! shard manager is away and after a restart. The shards that this server's own groups own are never
//! taken from it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use skv_disk::Disk;
use skv_disk::checked_file;
use skv_net::Addresses;
use skv_proto::{ShardOwner, v1};
use skv_sharding::{
    ClusterId, GroupId, GroupUid, Incarnation, MapRevision, Owner, Replica, ReplicaId, ShardId, ShardMap,
};
use tokio::sync::watch;

use crate::manager::Manager;

const FORMAT: &str = "skv-map-copy/1";
/// The pause between attempts to watch the manager.
const RETRY: Duration = Duration::from_millis(500);
/// The shortest time between two writes of the copy: while shards move, each that arrives changes the
/// map, and the disk belongs to the log. An older copy is one that was true.
const KEEP_EVERY: Duration = Duration::from_secs(5);
/// The pause after a write of the copy that failed: a disk that is full stays so for long.
const KEEP_AGAIN: Duration = Duration::from_secs(30);

/// The newest map that was seen.
#[derive(Debug)]
pub struct MapCopy {
    disk: Arc<dyn Disk>,
    file: PathBuf,
    addresses: Arc<Addresses>,
    current: watch::Sender<Option<Arc<Seen>>>,
}

/// A map, and the leaders when it was sent.
#[derive(Debug)]
struct Seen {
    map: ShardMap,
    leaders: Vec<(GroupId, ReplicaId)>,
}

impl MapCopy {
    /// Opens the copy that the disk holds, if it holds one; the manager can send it again.
    pub fn open(disk: Arc<dyn Disk>, file: PathBuf, addresses: Arc<Addresses>) -> Arc<Self> {
        let kept = match checked_file::read::<ShardMap>(&*disk, &file, FORMAT) {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!(%error, "the copy of the shard map is left aside; the manager has the map");
                None
            }
        };
        if let Some(map) = &kept {
            addresses.learn(map);
        }
        let current = kept.map(|map| Arc::new(Seen { map, leaders: Vec::new() }));
        Arc::new(MapCopy { disk, file, addresses, current: watch::Sender::new(current) })
    }

    /// Follows the manager for as long as the server runs.
    pub async fn follow(self: Arc<Self>, manager: Arc<Manager>) {
        tokio::join!(self.watch(&manager), self.keep());
    }

    async fn watch(&self, manager: &Manager) {
        loop {
            match manager.watch().await {
                Ok(mut maps) => loop {
                    match maps.message().await {
                        Ok(Some(map)) => self.take(&map),
                        Ok(None) => break,
                        Err(status) => {
                            tracing::debug!(status = status.message(), "the watch of the shard map ended");
                            break;
                        }
                    }
                },
                Err(status) => tracing::debug!(status = status.message(), "the shard map can't be watched"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Keeps the newest map on the disk. It may stay the newest for long: if the disk doesn't take it, it is
    /// tried again.
    async fn keep(&self) {
        let mut maps = self.current.subscribe();
        let mut kept = self.seen();
        let mut has_failed = false;
        loop {
            let seen = maps.borrow_and_update().clone();
            let is_kept = |seen: &Seen| kept.as_ref().is_some_and(|kept| kept.map == seen.map);
            if let Some(seen) = seen.filter(|seen| !is_kept(seen)) {
                let saved = self.save(seen.clone()).await;
                if let Err(error) = &saved {
                    self.report_failure(error, has_failed);
                }
                has_failed = saved.is_err();
                if !has_failed {
                    kept = Some(seen);
                }
                tokio::time::sleep(if has_failed { KEEP_AGAIN } else { KEEP_EVERY }).await;
            } else if maps.changed().await.is_err() {
                // The sender is in `self`, so that this doesn't happen before the end.
                return;
            }
        }
    }

    fn take(&self, wire: &v1::ShardMap) {
        let map = match ShardMap::try_from(wire) {
            Ok(map) => map,
            Err(error) => {
                tracing::warn!(%error, "the manager sent a shard map that is invalid; it is ignored");
                return;
            }
        };
        if let Some(seen) = &*self.current.borrow() {
            if seen.map.cluster != map.cluster {
                tracing::error!(ours = %seen.map.cluster, theirs = %map.cluster, "the manager is of another cluster; its map is ignored");
                return;
            }
            // After a record was lost the manager may know an older revision than this: it learns so
            // when this server registers, and rebuilds the map above it.
            if seen.map.revision > map.revision {
                return;
            }
        }
        self.addresses.learn(&map);
        let leaders = wire
            .groups
            .iter()
            .filter(|group| group.leader != 0)
            .map(|group| (GroupId(group.id), ReplicaId(group.leader)))
            .collect();
        self.current.send_replace(Some(Arc::new(Seen { map, leaders })));
    }

    /// Writes a map to the disk.
    async fn save(&self, seen: Arc<Seen>) -> io::Result<()> {
        let (disk, file) = (self.disk.clone(), self.file.clone());
        let write = async move { checked_file::write(&*disk, &file, FORMAT, &seen.map).await };
        skv_disk::run(&*self.disk, "map-copy", write).await.flatten()
    }

    /// Warns of the first of the failures that follow each other: the disk's other users warn of it too.
    fn report_failure(&self, error: &io::Error, is_repeated: bool) {
        let file = self.file.display();
        if is_repeated {
            tracing::debug!(%error, %file, "the copy of the shard map still can't be kept");
        } else {
            tracing::warn!(%error, %file, "the copy of the shard map can't be kept yet; it is tried again");
        }
    }

    fn seen(&self) -> Option<Arc<Seen>> {
        self.current.borrow().clone()
    }

    /// Returns the incarnation of a group by this copy, if it is the group of this identity.
    pub(crate) fn incarnation(&self, group: GroupId, uid: GroupUid) -> Option<Incarnation> {
        let seen = self.seen()?;
        let known = seen.map.groups.get(&group).filter(|known| known.uid == uid)?;
        Some(known.incarnation)
    }

    /// Returns the cluster and the identity of a group by this copy.
    pub(crate) fn identity(&self, group: GroupId) -> Option<(ClusterId, GroupUid)> {
        let seen = self.seen()?;
        Some((seen.map.cluster, seen.map.groups.get(&group)?.uid))
    }

    /// Waits until this copy shows a later incarnation of a group than this one: a shard manager recorded it.
    pub(crate) async fn later_incarnation(
        &self,
        group: GroupId,
        uid: GroupUid,
        than: Incarnation,
    ) -> Incarnation {
        let mut seen = self.current.subscribe();
        loop {
            if let Some(later) = self.incarnation(group, uid).filter(|known| *known > than) {
                return later;
            }
            // The sender is in `self`, so that this doesn't end before.
            let _ = seen.changed().await;
        }
    }

    /// Returns the owner of a key's shard by this copy, the leader's replica first.
    pub fn owner_of(&self, key: &[u8]) -> Option<ShardOwner> {
        let seen = self.seen()?;
        let (shard, owner) = seen.map.locate(key).ok()??;
        let uid = seen.map.groups.get(&owner.group)?.uid;
        let replicas = seen.members(owner.group);
        Some(ShardOwner { shard, group: owner.group, uid, epoch: owner.epoch, replicas })
    }

    /// Returns a shard's owner by this copy.
    pub fn owner(&self, shard: ShardId) -> Option<Owner> {
        self.seen()?.map.owners.get(shard.0 as usize).copied()
    }

    /// Returns the number of the newest configuration; 0 if there is none.
    pub fn configuration(&self) -> u64 {
        self.current.borrow().as_ref().map_or(0, |seen| seen.map.configuration)
    }

    /// Waits until there is a newer configuration than this one.
    pub async fn newer_configuration(&self, than: u64) {
        let is_newer =
            |seen: &Option<Arc<Seen>>| seen.as_ref().is_some_and(|seen| seen.map.configuration > than);
        // The sender is in `self`, so that this doesn't end before.
        let _ = self.current.subscribe().wait_for(is_newer).await;
    }

    /// Returns the revision of this copy; 0 if there is none.
    pub fn revision(&self) -> MapRevision {
        self.current.borrow().as_ref().map_or(MapRevision(0), |seen| seen.map.revision)
    }

    /// Returns the revision of this copy if it is a map of this cluster; else 0.
    pub fn revision_of(&self, cluster: ClusterId) -> MapRevision {
        let seen = self.seen().filter(|seen| seen.map.cluster == cluster);
        seen.map_or(MapRevision(0), |seen| seen.map.revision)
    }

    /// Returns the map with what is known of leaders, as a message.
    pub fn to_wire(&self) -> Option<v1::ShardMap> {
        let seen = self.seen()?;
        let mut wire = v1::ShardMap::from(&seen.map);
        for group in &mut wire.groups {
            let leader = seen.leaders.iter().find(|(g, _)| g.0 == group.id);
            group.leader = leader.map_or(0, |(_, leader)| leader.0);
        }
        Some(wire)
    }

    /// Returns a group's members, the leader first.
    pub fn members(&self, group: GroupId) -> Vec<Replica> {
        self.seen().map_or(Vec::new(), |seen| seen.members(group))
    }

    /// Returns the instance that a replica reported when it started.
    pub fn instance(&self, group: GroupId, id: ReplicaId) -> Option<String> {
        let seen = self.seen()?;
        let replica = seen.map.groups.get(&group)?.replicas.iter().find(|replica| replica.id == id)?;
        Some(replica.instance.clone())
    }
}

impl Seen {
    /// Returns a group's members, the leader first.
    fn members(&self, group: GroupId) -> Vec<Replica> {
        let leader = self.leaders.iter().find(|(g, _)| *g == group).map(|(_, leader)| *leader);
        let mut members = self.map.groups.get(&group).map_or(Vec::new(), |group| group.replicas.clone());
        members.sort_by_key(|replica| Some(replica.id) != leader);
        members
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use skv_disk::MemoryDisk;

    use super::*;

    const CLUSTER: u64 = 7;

    /// Returns a map of one group with one shard.
    fn map(cluster_id: u64, revision: u64, configuration: u64) -> v1::ShardMap {
        v1::ShardMap {
            cluster_id,
            revision,
            configuration,
            shards: 1,
            hash: v1::Hash::Fnv1 as i32,
            groups: vec![v1::Group { id: 0, uid: 1, ..v1::Group::default() }],
            ranges: vec![v1::ShardRange { first: 0, count: 1, group: 0, epoch: 1 }],
            ..v1::ShardMap::default()
        }
    }

    fn open(disk: &MemoryDisk) -> Arc<MapCopy> {
        disk.create_dir_all("/data".as_ref()).unwrap();
        MapCopy::open(Arc::new(disk.clone()), "/data/shard-map".into(), Arc::new(Addresses::fixed([])))
    }

    /// Returns the revision and the configuration of a copy.
    fn state(copy: &MapCopy) -> (u64, u64) {
        (copy.revision().0, copy.configuration())
    }

    #[test]
    fn an_older_map_is_ignored_and_a_newer_one_is_taken() {
        let copy = open(&MemoryDisk::new());
        assert_eq!(state(&copy), (0, 0));
        copy.take(&map(CLUSTER, 5, 2));
        copy.take(&map(CLUSTER, 4, 1));
        assert_eq!(state(&copy), (5, 2));
        copy.take(&map(CLUSTER, 6, 3));
        assert_eq!(state(&copy), (6, 3));
    }

    #[test]
    fn another_map_of_the_same_revision_is_the_one_that_was_rebuilt() {
        let copy = open(&MemoryDisk::new());
        copy.take(&map(CLUSTER, 5, 2));
        copy.take(&map(CLUSTER, 5, 1));
        assert_eq!(state(&copy), (5, 1));
    }

    #[test]
    fn the_map_of_another_cluster_is_ignored_and_says_nothing_of_ours() {
        let copy = open(&MemoryDisk::new());
        copy.take(&map(CLUSTER, 5, 2));
        copy.take(&map(8, 6, 3));
        assert_eq!(state(&copy), (5, 2));
        assert_eq!(copy.revision_of(ClusterId(CLUSTER)), MapRevision(5));
        assert_eq!(copy.revision_of(ClusterId(8)), MapRevision(0));
    }

    #[tokio::test]
    async fn a_later_incarnation_is_one_of_the_same_group() {
        let copy = open(&MemoryDisk::new());
        let later =
            |uid, than| copy.later_incarnation(GroupId(0), GroupUid(uid), Incarnation(than)).now_or_never();
        copy.take(&map(CLUSTER, 5, 2));
        assert_eq!(later(1, 0), None);
        let mut revived = map(CLUSTER, 6, 2);
        revived.groups[0].incarnation = 9;
        copy.take(&revived);
        assert_eq!([later(1, 0), later(1, 9), later(2, 0)], [Some(Incarnation(9)), None, None]);
    }

    #[tokio::test]
    async fn a_copy_that_was_kept_is_there_after_a_restart() {
        let disk = MemoryDisk::new();
        let copy = open(&disk);
        copy.take(&map(CLUSTER, 5, 2));
        copy.save(copy.seen().unwrap()).await.unwrap();
        let disk = disk.kill();
        let copy = open(&disk);
        assert_eq!(state(&copy), (5, 2));
        copy.take(&map(CLUSTER, 4, 1));
        assert_eq!(state(&copy), (5, 2), "what is older is ignored then too");
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_that_a_full_disk_did_not_take_is_kept_later_though_no_other_map_comes() {
        let disk = MemoryDisk::new();
        let copy = open(&disk);
        let kept = || state(&open(&disk));
        let test = async {
            disk.set_capacity(Some(disk.used()));
            copy.take(&map(CLUSTER, 5, 2));
            tokio::time::sleep(KEEP_AGAIN / 2).await;
            assert_eq!(kept(), (0, 0), "the disk is full");
            assert_eq!(
                disk.list("/data".as_ref()).unwrap(),
                Vec::<PathBuf>::new(),
                "it leaves nothing behind"
            );
            disk.set_capacity(None);
            while kept() != (5, 2) {
                tokio::time::sleep(KEEP_EVERY).await;
            }
        };
        let in_time = tokio::time::timeout(KEEP_AGAIN * 10, test);
        tokio::select! {
            biased;
            () = copy.keep() => panic!("it ends with its copy"),
            ended = in_time => ended.expect("it is tried again"),
        }
    }
}
