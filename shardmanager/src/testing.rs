//! Records that several test modules use.

use std::collections::BTreeMap;

use skv_assignment::record::{GroupRecord, History, Limits, Record, Requests, RetiredGroups};
use skv_sharding::{
    ClusterId, Epoch, GroupId, GroupUid, Hash, MapRevision, Owner, Policy, Replica, ReplicaId,
};

pub(crate) const LIMITS: Limits = Limits {
    max_key_bytes: 4096,
    max_value_bytes: 1 << 20,
    max_sessions_per_shard: 100,
    session_ttl_ms: 1000,
};

pub(crate) fn replica(id: u64, server: &str) -> Replica {
    Replica {
        id: ReplicaId(id),
        server: server.to_owned(),
        client_address: format!("{server}:{}", 1000 + id),
        peer_address: format!("{server}:{}", 2000 + id),
        instance: id.to_string(),
    }
}

/// Returns a record with two groups of one replica each that share four shards.
pub(crate) fn sample_record() -> Record {
    let groups = [GroupId(0), GroupId(1)];
    let owners = [0, 1, 0, 1].map(GroupId);
    let mut history = History::default();
    history.push(groups.to_vec(), &owners);
    let group = |id: GroupId| {
        let members = vec![replica(10 + u64::from(id.0), &format!("kv-{id}-0"))];
        let shards = (0..)
            .map(skv_sharding::ShardId)
            .zip(&owners)
            .filter(|(_, o)| **o == id)
            .map(|(s, _)| s)
            .collect();
        GroupRecord::founded(GroupUid(100 + u64::from(id.0)), members, shards, Epoch(1))
    };
    Record {
        cluster: ClusterId(7),
        revision: MapRevision(1),
        hash: Hash::Fnv1,
        limits: LIMITS,
        groups: groups.iter().map(|&id| (id, group(id))).collect::<BTreeMap<_, _>>(),
        owners: owners.into_iter().map(|group| Owner { group, epoch: Epoch(1) }).collect(),
        history,
        policy: Policy::Minimal,
        pins: BTreeMap::new(),
        moves: BTreeMap::new(),
        epoch: Epoch(1),
        requests: Requests::default(),
        retired: RetiredGroups::default(),
    }
}
