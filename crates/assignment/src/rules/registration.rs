//! The registration of a replica, and the plan or refusal that it gets: the types, and what follows from one
//! registration alone. `register` decides.

use skv_sharding::{
    ClusterId, Epoch, GroupId, GroupUid, Hash, Incarnation, Lineage, MapRevision, Replica, ReplicaId, ShardId,
};

use crate::record::{Bootstrap, Limits, PlannedMove};

/// The message of a replica about itself: its identity and its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The group that its server was started for.
    pub group: GroupId,
    /// The replica's identity and addresses.
    pub replica: Replica,
    /// The data that it holds.
    pub held: Held,
    /// The map revision of its server's copy of its cluster's map; 0: there is none.
    pub map_revision: MapRevision,
}

/// The data that a replica holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// The replica is empty and belongs to no group yet.
    Nothing,
    /// The replica belongs to a group on which it can't report: it waits to be admitted, or has just
    /// started and not yet applied its log.
    Place {
        /// The group's cluster.
        cluster: ClusterId,
    },
    /// The replica is part of a group of this cluster.
    Data {
        /// The cluster.
        cluster: ClusterId,
        /// The report on its group.
        report: Report,
    },
}

impl Held {
    /// Returns the cluster that the replica belongs to.
    pub fn cluster(&self) -> Option<ClusterId> {
        match self {
            Held::Nothing => None,
            Held::Place { cluster } | Held::Data { cluster, .. } => Some(*cluster),
        }
    }

    /// Returns the replica's report on its group.
    pub fn report(&self) -> Option<&Report> {
        match self {
            Held::Data { report, .. } => Some(report),
            Held::Nothing | Held::Place { .. } => None,
        }
    }
}

/// The report of a replica with data on its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The group's identity.
    pub uid: GroupUid,
    /// The group's incarnation.
    pub incarnation: Incarnation,
    /// The incarnations that it came from, as far as they are known.
    pub lineage: Lineage,
    /// The group's members; their addresses may be empty.
    pub members: Vec<Replica>,
    /// The shards that the group owns.
    pub owned: Vec<(ShardId, Epoch)>,
    /// The highest epoch that the group has seen of any shard.
    pub epoch: Epoch,
    /// True if the group has nothing and takes no shard any more.
    pub retired: bool,
    /// The highest map revision that the group obeyed.
    pub obeyed_revision: MapRevision,
    /// The number of shards of the cluster.
    pub shards: u32,
    /// The hash of the cluster.
    pub hash: Hash,
    /// True if the replica is the leader, and confirmed that after it had read the above.
    pub confirmed: bool,
    /// The replica's term.
    pub term: u64,
    /// The leader that it follows, or itself.
    pub leader: Option<ReplicaId>,
    /// Moves out of the group whose targets have passed their epochs.
    pub passed: Vec<(ShardId, Epoch)>,
    /// The index of the last entry that the replica knows to be committed.
    pub committed: u64,
    /// The room that the group lacks, as its leader knows it.
    pub full: Full,
}

/// The room that a group lacks for writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Full {
    /// True if it refuses writes, since disks are full.
    pub disk: bool,
    /// True if it refuses what makes its data grow, for want of memory.
    pub memory: bool,
}

/// The order of reports: the incarnation of a group, a term of it, and a leader of that term.
pub(super) type Reign = (Incarnation, u64, Option<ReplicaId>);

impl Registration {
    /// Returns the highest map revision that the replica knows of.
    pub(super) fn known_revision(&self) -> MapRevision {
        self.held.report().map_or(self.map_revision, |report| report.obeyed_revision.max(self.map_revision))
    }

    /// Returns the memory that it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + texts(&self.replica) + self.held.report().map_or(0, Report::bytes)
    }
}

/// Returns the length of all texts of a replica.
fn texts(replica: &Replica) -> usize {
    let Replica { id: _, server, client_address, peer_address, instance } = replica;
    [server, client_address, peer_address, instance].iter().map(|text| text.len()).sum()
}

impl Report {
    /// Returns the incarnation of the group that the replica knows, its term there, and the leader: of two
    /// reports the greater is newer, since terms begin again with an incarnation, and since within a term
    /// only a replica of a higher id deposes another.
    pub(super) fn reign(&self) -> Reign {
        (self.incarnation, self.term, self.leader)
    }

    /// Returns true if this is the report of a former life of a group that is known as `recorded`; or of a
    /// twin, that was revived from another replica than the recorded one was, each unknown to the other. The
    /// one that was recorded first is the group, whatever the numbers: the other one may return late, with
    /// fewer replicas and fewer writes. What an older version revived counts by its number, since nobody knows
    /// where it came from.
    pub(super) fn is_of_another_life(&self, recorded: Incarnation) -> bool {
        self.incarnation < recorded || self.incarnation > recorded && self.lineage.excludes(recorded)
    }

