//! Groups that no longer exist: their leftover replicas are recognized by them.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use skv_sharding::{GroupId, GroupUid};

/// The number of remembered groups. A replica of an older one counts as one of an unknown group.
const REMEMBERED: usize = 256;

/// The last groups that were retired.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RetiredGroups(VecDeque<RetiredGroup>);

/// A group that was retired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetiredGroup {
    /// The group's identity.
    pub uid: GroupUid,
    /// The group's number, which another may have by now.
    pub group: GroupId,
    /// The runs of servers that held its replicas when it was retired.
    pub instances: Vec<String>,
}

impl RetiredGroups {
    /// Returns the retired group of this identity.
    pub fn get(&self, uid: GroupUid) -> Option<&RetiredGroup> {
        self.0.iter().find(|retired| retired.uid == uid)
    }

    /// Returns true if a group of this number was retired.
    pub fn had(&self, group: GroupId) -> bool {
        self.0.iter().any(|retired| retired.group == group)
    }

    /// Remembers one more group.
    pub fn remember(&mut self, retired: RetiredGroup) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(retired);
    }
}
