//! The candidates that a leader may admit. Pure.

use skv_sharding::{GroupId, Replica};

use super::heard::Heard;
use crate::record::GroupRecord;

/// Returns the candidates that a group of this many replicas needs: those on the servers of members, which
/// they replace; and as many on other servers as the group has too few, the living first.
pub(super) fn wanted(group: &GroupRecord, replicas: u32, heard: &Heard, id: GroupId) -> Vec<Replica> {
    let (mut wanted, mut more): (Vec<Replica>, Vec<Replica>) =
        group.candidates.iter().cloned().partition(|candidate| has_member_on(group, &candidate.server));
    more.sort_by_key(|candidate| heard.holder(id, &candidate.server).is_none());
    more.truncate((replicas as usize).saturating_sub(group.members.len()));
    wanted.append(&mut more);
    wanted
}

/// Returns the servers of candidates that the group will never need, since it has all its members.
pub(super) fn unneeded(group: &GroupRecord, replicas: u32) -> Vec<String> {
    if group.members.len() < replicas as usize {
        return Vec::new();
    }
    let others = group.candidates.iter().filter(|candidate| !has_member_on(group, &candidate.server));
    others.map(|candidate| candidate.server.clone()).collect()
}

fn has_member_on(group: &GroupRecord, server: &str) -> bool {
    group.members.iter().any(|member| member.server == server)
}
