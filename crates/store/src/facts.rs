//! The facts that a group's log holds about the group itself.

use skv_proto::v1;
use skv_sharding::{
    COUNT_LIMIT, ClusterId, Epoch, GroupId, GroupUid, Hash, Incarnation, Lineage, MapRevision, ShardId,
};

use crate::Rejection;

/// More shards than any cluster needs, and few enough to have a table of them all.
const MAX_SHARDS: u32 = 1 << 20;

/// A larger key or value would fit into no entry and no answer.
const MOST_KEY_BYTES: u64 = 64 << 10;
const MOST_VALUE_BYTES: u64 = 16 << 20;

/// The limits that all replicas must agree on to apply alike. They travel in the founding entry and
/// never come from a replica's own settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest key in bytes. It is checked before a request is proposed.
    pub max_key_bytes: u64,
    /// The longest value in bytes, also as the result of appends.
    pub max_value_bytes: u64,
    /// The number of sessions that one shard remembers.
    pub max_sessions_per_shard: u64,
    /// The time in ms after which an unused session is forgotten.
    pub session_ttl_ms: u64,
    /// The bytes of old values that a shard keeps to answer repeated appends.
    pub max_old_value_bytes_per_shard: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let skv_sharding::Limits { max_key_bytes, max_value_bytes, max_sessions_per_shard, session_ttl_ms } =
            skv_sharding::Limits::DEFAULT;
        Self {
            max_key_bytes,
            max_value_bytes,
            max_sessions_per_shard,
            session_ttl_ms,
            max_old_value_bytes_per_shard: 4 << 20,
        }
    }
}

impl From<v1::Limits> for Limits {
    fn from(wire: v1::Limits) -> Self {
        let default = Limits::default();
        let or = |value, default| if value == 0 { default } else { value };
        Self {
            max_key_bytes: or(wire.max_key_bytes, default.max_key_bytes),
            max_value_bytes: or(wire.max_value_bytes, default.max_value_bytes),
            max_sessions_per_shard: or(wire.max_sessions_per_shard, default.max_sessions_per_shard),
            session_ttl_ms: or(wire.session_ttl_ms, default.session_ttl_ms),
            max_old_value_bytes_per_shard: or(
                wire.max_old_value_bytes_per_shard,
                default.max_old_value_bytes_per_shard,
            ),
        }
    }
}

impl From<Limits> for v1::Limits {
    fn from(limits: Limits) -> Self {
        Self {
            max_key_bytes: limits.max_key_bytes,
            max_value_bytes: limits.max_value_bytes,
            max_sessions_per_shard: limits.max_sessions_per_shard,
            session_ttl_ms: limits.session_ttl_ms,
            max_old_value_bytes_per_shard: limits.max_old_value_bytes_per_shard,
        }
    }
}

/// The identity of a group, and the rules by which it applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// Its number.
    pub group: GroupId,
    /// Its identity.
    pub uid: GroupUid,
    /// Its incarnation, which a reset raises.
    pub incarnation: Incarnation,
    /// The incarnations that this one came from.
    pub lineage: Lineage,
    /// The hash that finds the shard of a key.
    pub hash: Hash,
    /// The cluster's number of shards.
    pub shards: u32,
    /// The highest map revision that it obeyed.
    pub obeyed_revision: MapRevision,
    /// The limits that it was founded with.
    pub limits: Limits,
    /// True if it takes no shard any more.
    pub retired: bool,
}

/// A founding record that no group can be founded with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The hash isn't one that this version knows.
    #[error("the founding record names hash {0}, which this version doesn't know")]
    UnknownHash(i32),
    /// No shards, or far too many.
    #[error("the founding record names {0} shards; there must be 1 to {MAX_SHARDS}")]
    Shards(u32),
    /// The group is given a shard that doesn't exist.
    #[error("the founding record gives the group shard {0}, but there are only {1} shards")]
    NoSuchShard(u32, u32),
    /// The group is given a shard twice.
    #[error("the founding record gives the group shard {0} twice")]
    Twice(u32),
    /// Keys or values would be too large for entries and answers.
    #[error("the founding record allows keys of {0} and values of {1} bytes; that is too much")]
    TooLarge(u64, u64),
    /// The epoch of its shards is invalid.
    #[error("the founding record gives the group shards under epoch {0}, which is none")]
    Epoch(u64),
    /// The record itself is missing.
    #[error("the founding record is missing")]
    Missing,
}

