//! Care for what runs: pods that must be replaced, groups that get fewer members, groups that
//! come and go, volumes that grow. One careful step at a time:
//!
//! 1. `needs_look`: the cache, or the shard manager, shows that there is something to do (pure)
//! 2. `look`: read the objects live, and ask the servers
//! 3. `groups`, `decide`, `storage`: the next step of each kind (pure)
//! 4. `act`: record the step, and take it

mod act;
mod decide;
mod groups;
mod look;
mod members;
mod storage;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use skv_resource::{ShardedKv, ShardedKvSpec};
use skv_sharding::GroupId;

use self::act::{Actor, Taken};
pub(crate) use self::decide::Step;
use self::decide::{Decision, Situation, needs_look};
pub(crate) use self::groups::GroupStep;
use self::groups::{Roster, Turnover};
use self::look::Look;
use self::storage::{Growth, growth};
use crate::build::{ExistingServers, restart_hash};
use crate::dereference::{Observed, ObservedServers};
use crate::error::Error;
use crate::names::{Names, ServerSet};
use crate::placement;
use crate::servers::Servers;

/// What is to be done for a resource, decided before its objects are applied.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    look: Option<Look>,
    decision: Decision,
    turnover: Turnover,
}

/// What is being done, for the status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Care {
    /// What goes on; `None` if there is nothing to do.
    pub(crate) doing: Option<String>,
    /// What becomes of whole groups, beside that.
    pub(crate) turnover: Vec<String>,
    /// What can't be done.
    pub(crate) refused: Option<String>,
    /// Groups whose majority is gone for good.
    pub(crate) lost: Vec<GroupId>,
    /// The replacement that was recorded is over.
    pub(crate) replaced: bool,
    /// The step that was taken.
    pub(crate) step: Option<Step>,
    /// The steps of whole groups that were taken.
    pub(crate) group_steps: Vec<GroupStep>,
}

/// Looks if there is reason to, and decides. Where it looked, what the cache has of the
/// servers is replaced. `None`: the resource is another by now.
pub(crate) async fn plan(
    client: &Client,
    servers: &dyn Servers,
    names: &Names,
    resource: &ShardedKv,
    seen: &mut Observed,
    now: Timestamp,
) -> Result<Option<Plan>, Error> {
    let spec = &resource.spec;
    let hash = restart_hash(spec)?;
    let status = resource.status.as_ref();
    let replacing = status.and_then(|status| status.replacing.as_ref());
    let founded = status.is_some_and(|status| status.cluster.is_some());
    let grows = |servers: &ObservedServers| growth_of(spec, servers) != Growth::Done;
    // The groups of a ring neither come nor go.
    let groups_may_change = spec.ring().is_none();
    let reason = needs_look(spec, &hash, replacing, founded, &seen.servers)
        || groups_may_change && groups::needs_look(spec, &seen.groups(), seen.map.as_ref())
        || seen.servers.values().any(grows);
    if !reason || spec.paused {
        return Ok(Some(Plan::default()));
    }
    let Some(mut look) = look::look(client, servers, names, now).await? else { return Ok(None) };
    if look.resource.metadata.generation != resource.metadata.generation
        || look.resource.metadata.uid != resource.metadata.uid
    {
        return Ok(None);
    }
    placement::add_founded(spec, seen.map.as_ref(), &mut look.servers);
    seen.servers.clone_from(&look.servers);
    let turnover = if groups_may_change {
        let groups = seen.groups();
        let roster = Roster {
            names,
            spec,
            groups: &groups,
            members: &look.members,
            map: seen.map.as_ref(),
            lost_nodes: &look.lost_nodes,
        };
        roster.turnover()
    } else {
        Turnover::default()
    };
    // Groups that are no more need no care. Those that are to leave have data, and are like all others.
    let is_no_more = |id: &GroupId| {
        turnover.retired.contains(id) || look.members.get(id).is_some_and(|members| members.retired)
    };
    let (mut living, mut members) = (look.servers.clone(), look.members.clone());
    living.retain(|set, _| set.group().is_none_or(|id| !is_no_more(&id)));
    members.retain(|id, _| !is_no_more(id));
    let map = seen.map.as_ref().filter(|_| groups_may_change);
    let aside = map.map(|map| &placement::groups(spec, living.keys()) - &map.sharing).unwrap_or_default();
    let situation = Situation {
        names,
        spec,
        restart_hash: &hash,
        replacing: look.resource.status.as_ref().and_then(|status| status.replacing.as_ref()),
        servers: &living,
        members: &members,
        aside: &aside,
        later: &look.later,
        lost_nodes: &look.lost_nodes,
        managers_rolled_out: seen.managers_rolled_out,
    };
    let decision = situation.decide();
    Ok(Some(Plan { look: Some(look), decision, turnover }))
}

