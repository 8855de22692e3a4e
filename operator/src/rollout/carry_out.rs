//! Takes the steps of a plan.

use skv_operator_plan::names::ServerSet;
use skv_operator_plan::observed::ObservedServers;
use skv_operator_plan::rollout::{GroupStep, Growth, Outcome, Plan, Step};
use skv_resource::ShardedKv;

use super::act::{Actor, Taken};
use crate::error::Error;

/// Takes the next step of each kind. Returns the steps that were taken, and the first failure. The
/// resource is then as it was recorded.
pub(crate) async fn carry_out(
    plan: &Plan,
    actor: &Actor<'_>,
    resource: &mut ShardedKv,
) -> (Outcome, Result<(), Error>) {
    if !plan.is_live {
        return (Outcome::default(), Ok(()));
    }
    let outcome = Outcome {
        doing: plan.decision.doing.clone(),
        turnover: plan.turnover.doing.clone(),
        lost: plan.decision.lost.clone(),
        lost_servers: Some(plan.lost.servers.clone()),
        waiting: plan.lost.waiting.clone(),
        replaced: plan.decision.replaced,
        ..Outcome::default()
    };
    let mut carrying = Carrying { actor, outcome };
    let is_ended = |set: &ServerSet| set.group().is_some_and(|id| plan.turnover.ended.contains(&id));
    // A failure of one kind holds up no other.
    let mut result = Ok(());
    for (set, servers) in plan.seen.servers.iter().filter(|(set, _)| !is_ended(set)) {
        let growth = plan.growth.get(set).unwrap_or(&Growth::Done);
        result = result.and(carrying.grow(resource, *set, servers, growth).await);
    }
    if let Some(step) = &plan.decision.step {
        result = result.and(carrying.take(resource, step).await);
    }
    for step in &plan.turnover.steps {
        result = result.and(carrying.turn(resource, step).await);
    }
    (carrying.outcome, result)
}

/// The steps under way, and their outcome so far.
struct Carrying<'a> {
    actor: &'a Actor<'a>,
    outcome: Outcome,
}

impl Carrying<'_> {
    /// Takes the next step of pods.
    async fn take(&mut self, resource: &mut ShardedKv, step: &Step) -> Result<(), Error> {
        if let Some(pod) = step.replaces() {
            self.actor.record(resource, pod, step).await?;
            self.outcome.replaced = false;
        }
        match self.actor.take(step).await? {
            Taken::Done => self.outcome.step = Some(step.clone()),
            Taken::NotYet(why) => self.outcome.doing = Some(why),
        }
        Ok(())
    }

    /// Takes a step of a whole group.
    async fn turn(&mut self, resource: &ShardedKv, step: &GroupStep) -> Result<(), Error> {
        match self.actor.turn(resource, step).await? {
            Taken::Done => self.outcome.group_steps.push(step.clone()),
            Taken::NotYet(why) => self.outcome.turnover.push(why),
        }
        Ok(())
    }

    /// Takes the next step of growing the volumes of servers. A volume that can't grow holds up no other
    /// work.
    async fn grow(
        &mut self,
        resource: &ShardedKv,
        set: ServerSet,
        servers: &ObservedServers,
        growth: &Growth,
    ) -> Result<(), Error> {
        let size = &resource.spec.storage.size;
        let doing = match growth {
            Growth::Done => return Ok(()),
            Growth::Ask(claims) => {
                for claim in claims {
                    match self.actor.grow(claim, size).await {
                        Err(error) if error.is_refusal() => self.outcome.refused = Some(error.to_string()),
                        asked => asked?,
                    }
                }
                format!("asking the volumes of {set} to grow to {size}")
            }
            Growth::Disown(claims) => {
                for claim in claims {
                    self.actor.disown(claim).await?;
                }
                format!("the volumes of {set} grow to {size}")
            }
            Growth::Recreate => {
                if let Some(made) = &servers.set {
                    self.actor.orphan(&self.actor.names.servers_of(set), made).await?;
                }
                format!("remaking the StatefulSet of {set} for volumes of {size}")
            }
        };
        self.outcome.doing.get_or_insert(doing);
        Ok(())
    }
}
