//! The reports for people: writes the status where it differs, and publishes the Events.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::ApiResource;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::events::{Event, Recorder};
use kube::{Client, Resource as _};
use serde_json::json;
use skv_operator_plan::condition::{Reason, Verdict, conditions, notices};
use skv_operator_plan::names::Names;
use skv_resource::{ShardedKv, ShardedKvStatus};

use crate::api_client::write_status;
use crate::error::Error;
use crate::events;

/// Writes statuses and Events.
pub(crate) struct Reporter {
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
}

impl Reporter {
    /// Writes the status if the resource has another.
    pub(crate) async fn report(&self, resource: &ShardedKv, new: ShardedKvStatus) -> Result<bool, Error> {
        let old = resource.status.clone().unwrap_or_default();
        if resource.status.as_ref() == Some(&new) {
            return Ok(false);
        }
        let notices = notices(&old.conditions, &new.conditions);
        let mut changed = resource.clone();
        changed.status = Some(new);
        write_status(&self.client, &changed).await?;
        for notice in notices {
            self.publish(&events::of_condition(notice), &resource.object_ref(&())).await;
        }
        Ok(true)
    }

    /// Reports that a resource can't be read. It touches only fields that any object is certain to have.
    pub(crate) async fn report_unreadable(
        &self,
        names: &Names,
        invalid: &InvalidObject,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let kind = ApiResource::erase::<ShardedKv>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &names.namespace, &kind);
        let title = format!("ShardedKV {}", names.resource);
        let found =
            api.get_opt(&names.resource).await.map_err(|source| Error::api("read", &title, source))?;
        let Some(mut object) = found else { return Ok(false) };
        let generation = object.metadata.generation;
        // Conditions that can't be read either are written again.
        let old: Vec<Condition> =
            serde_json::from_value(object.data["status"]["conditions"].clone()).unwrap_or_default();
        let verdict =
            Verdict::invalid(Reason::Unreadable, format!("the resource can't be read: {}", invalid.error));
        let new = conditions(&old, [verdict], generation, now);
        if new == old {
            return Ok(false);
        }
        if !object.data["status"].is_object() {
            object.data["status"] = json!({});
        }
        object.data["status"]["conditions"] = serde_json::to_value(&new)?;
        object.data["status"]["observedGeneration"] = json!(generation);
        api.replace_status(&names.resource, &PostParams::default(), &object)
            .await
            .map_err(|source| Error::api("write the status of", &title, source))?;
        for notice in notices(&old, &new) {
            self.publish(&events::of_condition(notice), &object.object_ref(&kind)).await;
        }
        Ok(true)
    }

    /// Publishes an Event. Losing one is no reason to fail.
    pub(crate) async fn publish(&self, event: &Event, about: &ObjectReference) {
        if let Err(error) = self.recorder.publish(event, about).await {
            tracing::warn!(reason = event.reason, %error, "can't publish an Event");
        }
    }
}
