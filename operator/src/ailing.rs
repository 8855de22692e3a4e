//! The reasons that no object tells: why pods can't be made, from Events, and why a replica can't go on, from its
//! server. They are asked for only while pods are missing, or haven't been ready for long.

use futures::future::{join, join_all};
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::api::{Api, ListParams};
use skv_operator_plan::names::Names;
use skv_operator_plan::observed::{Observed, ObservedServers};
use skv_operator_plan::pods::PodState;
use skv_proto::v1;

use crate::rollout::status;
use crate::servers::Servers;

/// The age to which an Event is news: longer than the pauses between the tries of a StatefulSet's controller.
const NEWS: SignedDuration = SignedDuration::from_mins(20);

/// Returns the same state with these reasons.
pub(crate) async fn explained(
    mut seen: Observed,
    client: &Client,
    servers: &dyn Servers,
    names: &Names,
    now: Timestamp,
) -> Observed {
    let (forbidden, refusals) = join(forbidden(client, names, &seen, now), refusals(servers, &seen)).await;
    seen.forbidden.extend(forbidden);
    seen.refusals = refusals;
    seen
}

async fn forbidden(client: &Client, names: &Names, seen: &Observed, now: Timestamp) -> Vec<String> {
    let events: Api<Event> = Api::namespaced(client.clone(), &names.namespace);
    let lacking = seen.servers.values().filter(|servers| servers.lacks_pods());
    let told = join_all(lacking.filter_map(uid).map(async |uid| {
        let failures = format!("involvedObject.uid={uid},reason=FailedCreate");
        match events.list(&ListParams::default().fields(&failures)).await {
            Ok(list) => newest(&list.items, now),
            // What isn't told is no reason to stop caring.
            Err(error) => {
                tracing::debug!(%error, "can't list Events");
                None
            }
        }
    }));
    told.await.into_iter().flatten().collect()
}

fn uid(servers: &ObservedServers) -> Option<&str> {
    servers.set.as_ref().map(|set| set.uid.as_str())
}

fn newest(events: &[Event], now: Timestamp) -> Option<String> {
    let is_news = |event: &&Event| time(event).is_some_and(|time| now.duration_since(time) < NEWS);
    events.iter().filter(is_news).max_by_key(|event| time(event))?.message.clone()
}

/// Returns the last time at which an Event happened.
fn time(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
    let times = [
        series.map(|time| time.0),
        event.last_timestamp.as_ref().map(|time| time.0),
        event.event_time.as_ref().map(|time| time.0),
    ];
    times.into_iter().flatten().max()
}

async fn refusals(servers: &dyn Servers, seen: &Observed) -> Vec<String> {
    let pods = seen.servers.values().flat_map(|servers| servers.pods.values());
    let stuck = pods.filter(|pod| pod.state == PodState::Stuck);
    let asked = join_all(stuck.map(async |pod| Some((pod, status(servers, pod).await?)))).await;
    let mut told = Vec::new();
    for (pod, answer) in asked.into_iter().flatten() {
        let broken = answer.replicas.iter().filter(|replica| replica.state() == v1::ReplicaState::Broken);
        told.extend(broken.map(|replica| format!("{}: {}", pod.name, replica.problem)));
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(events: Value) -> Option<String> {
        let events: Vec<Event> = serde_json::from_value(events).unwrap();
        newest(&events, "2026-01-01T00:30:00Z".parse().unwrap())
    }

    #[test]
    fn the_newest_failure_is_told_while_it_is_news() {
        let event = |message: &str, time: Value| {
            let mut event = json!({ "metadata": {}, "involvedObject": {}, "message": message });
            event.as_object_mut().unwrap().extend(time.as_object().unwrap().clone());
            event
        };
        let old = event("old", json!({ "lastTimestamp": "2026-01-01T00:05:00Z" }));
        let quota = event("exceeded quota", json!({ "lastTimestamp": "2026-01-01T00:20:00Z" }));
        let policy = event(
            "violates PodSecurity",
            json!({ "series": { "lastObservedTime": "2026-01-01T00:29:00.000000Z" } }),
        );
        assert_eq!(told(json!([])), None);
        assert_eq!(told(json!([old])), None);
        assert_eq!(told(json!([quota, old])).as_deref(), Some("exceeded quota"));
        assert_eq!(told(json!([policy, quota])).as_deref(), Some("violates PodSecurity"));
    }
}