impl Plan {
    /// What the StatefulSets of servers are to be built from.
    pub(crate) fn existing(
        &self,
        spec: &ShardedKvSpec,
        seen: &BTreeMap<ServerSet, ObservedServers>,
    ) -> BTreeMap<ServerSet, ExistingServers> {
        let among =
            |groups: &BTreeSet<GroupId>, set: ServerSet| set.group().is_some_and(|id| groups.contains(&id));
        let existing = |(set, servers): (&ServerSet, &ObservedServers)| {
            let wanted = placement::servers(spec, *set);
            // Whoever is too many in a ring hosts nothing.
            let may_shrink = *set == ServerSet::Ring || among(&self.decision.shrink, *set);
            let replicas = if may_shrink { wanted } else { servers.replicas().max(wanted) };
            let keep_claims = matches!(growth_of(spec, servers), Growth::Disown(_) | Growth::Recreate);
            let storage_size = servers.set.as_ref().and_then(|set| set.storage_size.clone());
            let retired = servers.retired() || among(&self.turnover.retired, *set);
            (*set, ExistingServers { replicas, storage_size, keep_claims, retired })
        };
        seen.iter().map(existing).collect()
    }

    /// The resource as it was looked at.
    pub(crate) fn resource(&self) -> Option<&ShardedKv> {
        self.look.as_ref().map(|look| &look.resource)
    }

    /// Takes the next step of each kind: what was done, and what failed of it. The resource is then
    /// as it was recorded.
    pub(crate) async fn carry_out(
        self,
        client: &Client,
        servers: &dyn Servers,
        names: &Names,
        manager_address: &str,
        resource: &mut ShardedKv,
    ) -> (Care, Result<(), Error>) {
        let Some(look) = self.look else { return (Care::default(), Ok(())) };
        let actor = Actor { client, servers, names, manager_address };
        let Decision { step, doing, replaced, lost, .. } = self.decision;
        let Turnover { steps, doing: turnover, retired } = self.turnover;
        let mut care = Care { doing, turnover, lost, replaced, ..Care::default() };
        let is_retired = |set: &ServerSet| set.group().is_some_and(|id| retired.contains(&id));
        // What fails of one kind keeps the others from nothing.
        let mut outcome = Ok(());
        for (set, servers) in look.servers.iter().filter(|(set, _)| !is_retired(set)) {
            outcome = outcome.and(care.grow(&actor, resource, *set, servers).await);
        }
        if let Some(step) = step {
            outcome = outcome.and(care.take(&actor, resource, step).await);
        }
        for step in steps {
            outcome = outcome.and(care.turn(&actor, resource, step).await);
        }
        (care, outcome)
    }
}

impl Care {
    /// The next step of pods.
    async fn take(&mut self, actor: &Actor<'_>, resource: &mut ShardedKv, step: Step) -> Result<(), Error> {
        if let Some(pod) = step.replaces() {
            actor.record(resource, pod).await?;
            self.replaced = false;
        }
        match actor.take(&step).await? {
            Taken::Done => self.step = Some(step),
            Taken::NotYet(why) => self.doing = Some(why),
        }
        Ok(())
    }

    /// A step of a whole group.
    async fn turn(&mut self, actor: &Actor<'_>, resource: &ShardedKv, step: GroupStep) -> Result<(), Error> {
        match actor.turn(resource, &step).await? {
            Taken::Done => self.group_steps.push(step),
            Taken::NotYet(why) => self.turnover.push(why),
        }
        Ok(())
    }

    /// The next step of growing the volumes of servers. One that can't grow keeps nothing else
    /// from being done.
    async fn grow(
        &mut self,
        actor: &Actor<'_>,
        resource: &ShardedKv,
        set: ServerSet,
        servers: &ObservedServers,
    ) -> Result<(), Error> {
        let size = &resource.spec.storage.size;
        let doing = match growth_of(&resource.spec, servers) {
            Growth::Done => return Ok(()),
            Growth::Ask(claims) => {
                for claim in &claims {
                    match actor.grow(claim, size).await {
                        Err(error) if error.is_refusal() => self.refused = Some(error.to_string()),
                        asked => asked?,
                    }
                }
                format!("asking the volumes of {set} to grow to {size}")
            }
            Growth::Disown(claims) => {
                for claim in &claims {
                    actor.disown(claim).await?;
                }
                format!("the volumes of {set} grow to {size}")
            }
            Growth::Recreate => {
                if let Some(made) = &servers.set {
                    actor.orphan(&actor.names.servers_of(set), made).await?;
                }
                format!("making the StatefulSet of {set} anew for volumes of {size}")
            }
        };
        self.doing.get_or_insert(doing);
        Ok(())
    }
}

fn growth_of(spec: &ShardedKvSpec, servers: &ObservedServers) -> Growth {
    if spec.storage.memory_only { Growth::Done } else { growth(servers, &spec.storage.size) }
}
