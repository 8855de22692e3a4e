//! A group with its members, and a member by its name.

use anyhow::{Context as _, bail};
use skv_proto::v1;
use skv_sharding::{GroupId, ReplicaId};

use crate::admin::{self, Member};
use crate::target::Target;

/// Returns a group of the shard map, and the state of each of its members.
pub(super) async fn group_and_members(
    target: &Target,
    group: GroupId,
) -> anyhow::Result<(v1::Group, Vec<Member>)> {
    let mut map = target.shard_map().await?;
    map.groups.retain(|g| g.id == group.0);
    let Some(known) = map.groups.first().cloned() else {
        bail!("there is no group {group}: `skv map` shows which there are");
    };
    let members = admin::members(target, &map).await;
    Ok((known, members))
}

/// Returns the member of this server name or replica id.
pub(super) fn named<'a>(members: &'a [Member], name: &str) -> anyhow::Result<&'a Member> {
    let is_named =
        |member: &&Member| member.replica.server == name || ReplicaId(member.replica.id).to_string() == name;
    members.iter().find(is_named).with_context(|| {
        let names: Vec<&str> = members.iter().map(|member| member.replica.server.as_str()).collect();
        format!("the group has no replica {name}; it has {}", names.join(", "))
    })
}
