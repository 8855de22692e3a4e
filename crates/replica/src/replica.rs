//! The replicas of a server, each in some state of its life.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use skv_proto::{Error, v1};
use skv_sharding::{ClusterId, GroupId, GroupUid, ReplicaId};

use crate::environment::Environment;
use crate::reset::{Reset, Revived};
use crate::running::Running;

/// The replicas of one server, by group. Their number is fixed when the server starts.
#[derive(Debug, Default)]
pub struct Replicas(BTreeMap<GroupId, Arc<Replica>>);

impl Replicas {
    /// Returns replicas that have yet to be run.
    pub fn new(groups: impl IntoIterator<Item = GroupId>) -> Self {
        Replicas(groups.into_iter().map(|group| (group, Arc::new(Replica::new(group)))).collect())
    }

    /// Returns the replica of a group.
    pub fn get(&self, group: GroupId) -> Result<&Arc<Replica>, Error> {
        self.0
            .get(&group)
            .ok_or_else(|| Error::WrongIdentity(format!("this server has no replica of {group}")))
    }

    /// Returns all of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Replica>> {
        self.0.values()
    }
}

/// A replica, in some state of its life.
#[derive(Debug)]
pub struct Replica {
    /// Its group.
    pub group: GroupId,
    state: RwLock<State>,
}

/// The state of a replica's life.
#[derive(Debug, Clone)]
pub enum State {
    /// It opens its files, or waits for the manager's plan.
    Waiting {
        /// Its identity, once its files are open.
        replica: Option<ReplicaId>,
        /// The reason, for people.
        reason: String,
    },
    /// Its files can't be used, and only a person can change that.
    Broken(String),
    /// Its Raft runs.
    Running(Arc<Running>),
    /// Its Raft has ended, so that it becomes the whole group.
    Reviving {
        /// The way to learn how it ends.
        reset: Reset,
        /// The status of its life before: its place, and the end of its log.
        before: Arc<v1::ReplicaStatus>,
    },
    /// The server is stopping.
    Stopped,
}

impl Replica {
    fn new(group: GroupId) -> Self {
        let waiting = State::Waiting { replica: None, reason: "starting".into() };
        Replica { group, state: RwLock::new(waiting) }
    }

    /// Returns its state now.
    pub fn state(&self) -> State {
        self.state.read().clone()
    }

    /// Returns its running parts, or the reason why there are none.
    pub fn running(&self) -> Result<Arc<Running>, Error> {
        match &*self.state.read() {
            State::Running(running) => Ok(running.clone()),
            State::Waiting { reason, .. } => {
                Err(Error::Unavailable(format!("the replica of {} waits: {reason}", self.group)))
            }
            State::Reviving { reset, .. } => {
                Err(Error::Unavailable(format!("the replica of {}: {}", self.group, reset.description())))
            }
            State::Broken(problem) => Err(Error::Unavailable(problem.clone())),
            State::Stopped => Err(Error::Unavailable("the server is stopping".into())),
        }
    }

    pub(crate) fn set(&self, state: State) {
        *self.state.write() = state;
    }

    /// Shows that the replica waits, for this reason.
    pub(crate) fn wait(&self, id: Option<ReplicaId>, reason: &str) {
        self.set(State::Waiting { replica: id, reason: reason.to_owned() });
    }
}

impl Replica {
    /// Makes this replica the whole group, from the end of its log; it starts again under its new
    /// identity. Callers that ask while that goes on wait for the same, and it goes on if nobody
    /// waits. `meant` is the replica that the caller has seen; `None` stands for whichever it is.
    pub async fn reset(&self, meant: Option<v1::ReplicaIdentity>) -> Result<Revived, Error> {
        self.check_identity(meant)?;
        let reset = match self.state() {
            State::Reviving { reset, .. } => reset,
            _ => self.running()?.may_be_reset()?,
        };
        reset.outcome().await
    }

    /// Refuses a request that is meant for another replica, or for another life of the group; `None` stands
    /// for whichever it is. Before the replica has a place in a group nothing is refused for that.
    pub fn check_identity(&self, meant: Option<v1::ReplicaIdentity>) -> Result<(), Error> {
        if let (Some(meant), Some(own)) = (meant, self.identity())
            && meant != own
        {
            let (theirs, ours) = (ReplicaId(meant.replica), ReplicaId(own.replica));
            return Err(Error::WrongIdentity(format!(
                "the request is for replica {theirs} of incarnation {}, and {} here is replica {ours} of incarnation \
                 {}: look again at what there is",
                meant.incarnation, self.group, own.incarnation
            )));
        }
        Ok(())
    }

    /// Returns the identity by which its status names it; `None` while it has no place in a group.
    fn identity(&self) -> Option<v1::ReplicaIdentity> {
        self.status().identity()
    }

    /// Removes what is kept here of the group's former lives, if it is the group of this cluster and
    /// identity; `None` stands for whichever it is. Returns the bytes of that.
    pub async fn remove_former(
        &self,
        env: &Environment,
        meant: Option<(ClusterId, GroupUid)>,
    ) -> Result<u64, Error> {
        if let Some(meant) = meant {
            self.check_group(env, meant)?;
        }
        let (data, group) = (env.data.clone(), self.group);
        let removed = skv_disk::run(&*env.disk, "former", async move { data.remove_former(group) }).await;
        let removed = removed.flatten().map_err(|error| Error::Internal(error.to_string()))?;
        if let State::Running(running) = self.state() {
            *running.former.lock() = None;
        }
        Ok(removed)
    }

    /// Refuses a request that is meant for another group than the one here. An empty replica may have no
    /// place yet: then the server's copy of the shard map names the group.
    fn check_group(&self, env: &Environment, meant: (ClusterId, GroupUid)) -> Result<(), Error> {
        let own = self.identity().map(|own| (ClusterId(own.cluster_id), GroupUid(own.group_uid)));
        match own.or_else(|| env.map.identity(self.group)) {
            Some(own) if own == meant => Ok(()),
            Some((cluster, uid)) => Err(Error::WrongIdentity(format!(
                "the request is for group {} of cluster {}; {} here is group {uid} of cluster {cluster}",
                meant.1, meant.0, self.group
            ))),
            None => Err(Error::Unavailable(format!(
                "it isn't known yet which group {} is here: ask again when the replica has a place in it",
                self.group
            ))),
        }
    }
}
