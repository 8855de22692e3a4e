//! The manager: applies the rules to its store, for all registrations that have gathered, and publishes the newest map.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use skv_assignment::record::Record;
use skv_assignment::rules::{
    self, Batch, Change, Changed, Decision, Full, Heard, Plan, Refusal, Registration, Settings,
};
use skv_fail_points::fail_point;
use skv_proto::{Error, v1};
use skv_sharding::{GroupId, Incarnation};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::gathering::{Due, Gathering};
use crate::metrics::Metrics;
use crate::published::Published;
use crate::store::{MapStore, StoreError, Version};
use crate::wire;

/// The number of attempts at a write, when rivals write at the same time.
const ATTEMPTS: u32 = 16;
/// The number of servers of which the manager remembers that their refusal was logged.
const MOST_REMEMBERED: usize = 1000;

/// The clock and the random source, injected for the sake of simulations.
pub struct Environment {
    /// The time since some fixed moment; never goes back.
    pub clock: Box<dyn Fn() -> Duration + Send + Sync>,
    /// Random numbers that aren't 0.
    pub random_id: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl Environment {
    /// Tokio's clock (a simulation's own, within one) and this source of identities.
    pub fn new(random_id: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        let start = Instant::now();
        Environment { clock: Box::new(move || start.elapsed()), random_id: Box::new(random_id) }
    }
}

impl Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

/// The reason for which a manager can't start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The record can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The record is of another sharding.
    #[error(
        "the record is of {recorded}, this shard manager was started with {configured}: both are fixed for the life \
         of a cluster"
    )]
    OtherSharding {
        /// The sharding that the record names.
        recorded: String,
        /// The sharding that the options name.
        configured: String,
    },
}

/// A handle; clones share one manager.
#[derive(Debug, Clone)]
pub struct Manager {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    store: Arc<dyn MapStore>,
    environment: Environment,
    gathering: Gathering,
    state: Mutex<State>,
    published: watch::Sender<Option<Arc<Published>>>,
    /// The reports of leaders that nobody watches: they change all the time.
    said: watch::Sender<Said>,
    stopping: watch::Sender<bool>,
    metrics: Metrics,
}

#[derive(Debug)]
struct State {
    /// The record as last seen in the store.
    record: Option<(Arc<Record>, Version)>,
    heard: Heard,
    told: Told,
}

/// The last reports of leaders.
#[derive(Debug, Default)]
struct Said {
    /// The last entry of each group that was reported as committed, with the group's incarnation.
    committed: BTreeMap<GroupId, (Incarnation, u64)>,
    /// The room that each group lacks.
    full: BTreeMap<GroupId, Full>,
}

/// The waits and refusals that were logged already: replicas ask several times a second.
#[derive(Debug, Default)]
struct Told {
    /// The reason for which the last replica that had to wait did so.
    waiting: String,
    /// The reasons for which servers were sent away.
    refused: BTreeMap<(GroupId, String), Refusal>,
}

impl Manager {
    /// Reads the record.
    pub async fn open(
        settings: Settings,
        store: Arc<dyn MapStore>,
        environment: Environment,
    ) -> Result<Manager, OpenError> {
        let inner = Inner {
            settings,
            store,
            environment,
            gathering: Gathering::default(),
            state: Mutex::new(State { record: None, heard: Heard::default(), told: Told::default() }),
            published: watch::Sender::new(None),
            said: watch::Sender::default(),
            stopping: watch::Sender::new(false),
            metrics: Metrics::default(),
        };
        inner.reload(&mut *inner.state.lock().await).await?;
        inner.warn_of_other_limits();
        Ok(Manager { inner: Arc::new(inner) })
    }

    /// Takes a registration and returns a plan.
    pub async fn register(
        &self,
        request: v1::RegisterReplicaRequest,
    ) -> Result<v1::RegisterReplicaResponse, Error> {
        let inner = Arc::clone(&self.inner);
        to_its_end(async move {
            let answer = inner.answer(request).await;
            inner.metrics.registered(answer.as_ref().ok().and_then(|response| response.plan.as_ref()));
            answer
        })
        .await
    }

