//! The members of groups by the shard manager's record. This is an object of Kubernetes, so that the members are
//! known also while neither a shard manager nor a server can be asked.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use skv_sharding::GroupId;

use crate::names::{Names, ServerSet, ordinal};

/// The part of a shard manager's record that names the members of each group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Record {
    groups: BTreeMap<GroupId, Group>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Group {
    members: Vec<Member>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Member {
    server: String,
}

impl Record {
    /// Reads a record; `None` if it is none, or of an unknown form.
    pub fn of(record: &Value) -> Option<Record> {
        Record::deserialize(record).ok()
    }

    /// Returns the number of servers with which each member of a group has its own; 0 if the record doesn't have
    /// the group.
    pub(crate) fn servers(&self, names: &Names, set: ServerSet) -> u32 {
        let group = set.group().and_then(|id| self.groups.get(&id));
        let members = group.into_iter().flat_map(|group| &group.members);
        let places = members.filter_map(|Member { server }| {
            let place = ordinal(server)?;
            (names.server(set, place) == *server).then_some(place)
        });
        places.max().map_or(0, |last| last.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn servers(group: u32, members: &[&str]) -> u32 {
        let members: Vec<Value> = members
            .iter()
            .map(|server| json!({ "id": "0000000000000001", "server": server, "instance": "a" }))
            .collect();
        let second = json!({ "uid": "0000000000000007", "members": members });
        let record = json!({ "revision": 4, "groups": { "2": second } });
        let names = Names { resource: "demo".to_owned(), namespace: "prod".to_owned() };
        Record::of(&record).unwrap().servers(&names, ServerSet::Group(GroupId(group)))
    }

    #[test]
    fn a_group_has_a_server_for_each_member_and_for_those_below_it() {
        assert_eq!(servers(2, &["demo-g2-0", "demo-g2-4", "demo-g2-1"]), 5);
        assert_eq!(servers(2, &[]), 0);
        assert_eq!(servers(0, &["demo-g2-0"]), 0, "the record doesn't have it");
    }

    #[test]
    fn a_member_on_a_server_of_another_name_has_no_place() {
        for strange in ["demo-g2-x", "demo-g2-04", "demo-g20-4", "demo-g3-4", "other-g2-4", "4"] {
            assert_eq!(servers(2, &["demo-g2-0", strange]), 1, "{strange}");
        }
    }

    #[test]
    fn what_is_no_record_has_no_members() {
        for strange in [json!(null), json!({ "revision": 1 }), json!({ "groups": { "0": {} } })] {
            assert_eq!(Record::of(&strange), None, "{strange}");
        }
    }
}
