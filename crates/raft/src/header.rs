//! The sender and the receiver of a message between servers. They are checked before anything else is
//! read: an address may by now belong to another server.

use skv_proto::{Error, v1};
use skv_sharding::{ClusterId, GroupId, GroupUid, Incarnation, Lineage, ReplicaId};

/// The versions of the messages between servers that this program reads and writes.
pub const VERSIONS: v1::VersionRange = v1::VersionRange { min: 1, max: 1 };
/// The level of a program that has no abilities beyond version 1 of everything.
pub const FIRST_LEVEL: u32 = 1;
/// The level of this program's abilities. A group uses a level only when all its voters announce it, and
/// gives no shard to a group that hasn't the level of its own leader.
pub const FEATURE_LEVEL: u32 = 1;

/// A group, and one replica's place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The cluster.
    pub cluster: ClusterId,
    /// The group's number.
    pub group: GroupId,
    /// The group.
    pub uid: GroupUid,
    /// The incarnation of the group.
    pub incarnation: Incarnation,
    /// The replica.
    pub replica: ReplicaId,
}

impl Place {
    /// Returns the header of a message from here to another replica of the group.
    pub fn header_to(&self, to: ReplicaId) -> v1::PeerHeader {
        v1::PeerHeader {
            cluster_id: self.cluster.0,
            group: self.group.0,
            group_uid: self.uid.0,
            incarnation: self.incarnation.0,
            from: self.replica.0,
            to: to.0,
            versions: Some(VERSIONS),
            feature_level: FEATURE_LEVEL,
        }
    }

    /// Refuses a message that isn't for this replica of this group, whose incarnation has this lineage;
    /// returns the version to speak. A sender of a former life gets an error of its own, by which it learns
    /// that the group was revived without it, also while no shard manager can say so. A twin gets none:
    /// which of the two is the group is for the shard managers to say.
    pub fn check(&self, header: &v1::PeerHeader, lineage: &Lineage) -> Result<u32, Error> {
        self.check_uid(header.cluster_id, header.group_uid)?;
        let theirs = Incarnation(header.incarnation);
        if theirs < self.incarnation && lineage.includes(theirs) {
            return Err(Error::FormerLife(self.incarnation));
        }
        if theirs != self.incarnation {
            return wrong("incarnation", theirs, self.incarnation);
        }
        if header.to != self.replica.0 {
            return wrong("replica", ReplicaId(header.to), self.replica);
        }
        common_version(header.versions)
    }

    /// Refuses a message from another group that isn't for ours; returns the version to speak.
    pub fn check_group(&self, header: &v1::GroupHeader) -> Result<u32, Error> {
        self.check_uid(header.cluster_id, header.group_uid)?;
        common_version(header.versions)
    }

    /// Refuses a message that isn't meant for our group: one made again under its number is another.
    fn check_uid(&self, cluster: u64, uid: u64) -> Result<(), Error> {
        if cluster != self.cluster.0 {
            return wrong("cluster", ClusterId(cluster), self.cluster);
        }
        if uid != self.uid.0 {
            return wrong("group uid", GroupUid(uid), self.uid);
        }
        Ok(())
    }
}

/// Returns the header that every message carries.
pub fn required<H>(header: Option<&H>) -> Result<&H, Error> {
    header.ok_or_else(|| Error::WrongIdentity("the message carries no header".into()))
}

fn wrong<T, D: std::fmt::Display>(what: &str, theirs: D, ours: D) -> Result<T, Error> {
    Err(Error::WrongIdentity(format!("the sender means {what} {theirs}; this is {ours}")))
}

fn common_version(theirs: Option<v1::VersionRange>) -> Result<u32, Error> {
    let theirs = theirs.unwrap_or_default();
    let version = theirs.max.min(VERSIONS.max);
    if version < theirs.min.max(VERSIONS.min) {
        return Err(Error::UnsupportedVersion(format!(
            "the sender speaks {} to {}, this server {} to {}",
            theirs.min, theirs.max, VERSIONS.min, VERSIONS.max
        )));
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(replica: u64) -> Place {
        Place {
            cluster: ClusterId(1),
            group: GroupId(0),
            uid: GroupUid(2),
            incarnation: Incarnation(3),
            replica: ReplicaId(replica),
        }
    }

    /// Checks a message to replica 8, whose incarnation came from the first and from the second one.
    fn check(header: &v1::PeerHeader) -> Result<u32, Error> {
        place(8).check(header, &Lineage::new([Incarnation(0), Incarnation(1)]))
    }

    #[test]
    fn a_message_for_this_replica_is_accepted() {
        assert_eq!(check(&place(7).header_to(ReplicaId(8))), Ok(1));
    }

    /// The old majority may be back while all shard managers are away.
    #[test]
    fn a_sender_of_a_former_life_is_told_so_and_a_twin_is_not() {
        let of = |incarnation| v1::PeerHeader { incarnation, to: 1, ..place(7).header_to(ReplicaId(8)) };
        for former in [0, 1] {
            assert_eq!(check(&of(former)), Err(Error::FormerLife(Incarnation(3))), "{former}");
        }
        for other in [2, 4] {
            assert!(matches!(check(&of(other)), Err(Error::WrongIdentity(_))), "{other}");
        }
        let mut of_another_group = of(0);
        of_another_group.group_uid += 1;
        assert!(matches!(check(&of_another_group), Err(Error::WrongIdentity(_))));
        let unknown = place(8).check(&of(1), &Lineage::default());
        assert!(matches!(unknown, Err(Error::WrongIdentity(_))), "an older version revived the group");
    }

    #[test]
    fn every_wrong_name_is_refused() {
        let good = place(7).header_to(ReplicaId(8));
        let wrong: [fn(&mut v1::PeerHeader); 4] =
            [|h| h.cluster_id += 1, |h| h.group_uid += 1, |h| h.incarnation += 1, |h| h.to += 1];
        for change in wrong {
            let mut header = good;
            change(&mut header);
            assert!(matches!(check(&header), Err(Error::WrongIdentity(_))), "{header:?}");
        }
        assert!(matches!(required::<v1::PeerHeader>(None), Err(Error::WrongIdentity(_))));
    }

    #[test]
    fn versions_that_do_not_overlap_are_refused() {
        let mut header = place(7).header_to(ReplicaId(8));
        header.versions = Some(v1::VersionRange { min: 2, max: 3 });
        assert!(matches!(check(&header), Err(Error::UnsupportedVersion(_))));
        header.versions = None;
        assert!(matches!(check(&header), Err(Error::UnsupportedVersion(_))));
    }
}
