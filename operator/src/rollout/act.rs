//! Carries out a step that was decided.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use kube::api::{Api, DeleteParams, EvictParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::{Client, Resource as _, ResourceExt as _};
use serde_json::json;
use skv_operator_plan::names::{MANAGER, Names, ServerSet};
use skv_operator_plan::observed::ObservedSet;
use skv_operator_plan::ownership::{Ownership, ownership};
use skv_operator_plan::rollout::{GroupStep, PodRef, Step};
use skv_resource::{Replacing, ShardedKv, Size};

use crate::api_client::write_status;
use crate::error::Error;
use crate::servers::Servers;

/// The result of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The step was carried out.
    Done,
    /// The step can't be carried out now, for this reason.
    NotYet(String),
}

/// Takes steps, by the API server and by the servers themselves.
pub(crate) struct Actor<'a> {
    pub(crate) client: &'a Client,
    pub(crate) servers: &'a dyn Servers,
    pub(crate) names: &'a Names,
    /// The address of the shard managers.
    pub(crate) manager_address: &'a str,
}

impl Actor<'_> {
    /// Records the pod that is about to be replaced, against the version of the resource that was looked
    /// at: an operator that acts on an older one fails here.
    pub(super) async fn record(&self, resource: &mut ShardedKv, pod: &PodRef) -> Result<(), Error> {
        let replacing = Some(Replacing { pod: pod.name.clone(), uid: pod.uid.clone() });
        let status = resource.status.get_or_insert_default();
        if status.replacing == replacing {
            return Ok(());
        }
        status.replacing = replacing;
        *resource = write_status(self.client, resource).await?;
        Ok(())
    }

    pub(super) async fn take(&self, step: &Step) -> Result<Taken, Error> {
        match step {
            Step::Evict(pod) => self.evict(pod).await,
            Step::Delete(pod) => self.delete(pod, None).await,
            Step::ForceDelete(pod) => self.delete(pod, Some(0)).await,
            Step::HandOver { group, address, to, .. } => {
                Ok(self.servers.hand_over(address, *group, *to).await.into())
            }
            Step::Remove { group, uid, leader_address, replica, .. } => {
                Ok(self.servers.remove_replica(leader_address, *group, *uid, *replica).await.into())
            }
        }
    }

    /// Takes a step of a whole group.
    pub(super) async fn turn(&self, resource: &ShardedKv, step: &GroupStep) -> Result<Taken, Error> {
        match step {
            GroupStep::Join(groups) => Ok(self.servers.join(self.manager_address, groups).await.into()),
            GroupStep::Leave(groups) => Ok(self.servers.leave(self.manager_address, groups).await.into()),
            GroupStep::Retire { group, uid, leader_address } => {
                Ok(self.servers.retire(leader_address, *group, *uid).await.into())
            }
            GroupStep::LetGo { pod, .. } => self.delete(pod, Some(0)).await,
            GroupStep::Disown { claims, .. } => {
                for claim in claims {
                    self.disown(claim).await?;
                }
                Ok(Taken::Done)
            }
            // The group is found by its StatefulSet, so that this is deleted last.
            GroupStep::Delete { group, set } => {
                let name = self.names.servers_of(ServerSet::Group(*group));
                self.delete_service(resource, &name).await?;
                self.delete_set(&name, set, PropagationPolicy::Background).await?;
                Ok(Taken::Done)
            }
        }
    }

    /// Deletes a group's Service, unless another owner has it.
    async fn delete_service(&self, resource: &ShardedKv, name: &str) -> Result<(), Error> {
        let (title, services) = (format!("Service {name}"), self.api::<Service>());
        let found = services.get_opt(name).await.map_err(|error| Error::api("read", &title, error))?;
        let Some(service) = found else { return Ok(()) };
        let owner = resource.meta().uid.as_ref();
        let is_ours = ownership(self.names, service.meta()) == Ownership::Ours
            && service.owner_references().iter().any(|reference| Some(&reference.uid) == owner);
        if !is_ours {
            return Ok(());
        }
        let only_this = Preconditions { uid: service.uid(), resource_version: None };
        match services.delete(name, &DeleteParams::default().preconditions(only_this)).await {
            Ok(_) => Ok(()),
            Err(error) if is_another(&error) => Ok(()),
            Err(error) => Err(Error::api("delete", &title, error)),
        }
    }

    /// Removes the owners of a claim, with which it would be deleted.
    pub(super) async fn disown(&self, claim: &str) -> Result<(), Error> {
        let patch = json!({ "metadata": { "ownerReferences": null } });
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patched =
            self.api::<PersistentVolumeClaim>().patch(claim, &parameters, &Patch::Merge(patch)).await;
        patched.map_err(|error| Error::api("keep", &format!("PersistentVolumeClaim {claim}"), error))?;
        Ok(())
    }

    /// Evicts a pod. The API server checks the disruption budget, and that the pod is still this one.
    async fn evict(&self, pod: &PodRef) -> Result<Taken, Error> {
        let delete = DeleteParams::default().preconditions(only(&pod.uid));
        let eviction = EvictParams { delete_options: Some(delete), ..EvictParams::default() };
        match self.api::<Pod>().evict(&pod.name, &eviction).await {
            Ok(_) => Ok(Taken::Done),
            Err(error) if has_code(&error, 429) => {
                Ok(Taken::NotYet(format!("the disruption budget doesn't allow to evict {} now", pod.name)))
            }
            Err(error) if is_another(&error) => Ok(Taken::Done),
            Err(error) => Err(Error::api("evict", &format!("Pod {}", pod.name), error)),
        }
    }

    async fn delete(&self, pod: &PodRef, grace_period_seconds: Option<u32>) -> Result<Taken, Error> {
        let parameters =
            DeleteParams { grace_period_seconds, ..DeleteParams::default() }.preconditions(only(&pod.uid));
        match self.api::<Pod>().delete(&pod.name, &parameters).await {
            Ok(_) => Ok(Taken::Done),
            Err(error) if is_another(&error) => Ok(Taken::Done),
            Err(error) => Err(Error::api("delete", &format!("Pod {}", pod.name), error)),
        }
    }

    /// Asks a claim to grow.
    pub(super) async fn grow(&self, claim: &str, size: &Size) -> Result<(), Error> {
        let patch = json!({ "spec": { "resources": { "requests": { "storage": size } } } });
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patched =
            self.api::<PersistentVolumeClaim>().patch(claim, &parameters, &Patch::Merge(patch)).await;
        patched.map_err(|error| Error::api("enlarge", &format!("PersistentVolumeClaim {claim}"), error))?;
        Ok(())
    }

    /// Deletes a StatefulSet and leaves its pods, if it still is exactly the one that was looked at.
    pub(super) async fn orphan(&self, name: &str, set: &ObservedSet) -> Result<(), Error> {
        self.delete_set(name, set, PropagationPolicy::Orphan).await
    }

    async fn delete_set(
        &self,
        name: &str,
        set: &ObservedSet,
        dependents: PropagationPolicy,
    ) -> Result<(), Error> {
        let exactly = Preconditions {
            uid: Some(set.uid.clone()),
            resource_version: Some(set.resource_version.clone()),
        };
        let parameters = DeleteParams { propagation_policy: Some(dependents), ..DeleteParams::default() };
        let deleted = self.api::<StatefulSet>().delete(name, &parameters.preconditions(exactly)).await;
        deleted.map_err(|error| Error::api("delete", &format!("StatefulSet {name}"), error))?;
        Ok(())
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.names.namespace)
    }
}

impl From<Result<(), String>> for Taken {
    fn from(answer: Result<(), String>) -> Taken {
        answer.map_or_else(Taken::NotYet, |()| Taken::Done)
    }
}

fn only(uid: &str) -> Preconditions {
    Preconditions { uid: Some(uid.to_owned()), resource_version: None }
}

/// Returns true if the pod is gone, or another has its name: then the step is done.
fn is_another(error: &kube::Error) -> bool {
    has_code(error, 404) || has_code(error, 409)
}

fn has_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}
