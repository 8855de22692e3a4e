//! The registration of a replica with the shard managers, and the orders that they return.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use skv_proto::v1;
use skv_proto::v1::register_replica_response::Plan;
use skv_raft::Leaders;
use skv_sharding::{COUNT_LIMIT, GroupId, Incarnation, MapRevision, Replica, ReplicaId};
use tokio::time::Instant;

use crate::data_dir::{Belongs, Identity};
use crate::environment::Environment;
use crate::orders::Orders;
use crate::running::Running;

/// The interval at which a replica registers while it waits for a plan.
const WAITING: Duration = Duration::from_millis(200);
/// The interval at which it registers once it runs.
const RUNNING: Duration = Duration::from_secs(2);

/// Registers a replica that belongs to no group until it has a place in one.
pub(super) async fn await_place(env: &Environment, identity: &Identity, waits: impl Fn(String)) -> Belongs {
    loop {
        let request = v1::RegisterReplicaRequest {
            group: identity.group.0,
            replica: Some(env.replica(identity.replica).into()),
            cluster_id: 0,
            report: None,
            map_revision: 0,
        };
        match env.manager.register(request).await {
            Ok(response) => {
                let cluster = skv_sharding::ClusterId(response.cluster_id);
                match response.plan {
                    Some(Plan::Bootstrap(record)) => {
                        return Belongs {
                            cluster,
                            uid: skv_sharding::GroupUid(record.group_uid),
                            incarnation: skv_sharding::Incarnation(0),
                        };
                    }
                    Some(Plan::Join(join)) => {
                        return Belongs {
                            cluster,
                            uid: skv_sharding::GroupUid(join.group_uid),
                            incarnation: skv_sharding::Incarnation(join.incarnation),
                        };
                    }
                    Some(Plan::Wait(wait)) => waits(wait.reason),
                    Some(Plan::Serve(_) | Plan::Retired(_)) | None => {
                        waits("the shard manager has no plan for an empty replica".into())
                    }
                }
            }
            Err(status) => waits(format!("the shard manager: {}", status.message())),
        }
        tokio::time::sleep(WAITING).await;
    }
}

/// The reason why a running replica must stop being what it is.
#[derive(Debug)]
pub(super) struct Superseded {
    /// The reason, for people.
    pub(super) reason: String,
    /// True if the group was revived without this replica, which may have more of the life before than
    /// the replica that it was revived from.
    pub(super) revived: bool,
}

impl Superseded {
    /// Returns the reason of a replica without which its group was revived.
    pub(super) fn by_revival(group: GroupId, incarnation: Incarnation) -> Self {
        let reason = format!("{group} was revived without this replica, as incarnation {incarnation}");
        Superseded { reason, revived: true }
    }
}

impl Running {
    /// Registers again and again, at once when the leader or the configuration changes and soon when there is
    /// something to report, and keeps the orders. Ends when the group lives on without this replica, under a newer
    /// incarnation, or is no more.
    pub(super) async fn register(&self, env: &Environment) -> Superseded {
        let mut leaders = pin!(changes_of_leader(self.consensus.leaders()).fuse());
        loop {
            let request = v1::RegisterReplicaRequest {
                group: self.place.group.0,
                replica: Some(env.replica(self.place.replica).into()),
                cluster_id: self.place.cluster.0,
                report: self.report(env).await,
                map_revision: env.map.revision_of(self.place.cluster).0,
            };
            let (founded, configuration) = (request.report.is_some(), env.map.configuration());
            let known_voters = request.report.as_ref().and_then(confirmed_voters);
            let reported = Instant::now();
            match env.manager.register(request).await {
                Ok(response) => {
                    if let Some(superseded) = self.take_plan(response, founded, known_voters).await {
                        return superseded;
                    }
                }
                Err(status) => {
                    tracing::debug!(group = %self.place.group, status = status.message(), "not registered");
                }
            }
            let news = async {
                tokio::select! {
                    () = env.map.newer_configuration(configuration) => {}
                    () = self.orders.news(reported) => {}
                }
            };
            await_turn(if founded { RUNNING } else { WAITING }, news, &mut leaders).await;
        }
    }

    /// Takes the plan for a report, if there was one, that named these voters.
    async fn take_plan(
        &self,
        response: v1::RegisterReplicaResponse,
        has_reported: bool,
        known_voters: Option<BTreeSet<ReplicaId>>,
    ) -> Option<Superseded> {
        if let Err(number) = check_counts(&response) {
            tracing::warn!(group = %self.place.group, number, "the manager's plan is invalid; not obeyed");
            return None;
        }
        let revision = MapRevision(response.manager_version);
        match response.plan? {
            Plan::Bootstrap(record) => self.found(revision, record).await,
            Plan::Join(join) => {
                let (theirs, ours) = (Incarnation(join.incarnation), self.place.incarnation);
                // A manager that heard of which incarnation this replica is, and has a lower one, has a twin of it.
                // One that didn't hear it may have an old record.
                if theirs > ours || theirs < ours && has_reported {
                    return Some(Superseded::by_revival(self.place.group, theirs));
                }
            }
            Plan::Serve(serve) => {
                let candidates = serve.candidates.into_iter().map(Replica::from).collect();
                let moves = serve.moves.into_iter().map(Into::into).collect();
                self.orders.replace(Orders::to_serve(revision, candidates, moves, known_voters));
            }
            Plan::Retired(_) if self.store.is_retired() => {
                let reason = format!("{} was retired", self.place.group);
                return Some(Superseded { reason, revived: false });
            }
            Plan::Wait(_) | Plan::Retired(_) => {}
        }
        None
    }