    /// Makes a change that a person, or the operator, asks for. A rehearsal makes none, and returns what
    /// would come of it.
    pub async fn change(
        &self,
        request_id: &str,
        change: &Change,
        rehearsal: bool,
    ) -> Result<v1::ChangeResponse, Error> {
        let (inner, request_id, change) = (Arc::clone(&self.inner), request_id.to_owned(), change.clone());
        let changed = to_its_end(async move { inner.change(&request_id, &change, rehearsal).await }).await?;
        Ok(wire::changed(changed))
    }

    /// Returns what is published about the cluster; `None` before the first configuration.
    pub fn published(&self) -> Option<Arc<Published>> {
        self.inner.published.borrow().clone()
    }

    /// Returns the published map with the progress and the want of room that the groups' leaders reported
    /// last; `None` before the first configuration.
    pub fn wire_map(&self) -> Option<v1::ShardMap> {
        let mut map = self.published()?.wire_map().clone();
        let said = self.inner.said.borrow();
        for group in &mut map.groups {
            let id = GroupId(group.id);
            let known = said.committed.get(&id);
            let known = known.filter(|(incarnation, _)| incarnation.0 == group.incarnation);
            group.committed = known.map_or(0, |(_, index)| *index);
            let full = said.full.get(&id).copied().unwrap_or_default();
            (group.disk_full, group.memory_full) = (full.disk, full.memory);
        }
        Some(map)
    }

    /// Follows what is published about the cluster.
    pub fn watch(&self) -> watch::Receiver<Option<Arc<Published>>> {
        self.inner.published.subscribe()
    }

    /// Reads the record again, since another manager may have written it.
    pub async fn refresh(&self) -> Result<(), OpenError> {
        self.inner.reload(&mut *self.inner.state.lock().await).await
    }

    /// Ends all watches, so that connections can be closed.
    pub fn stop(&self) {
        self.inner.stopping.send_replace(true);
    }

    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.inner.stopping.subscribe()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }
}

/// Runs the work to its end also if its caller no longer waits: a record that was written must be shown.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(cut_short()),
        },
    }
}

/// Returns the error of work that the end of the process cuts short.
fn cut_short() -> Error {
    Error::Unavailable("the shard manager is stopping".to_owned())
}

impl Inner {
    async fn answer(
        &self,
        request: v1::RegisterReplicaRequest,
    ) -> Result<v1::RegisterReplicaResponse, Error> {
        let registration = wire::registration(request)
            .inspect_err(|refusal| warn!(%refusal, "registration refused"))
            .map_err(|refusal| wire::registration_refused(&refusal))?;
        let group = registration.group;
        let Decision { plan, revision, cluster, .. } = self.decide(registration).await?;
        Ok(v1::RegisterReplicaResponse {
            cluster_id: cluster.map_or(0, |cluster| cluster.0),
            manager_version: revision.0,
            plan: Some(wire::plan(plan, group, &self.settings)),
        })
    }

    /// Decides on a registration together with those that have come meanwhile.
    async fn decide(&self, registration: Registration) -> Result<Decision, Error> {
        let decided = self.gathering.add(registration);
        {
            let mut state = self.state.lock().await;
            // There are none if whoever was here before has taken them all.
            let due = self.gathering.take();
            self.decide_all(&mut state, due).await;
        }
        decided.await.unwrap_or_else(|_| Err(cut_short()))
    }

    async fn decide_all(&self, state: &mut State, mut due: Vec<Due>) {
        while !due.is_empty() {
            match self.settle(state, &due).await {
                Ok(decisions) => {
                    for (due, decision) in due.drain(..decisions.len()).zip(decisions) {
                        let told = state.told.decided(&due.registration, decision);
                        due.answer(told.map_err(|refusal| wire::registration_refused(&refusal)));
                    }
                }
                Err(problem) => {
                    for due in due.drain(..) {
                        let settled = self.settle_without_store(state, &due.registration);
                        due.answer(settled.ok_or_else(|| problem.clone()));
                    }
                }
            }
        }
    }

