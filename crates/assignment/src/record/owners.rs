//! The owners of all shards as they are stored: a set of shards per group and epoch.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use skv_sharding::{Epoch, GroupId, Owner, ShardId, ShardSet};

#[derive(Serialize, Deserialize)]
struct Owned {
    group: GroupId,
    epoch: Epoch,
    shards: ShardSet,
}

pub(super) fn serialize<S: Serializer>(owners: &[Owner], s: S) -> Result<S::Ok, S::Error> {
    let mut owned: BTreeMap<(GroupId, Epoch), Vec<ShardId>> = BTreeMap::new();
    for (shard, owner) in (0..).map(ShardId).zip(owners) {
        owned.entry((owner.group, owner.epoch)).or_default().push(shard);
    }
    s.collect_seq(owned.into_iter().map(|((group, epoch), shards)| Owned {
        group,
        epoch,
        shards: shards.into_iter().collect(),
    }))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Owner>, D::Error> {
    let owned = Vec::<Owned>::deserialize(d)?;
    let shards = owned.iter().map(|o| o.shards.len()).sum();
    let mut owners: Vec<Option<Owner>> = vec![None; shards];
    for Owned { group, epoch, shards } in owned {
        for shard in shards.iter() {
            // There are as many places as shards: a shard that is out of range or comes twice leaves
            // another empty.
            if let Some(owner) = owners.get_mut(shard.0 as usize) {
                *owner = Some(Owner { group, epoch });
            }
        }
    }
    owners
        .into_iter()
        .zip(0u32..)
        .map(|(owner, shard)| owner.ok_or_else(|| D::Error::custom(format!("shard {shard} has no owner"))))
        .collect()
}