impl Facts {
    /// Returns the shard of a key.
    pub fn shard_of(&self, key: &[u8]) -> Result<ShardId, Rejection> {
        self.hash.shard(key, self.shards).map_err(|_| Rejection::NotAnInteger)
    }

    /// Reads a founding record: the facts, and the group's first shards.
    pub(super) fn founded(
        entry: &v1::BootstrapRecordEntry,
    ) -> Result<(Facts, Vec<(ShardId, Epoch)>), RecordError> {
        let record = entry.record.as_ref().ok_or(RecordError::Missing)?;
        let facts = Facts {
            cluster: ClusterId(entry.cluster_id),
            group: GroupId(record.group),
            uid: GroupUid(record.group_uid),
            incarnation: Incarnation(0),
            lineage: Lineage::default(),
            hash: record.hash().try_into().map_err(|_| RecordError::UnknownHash(record.hash))?,
            shards: check_shards(record.shards)?,
            obeyed_revision: MapRevision(entry.manager_version),
            limits: record.limits.unwrap_or_default().into(),
            retired: false,
        };
        let mut owned: Vec<_> =
            record.shards_owned.iter().map(|s| (ShardId(s.shard), Epoch(s.epoch))).collect();
        owned.sort_unstable();
        if let Some(twice) = owned.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(RecordError::Twice(twice[0].0.0));
        }
        match owned.last() {
            Some((last, _)) if last.0 >= facts.shards => Err(RecordError::NoSuchShard(last.0, facts.shards)),
            _ => Ok((facts, owned)),
        }
    }
}

/// Checks a record before it is proposed. The rules are stricter than for one that is applied: a
/// group that exists goes on.
pub(super) fn check_proposed(
    Limits { max_key_bytes, max_value_bytes, .. }: &Limits,
    record: &v1::BootstrapRecord,
) -> Result<(), RecordError> {
    if *max_key_bytes > MOST_KEY_BYTES || *max_value_bytes > MOST_VALUE_BYTES {
        return Err(RecordError::TooLarge(*max_key_bytes, *max_value_bytes));
    }
    let beyond = record.shards_owned.iter().find(|owned| owned.epoch >= COUNT_LIMIT);
    beyond.map_or(Ok(()), |owned| Err(RecordError::Epoch(owned.epoch)))
}

fn check_shards(shards: u32) -> Result<u32, RecordError> {
    (1..=MAX_SHARDS).contains(&shards).then_some(shards).ok_or(RecordError::Shards(shards))
}

impl From<&Facts> for v1::group_state::Founded {
    fn from(facts: &Facts) -> Self {
        Self {
            cluster_id: facts.cluster.0,
            group: facts.group.0,
            group_uid: facts.uid.0,
            incarnation: facts.incarnation.0,
            hash: v1::Hash::from(facts.hash) as i32,
            shards: facts.shards,
            obeyed_version: facts.obeyed_revision.0,
            limits: Some(facts.limits.into()),
            retired: facts.retired,
            lineage: facts.lineage.iter().map(|incarnation| incarnation.0).collect(),
        }
    }
}

impl TryFrom<v1::group_state::Founded> for Facts {
    type Error = RecordError;
    fn try_from(wire: v1::group_state::Founded) -> Result<Self, RecordError> {
        Ok(Facts {
            cluster: ClusterId(wire.cluster_id),
            group: GroupId(wire.group),
            uid: GroupUid(wire.group_uid),
            incarnation: Incarnation(wire.incarnation),
            lineage: Lineage::new(wire.lineage.iter().copied().map(Incarnation)),
            hash: wire.hash().try_into().map_err(|_| RecordError::UnknownHash(wire.hash))?,
            shards: check_shards(wire.shards)?,
            obeyed_revision: MapRevision(wire.obeyed_version),
            limits: wire.limits.unwrap_or_default().into(),
            retired: wire.retired,
        })
    }
}