    /// Decides on the first ones of these at least, and writes the record if one of them changes it. If none does, a
    /// refusal or a wait must rest on a record that was just read: another manager may have written meanwhile.
    async fn settle(&self, state: &mut State, due: &[Due]) -> Result<Vec<Result<Decision, Refusal>>, Error> {
        let mut fresh = false;
        for _ in 0..ATTEMPTS {
            let registrations = due.iter().map(|due| &due.registration);
            let batch = self.apply_rules(state, registrations);
            if fresh && batch.record.is_none() || batch.needs_no_store() {
                self.publish(state);
                return Ok(batch.decisions);
            }
            if let Some(record) = batch.record {
                let (revision, cluster) = (record.revision, record.cluster);
                fail_point!("registration-due");
                if self.store(state, record).await? {
                    fail_point!("registration-written");
                    for event in batch.events {
                        info!(map_revision = %revision, %cluster, %event, "map written");
                    }
                    return Ok(batch.decisions);
                }
            }
            self.reload(state).await.map_err(|problem| self.store_failed(&problem))?;
            fresh = true;
        }
        Err(Error::Overloaded("too many shard managers write at the same time; register again".to_owned()))
    }

    /// Returns the decision on a registration if that holds whatever the store has.
    fn settle_without_store(&self, state: &mut State, registration: &Registration) -> Option<Decision> {
        let mut batch = self.apply_rules(state, [registration]);
        if !batch.needs_no_store() {
            return None;
        }
        self.publish(state);
        let decision = batch.decisions.pop()?;
        state.told.decided(registration, decision).ok()
    }

    async fn change(&self, request_id: &str, change: &Change, rehearsal: bool) -> Result<Changed, Error> {
        let mut state = self.state.lock().await;
        for _ in 0..ATTEMPTS {
            // A refusal, or a change that is made already, rests on the newest record.
            self.reload(&mut state).await.map_err(|problem| self.store_failed(&problem))?;
            state.heard.notice_pause((self.environment.clock)());
            let Some((record, _)) = state.record.as_ref() else {
                return Err(Error::Unavailable("there is no configuration to change yet".to_owned()));
            };
            let mut changed = rules::change(&self.settings, record, &state.heard, request_id, change)
                .map_err(|refusal| wire::change_refused(&refusal))?;
            let Some(next) = changed.record.take().filter(|_| !rehearsal) else { return Ok(changed) };
            let revision = next.revision;
            fail_point!("change-due");
            if self.store(&mut state, next).await? {
                fail_point!("change-written");
                let Changed { configuration, moves, .. } = &changed;
                info!(map_revision = %revision, configuration, ?change, moves = moves.len(), "map written");
                return Ok(changed);
            }
        }
        Err(Error::Overloaded("too many shard managers write at the same time; ask again".to_owned()))
    }

    /// Writes the next record in place of the one that was seen, and shows it. Returns `false` if another
    /// manager has written meanwhile.
    async fn store(&self, state: &mut State, next: Record) -> Result<bool, Error> {
        let expected = state.record.as_ref().map(|(_, version)| version);
        match self.store.compare_and_swap(expected, &next).await {
            Ok(stored) => {
                self.metrics.stored();
                state.heard.saw(&next);
                state.record = Some((Arc::new(next), stored));
                self.publish(state);
                Ok(true)
            }
            Err(StoreError::Conflict) => Ok(false),
            Err(problem) => Err(self.store_failed(&problem)),
        }
    }