    /// Returns the memory that its lists take, in bytes.
    fn bytes(&self) -> usize {
        let members: usize = self.members.iter().map(|member| size_of::<Replica>() + texts(member)).sum();
        let lives = self.lineage.iter().count();
        members
            + size_of::<Incarnation>() * lives
            + size_of::<(ShardId, Epoch)>() * (self.owned.len() + self.passed.len())
    }

    /// Returns the highest epoch that the group knows of.
    pub fn highest_epoch(&self) -> Epoch {
        self.owned.iter().map(|(_, epoch)| *epoch).fold(self.epoch, Epoch::max)
    }
}

/// The next task of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Register again later.
    Wait {
        /// The reason: something that is still missing.
        reason: String,
    },
    /// Found the group.
    Bootstrap {
        /// The group's identity.
        uid: GroupUid,
        /// The group's first members and shards.
        bootstrap: Bootstrap,
        /// The limits that its members agree on.
        limits: Limits,
    },
    /// Start empty, and wait until the group's leader admits the replica.
    Join {
        /// The group's identity.
        uid: GroupUid,
        /// The group's incarnation.
        incarnation: Incarnation,
    },
    /// Continue to serve.
    Serve {
        /// The replicas that wait to be admitted to the group.
        candidates: Vec<Replica>,
        /// All shards that the group must hand to others, or to keep after all, with the identities
        /// of those groups.
        moves: Vec<(ShardId, PlannedMove, GroupUid)>,
    },
    /// The group no longer exists: start again, empty.
    Retired,
}

/// The reason for which a replica is sent away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The message is no valid registration.
    #[error("not a registration: {0}")]
    Malformed(String),
    /// The group doesn't exist.
    #[error(
        "there is no {group}: this cluster has {groups} groups, counted from g0; check the server's --group"
    )]
    UnknownGroup {
        /// The replica's group.
        group: GroupId,
        /// The number of configured groups.
        groups: u32,
    },
    /// The replica's data counts shards or hashes keys in another way.
    #[error(
        "{group} holds data of {their_shards} shards by {their_hash}, this shard manager was started with \
         {our_shards} by {our_hash}: start it with the values of the data"
    )]
    OtherSharding {
        /// The replica's group.
        group: GroupId,
        /// The shards of its cluster.
        their_shards: u32,
        /// The hash of its cluster.
        their_hash: Hash,
        /// The shards of ours.
        our_shards: u32,
        /// The hash of ours.
        our_hash: Hash,
    },
    /// The replica belongs elsewhere.
    #[error("{server} belongs to cluster {theirs}, this is the shard manager of cluster {ours}")]
    ForeignCluster {
        /// The replica's server.
        server: String,
        /// The server's cluster.
        theirs: ClusterId,
        /// Ours.
        ours: ClusterId,
    },
    /// The replica's group isn't the one of that number.
    #[error("{server} holds data of a group {theirs}; {group} of this cluster is group {ours}")]
    ForeignGroup {
        /// The replica's server.
        server: String,
        /// The group's number.
        group: GroupId,
        /// The replica's group.
        theirs: GroupUid,
        /// The group of that number.
        ours: GroupUid,
    },
    /// Another replica lives under the same server name.
    #[error(
        "the name {server} in {group} is held by replica {holder} at {address}, which registered less than \
         {} s ago: give each server a name of its own, or wait until the other one has stopped",
        super::settings::ALIVE.as_secs()
    )]
    NameHeld {
        /// The group.
        group: GroupId,
        /// The name.
        server: String,
        /// The replica that holds it.
        holder: ReplicaId,
        /// The address at which its peers reach the holder.
        address: String,
    },
    /// The registrations that are kept take as much memory as they may.
    #[error(
        "there is no room for {server} of {group}: the registrations of the last {} s take all the memory that they \
         may; find the programs that register here and aren't servers of this store, and stop them",
        super::settings::ALIVE.as_secs()
    )]
    NoRoom {
        /// The group.
        group: GroupId,
        /// The server that isn't registered.
        server: String,
    },
    /// The group has all its servers.
    #[error("{group} has its servers already: {}; {server} isn't one of them", .known.join(", "))]
    TooManyServers {
        /// The group.
        group: GroupId,
        /// The server that is one too many.
        server: String,
        /// The group's servers.
        known: Vec<String>,
    },
}
