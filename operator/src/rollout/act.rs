//! Carries out a step that was decided.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Service};
use kube::api::{Api, DeleteParams, EvictParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::{Client, Resource as _, ResourceExt as _};
use serde_json::json;
use skv_operator_plan::names::{MANAGER, Names, ServerSet};
use skv_operator_plan::observed::ObservedSet;
use skv_operator_plan::ownership::{Ownership, ownership};
use skv_operator_plan::rollout::{Abandoned, GroupStep, PodRef, Step};
use skv_resource::{Replacing, Retention, ShardedKv, Size};

use crate::api_client::write_status;
use crate::error::Error;
use crate::servers::Servers;
use crate::unread::Unread;

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
    /// The fields of the resource's status that can't be read.
    pub(crate) unread: &'a Unread,
}

impl Actor<'_> {
    /// Records the pod that a step is about to replace, against the version of the resource that was looked
    /// at: an operator that acts on an older one fails here. So a step that is in the record already is
    /// written too. Without a change the API server only compares the versions, and stores no new one.
    pub(super) async fn record(
        &self,
        resource: &mut ShardedKv,
        pod: &PodRef,
        step: &Step,
    ) -> Result<(), Error> {
        let status = resource.status.get_or_insert_default();
        status.replacing = Some(Replacing { pod: pod.name.clone(), uid: pod.uid.clone() });
        if let Step::Abandon(abandoned) = step {
            status.replaced.clone_from(&abandoned.history);
        }
        *resource = write_status(self.client, resource, self.unread).await?;
        Ok(())
    }

    pub(super) async fn take(&self, step: &Step) -> Result<Taken, Error> {
        match step {
            Step::Evict(pod) => self.evict(pod).await,
            Step::Delete(pod) => self.delete(pod, None).await,
            Step::ForceDelete(pod) => self.delete(pod, Some(0)).await,
            Step::Abandon(abandoned) => self.abandon(abandoned).await,
            Step::HandOver { group, meant, address, to, .. } => {
                Ok(self.servers.hand_over(address, *group, *meant, *to).await.into())
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

    /// Gives up a server's volume, and lets go of its pod.
    async fn abandon(&self, abandoned: &Abandoned) -> Result<Taken, Error> {
        let Abandoned { pod, at_once, claim, claim_uid, keep, .. } = abandoned;
        if let Some(volume) = keep
            && let Taken::NotYet(why) = self.keep(volume).await?
        {
            return Ok(Taken::NotYet(format!("{} isn't replaced: {why}", pod.name)));
        }
        // A successor that works by now uses the same claim.
        if self.has_successor(pod).await? {
            let name = &pod.name;
            return Ok(Taken::NotYet(format!("{name} isn't replaced: another pod has taken its place")));
        }
        let this = DeleteParams::default().preconditions(only(claim_uid));
        match self.api::<PersistentVolumeClaim>().delete(claim, &this).await {
            Ok(_) => {}
            Err(error) if is_another(&error) => {}
            Err(error) => return Err(Error::api("delete", &format!("PersistentVolumeClaim {claim}"), error)),
        }
        self.delete(pod, at_once.then_some(0)).await
    }

    /// Returns true if another pod has the name of this one.
    async fn has_successor(&self, pod: &PodRef) -> Result<bool, Error> {
        let found = self.api::<Pod>().get_opt(&pod.name).await;
        let found = found.map_err(|error| Error::api("read", &format!("Pod {}", pod.name), error))?;
        Ok(found.is_some_and(|found| found.uid().as_ref() != Some(&pod.uid)))
    }

    /// Has a volume outlive its claim.
    async fn keep(&self, volume: &str) -> Result<Taken, Error> {
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let patch = json!({ "spec": { "persistentVolumeReclaimPolicy": Retention::Retain.name() } });
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match volumes.patch(volume, &parameters, &Patch::Merge(patch)).await {
            Ok(_) => Ok(Taken::Done),
            Err(error) if has_code(&error, 404) => Ok(Taken::Done),
            Err(error) if has_code(&error, 403) => Ok(Taken::NotYet(format!(
                "the operator may not keep PersistentVolume {volume}: allow it to patch persistentvolumes, or set \
                 spec.replacement.volumes to Delete"
            ))),
            Err(error) => Err(Error::api("keep", &format!("PersistentVolume {volume}"), error)),
        }
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