    fn apply_rules<'a>(
        &self,
        state: &mut State,
        registrations: impl IntoIterator<Item = &'a Registration>,
    ) -> Batch {
        let now = (self.environment.clock)();
        let record = state.record.as_ref().map(|(record, _)| record.as_ref());
        rules::register_all(&self.settings, record, &mut state.heard, registrations, now, &mut || {
            (self.environment.random_id)()
        })
    }

    async fn reload(&self, state: &mut State) -> Result<(), OpenError> {
        let loaded = self.store.load().await?;
        if let Some((record, _)) = &loaded {
            self.check_sharding(record)?;
            state.heard.saw(record);
        }
        self.metrics.store_works(true);
        if loaded.as_ref().map(|(_, version)| version) != state.record.as_ref().map(|(_, version)| version) {
            state.record = loaded.map(|(record, version)| (Arc::new(record), version));
            self.publish(state);
        }
        Ok(())
    }

    fn check_sharding(&self, record: &Record) -> Result<(), OpenError> {
        let Settings { shards, hash, .. } = &self.settings;
        if (record.shards(), record.hash) != (*shards, *hash) {
            return Err(OpenError::OtherSharding {
                recorded: format!("{} shards by {}", record.shards(), record.hash),
                configured: format!("{shards} by {hash}"),
            });
        }
        Ok(())
    }

    fn warn_of_other_limits(&self) {
        if let Some(published) = self.published.borrow().as_ref()
            && published.record.limits != self.settings.limits
        {
            let (recorded, configured) = (published.record.limits, self.settings.limits);
            warn!(
                ?recorded,
                ?configured,
                "limits are fixed when a cluster is founded: the recorded ones stay"
            );
        }
    }

    /// Shows the newest map and leaders, if they differ from what was shown.
    fn publish(&self, state: &State) {
        let (committed, full) = (state.heard.committed().clone(), state.heard.full().clone());
        self.said.send_replace(Said { committed, full });
        let leaders = state.heard.leaders();
        let newest = state.record.as_ref().map(|(record, _)| record);
        self.published.send_if_modified(|published| {
            let shown = published.as_ref().map(|p| &p.record);
            let same_record = match (shown, newest) {
                (Some(shown), Some(newest)) => Arc::ptr_eq(shown, newest),
                (shown, newest) => shown.is_none() && newest.is_none(),
            };
            let same_leaders = published.as_ref().is_none_or(|p| p.leaders == *leaders);
            if same_record && same_leaders {
                return false;
            }
            *published = newest.map(|record| Arc::new(Published::new(Arc::clone(record), leaders.clone())));
            self.metrics.published(published.as_deref());
            true
        });
    }

    fn store_failed(&self, problem: &dyn std::error::Error) -> Error {
        error!(%problem, "the record can't be used");
        self.metrics.store_works(false);
        Error::Unavailable(format!("the shard manager can't use its record: {problem}"))
    }
}

impl Told {
    /// Logs a decision that nobody was told of before.
    fn decided(
        &mut self,
        registration: &Registration,
        decision: Result<Decision, Refusal>,
    ) -> Result<Decision, Refusal> {
        match &decision {
            Ok(decision) => self.planned(registration, &decision.plan),
            Err(refusal) => self.refused(registration, refusal),
        }
        decision
    }

    fn planned(&mut self, registration: &Registration, plan: &Plan) {
        self.refused.remove(&(registration.group, registration.replica.server.clone()));
        if let Plan::Wait { reason } = plan
            && *reason != self.waiting
        {
            info!(%reason, "no plan is given out");
            self.waiting.clone_from(reason);
        }
    }

    fn refused(&mut self, Registration { group, replica, .. }: &Registration, refusal: &Refusal) {
        if self.refused.len() == MOST_REMEMBERED {
            self.refused.clear();
        }
        let before = self.refused.insert((*group, replica.server.clone()), refusal.clone());
        if before.as_ref() != Some(refusal) {
            warn!(%group, server = replica.server, replica = %replica.id, %refusal, "registration refused");
        }
    }
}
