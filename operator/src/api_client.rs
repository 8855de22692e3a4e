//! The client of the API server.

use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::{Client, Config, ResourceExt as _};
use serde_json::json;
use skv_resource::ShardedKv;

use crate::error::Error;
use crate::unread::Unread;

/// Makes a client that sends each request once. kube's own would send a refused eviction again for
/// minutes: by then the group has changed since the look. A request that fails is tried again by the next
/// pass, from a new look.
pub(crate) fn connect(mut config: Config) -> kube::Result<Client> {
    config.default_retry = false;
    Client::try_from(config)
}

/// Writes the status of a resource, with its fields that can't be read; returns the resource as it is then. A write
/// against a version that has changed meanwhile is refused by the API server.
pub(crate) async fn write_status(
    client: &Client,
    resource: &ShardedKv,
    unread: &Unread,
) -> Result<ShardedKv, Error> {
    let mut data = json!({ "spec": resource.spec, "status": resource.status });
    unread.put_back(&mut data["status"]);
    let mut object = DynamicObject::new("", &ApiResource::erase::<ShardedKv>(&())).data(data);
    object.metadata = resource.metadata.clone();
    let written = write_status_of(client, &object).await?;
    // The specification in the answer may be one that can't be read.
    Ok(ShardedKv { metadata: written.metadata, ..resource.clone() })
}

/// Writes the status of a resource that need not be readable; no other part of it is written.
pub(crate) async fn write_status_of(client: &Client, object: &DynamicObject) -> Result<DynamicObject, Error> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let kind = ApiResource::erase::<ShardedKv>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &kind);
    let written = api.replace_status(&name, &PostParams::default(), object).await;
    written.map_err(|source| Error::api("write the status of", &format!("ShardedKV {name}"), source))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::http::StatusCode;
    use k8s_openapi::api::core::v1::Pod;
    use kube::api::EvictParams;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_refused_eviction_is_not_sent_again() {
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&sent);
        let refuse = Router::new().fallback(async move || {
            counter.fetch_add(1, Ordering::Relaxed);
            StatusCode::TOO_MANY_REQUESTS
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(axum::serve(listener, refuse).into_future());
        let client = connect(Config::new(url.parse().unwrap())).unwrap();
        let pods: Api<Pod> = Api::namespaced(client, "default");
        let error = pods.evict("demo-g0-0", &EvictParams::default()).await.unwrap_err();
        assert!(matches!(&error, kube::Error::Api(status) if status.code == 429), "{error:?}");
        assert_eq!(sent.load(Ordering::Relaxed), 1);
        server.abort();
    }
}