    /// Starts the group's Raft with exactly the record's members. All of them may do so; the
    /// log is empty in each, and the record is written once.
    async fn found(&self, revision: MapRevision, record: v1::BootstrapRecord) {
        if record.group_uid != self.place.uid.0
            || !record.members.iter().any(|m| m.id == self.place.replica.0)
        {
            return;
        }
        if !self.consensus.is_initialized().await {
            let members = record.members.iter().map(|m| (ReplicaId(m.id), m.server.clone())).collect();
            if let Err(error) = self.consensus.initialize(members).await {
                tracing::debug!(group = %self.place.group, error, "another member was faster");
            }
        }
        self.orders.replace(Orders::to_found(revision, record));
    }

    /// Returns this replica's report of its group; `None` before it is founded.
    async fn report(&self, env: &Environment) -> Option<v1::GroupReport> {
        let facts = self.store.facts()?;
        let view = self.consensus.view();
        let voters = &view.committed_members;
        let members = voters.servers.iter().filter(|(id, _)| voters.voters.contains(id));
        let members = members.map(|(id, server)| env.member(*id, server.clone()).into()).collect();
        let shards_owned = self.store.owned_shards();
        let (obeyed, retired) = (self.store.obeyed_revision(), self.store.is_retired());
        let passed = self.handoffs.passed(&self.store.departures());
        // Only values that were read before count as confirmed.
        let confirmed = self.hints.is_leader() && self.reads.pass().await.is_ok();
        Some(v1::GroupReport {
            group_uid: facts.uid.0,
            incarnation: facts.incarnation.0,
            lineage: facts.lineage.iter().map(|incarnation| incarnation.0).collect(),
            members,
            shards_owned: shards_owned
                .into_iter()
                .map(|(shard, epoch)| v1::ShardEpoch { shard: shard.0, epoch: epoch.0 })
                .collect(),
            obeyed_version: obeyed.0,
            shards: facts.shards,
            hash: v1::Hash::from(facts.hash) as i32,
            confirmed,
            term: view.term,
            leader: view.leader.map_or(0, |leader| leader.0),
            highest_epoch: self.store.highest_epoch().0,
            retired,
            passed: passed
                .into_iter()
                .map(|(shard, epoch)| v1::ShardEpoch { shard: shard.0, epoch: epoch.0 })
                .collect(),
            committed: view.committed.map_or(0, |id| id.index),
            disk_full: confirmed && self.is_full_on_disk(),
            memory_full: confirmed && self.is_full_in_memory(),
        })
    }
}

/// Waits until it is time to register again: the pause is over, there is news, or the leader is another one.
/// Once the Raft has ended there is no other leader, and the pause is as long as ever.
async fn await_turn(
    pause: Duration,
    news: impl Future<Output = ()>,
    leaders: &mut (impl Stream<Item = Option<ReplicaId>> + Unpin),
) {
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        () = news => {}
        Some(_) = leaders.next() => {}
    }
}

/// Returns each leader that isn't the one before, also that there is none, until the Raft ends.
fn changes_of_leader(leaders: Leaders) -> impl Stream<Item = Option<ReplicaId>> {
    stream::unfold((leaders, None), |(mut leaders, before)| async move {
        let (now, _) = leaders.other_than(before).await.ok()?;
        Some((now, (leaders, now)))
    })
}

/// Returns the voters that a leader reports who has confirmed that it leads.
fn confirmed_voters(report: &v1::GroupReport) -> Option<BTreeSet<ReplicaId>> {
    report.confirmed.then(|| report.members.iter().map(|member| ReplicaId(member.id)).collect())
}

/// Checks the numbers that the group's log would count on from; the error is the one that is too
/// high.
fn check_counts(response: &v1::RegisterReplicaResponse) -> Result<(), u64> {
    let epochs: Vec<u64> = match &response.plan {
        Some(Plan::Serve(serve)) => serve.moves.iter().map(|to| to.epoch).collect(),
        Some(Plan::Bootstrap(record)) => record.shards_owned.iter().map(|owned| owned.epoch).collect(),
        _ => Vec::new(),
    };
    let numbers = epochs.into_iter().chain([response.manager_version]);
    numbers.max().filter(|&number| number >= COUNT_LIMIT).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    /// Returns the time for which a replica waits that hears of these leaders, whereupon its Raft ends.
    async fn waited(leaders: Vec<Option<ReplicaId>>) -> Duration {
        let began = Instant::now();
        await_turn(RUNNING, pending(), &mut stream::iter(leaders)).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_raft_that_has_ended_shortens_no_pause() {
        assert_eq!(waited(vec![None]).await, Duration::ZERO, "the leader is another one");
        assert!(waited(Vec::new()).await >= RUNNING);
    }

    #[test]
    fn a_plan_that_leaves_nothing_to_count_on_to_is_no_plan() {
        let plan = |version, epoch| {
            let to = v1::Move { epoch, ..v1::Move::default() };
            let serve = v1::register_replica_response::Serve { candidates: Vec::new(), moves: vec![to] };
            let plan = Some(Plan::Serve(serve));
            v1::RegisterReplicaResponse { manager_version: version, plan, ..Default::default() }
        };
        assert_eq!(check_counts(&plan(7, 8)), Ok(()));
        assert_eq!(check_counts(&plan(u64::MAX, 8)), Err(u64::MAX));
        assert_eq!(check_counts(&plan(7, COUNT_LIMIT)), Err(COUNT_LIMIT));
    }
}
