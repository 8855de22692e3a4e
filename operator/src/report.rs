//! The reports for people: writes the status where it differs, and publishes the Events.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::events::{Event, Recorder};
use kube::{Client, Resource as _};
use skv_operator_plan::condition::{Verdict, notices};
use skv_operator_plan::status;
use skv_resource::{ShardedKv, ShardedKvStatus};

use crate::api_client::{write_status, write_status_of};
use crate::error::Error;
use crate::events;
use crate::unread::Unread;

/// Writes statuses and Events.
pub(crate) struct Reporter {
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
}

impl Reporter {
    /// Writes the status if the resource has another. The fields of that which can't be read stay.
    pub(crate) async fn report(
        &self,
        resource: &ShardedKv,
        unread: &Unread,
        new: ShardedKvStatus,
    ) -> Result<bool, Error> {
        let old = resource.status.clone().unwrap_or_default();
        let new = unread.without_guess(new);
        if resource.status.as_ref() == Some(&new) {
            return Ok(false);
        }
        let notices = notices(&old.conditions, &new.conditions);
        let held = new.held_evictions.iter().filter(|held| !old.held_evictions.contains(held));
        let held: Vec<Event> = held.map(|held| events::of_held_eviction(resource, held)).collect();
        let mut changed = resource.clone();
        changed.status = Some(new);
        write_status(&self.client, &changed, unread).await?;
        for event in notices.into_iter().map(events::of_condition).chain(held) {
            self.publish(&event, &resource.object_ref(&())).await;
        }
        Ok(true)
    }

    /// Reports that a resource can't be used. It touches only fields that any object is certain to have.
    pub(crate) async fn report_refused(
        &self,
        object: &DynamicObject,
        verdict: Verdict,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let kind = ApiResource::erase::<ShardedKv>(&());
        let old = &object.data["status"];
        let (new, notices) = status::refused(old, verdict, object.metadata.generation, now)?;
        if new == *old {
            return Ok(false);
        }
        // The items of a list, by which a watch begins, lack kind and version.
        let mut changed = DynamicObject::new("", &kind).data(object.data.clone());
        changed.metadata = object.metadata.clone();
        changed.data["status"] = new;
        write_status_of(&self.client, &changed).await?;
        for notice in notices {
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
