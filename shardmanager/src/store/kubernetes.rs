//! The record in a `ShardMap` of the Kubernetes API, written by compare-and-swap of its
//! `resourceVersion`. The object itself is made by the operator: we may only fill it.

use futures::future::BoxFuture;
use futures::{Stream, StreamExt as _};
use kube::api::{Api, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use skv_assignment::record::Record;
use skv_resource::ShardMap;

use super::map_store::{MapStore, StoreError, Version};
use super::object_name::ObjectName;

/// The format version that is written and read.
const VERSION: i32 = 1;

/// A store in one `ShardMap`.
#[derive(Clone)]
pub struct KubernetesStore {
    maps: Api<ShardMap>,
    object: ObjectName,
}

impl std::fmt::Debug for KubernetesStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubernetesStore").field("object", &self.object).finish_non_exhaustive()
    }
}

impl KubernetesStore {
    /// Creates a store in this object.
    pub fn new(client: Client, object: ObjectName) -> KubernetesStore {
        KubernetesStore { maps: Api::namespaced(client, &object.namespace), object }
    }

    /// Creates a store in this object, with a client that finds the API server as kubectl or a pod does. The
    /// client reports when the API server doesn't answer, instead of trying for minutes while
    /// registrations wait: replicas register again anyway.
    pub async fn connect(object: ObjectName) -> Result<KubernetesStore, kube::Error> {
        // One provider for all of TLS; fails only if one was installed before, which then stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = kube::Config::infer().await.map_err(kube::Error::InferConfig)?;
        config.default_retry = false;
        Ok(KubernetesStore::new(Client::try_from(config)?, object))
    }

    /// Returns an item for every change of the object, no matter which process made it.
    pub fn changes(&self) -> impl Stream<Item = ()> + Send + use<> {
        let changes = watcher::watch_object(self.maps.clone(), &self.object.name);
        changes.default_backoff().filter_map(async |change| {
            change
                .inspect_err(|error| tracing::warn!(%error, "watching the shard map failed; trying again"))
                .ok()
                .map(drop)
        })
    }

    async fn get(&self) -> Result<Option<ShardMap>, StoreError> {
        self.maps.get_opt(&self.object.name).await.map_err(|source| self.failed("read", source))
    }

    async fn swap(&self, expected: Option<&Version>, record: &Record) -> Result<Version, StoreError> {
        let Some(mut map) = self.get().await? else {
            return Err(StoreError::Missing { object: self.title() });
        };
        let found = map.spec.record.is_some().then(|| version_of(&map));
        if found.as_ref() != expected {
            return Err(StoreError::Conflict);
        }
        map.spec.format = Some(VERSION);
        map.spec.record = Some(
            serde_json::to_value(record)
                .map_err(|error| self.failed("encode", kube::Error::SerdeError(error)))?,
        );
        // The object carries the version that was read: the API server refuses it if that is outdated.
        match self.maps.replace(&self.object.name, &PostParams::default(), &map).await {
            Ok(written) => Ok(version_of(&written)),
            Err(kube::Error::Api(status)) if status.code == 409 => Err(StoreError::Conflict),
            Err(source) => Err(self.failed("write", source)),
        }
    }

    fn decode(&self, map: ShardMap) -> Result<Option<(Record, Version)>, StoreError> {
        let version = version_of(&map);
        let Some(record) = map.spec.record else { return Ok(None) };
        let found = map.spec.format.unwrap_or_default();
        if found != VERSION {
            return Err(StoreError::UnsupportedVersion {
                place: self.title(),
                found: found.unsigned_abs(),
                supported: VERSION.unsigned_abs(),
            });
        }
        let damaged = |reason| StoreError::Damaged { place: self.title(), reason };
        let record: Record =
            serde_json::from_value(record).map_err(|e| damaged(format!("it isn't a record: {e}")))?;
        record.check().map_err(|e| damaged(format!("the record is inconsistent: {e}")))?;
        Ok(Some((record, version)))
    }

    fn failed(&self, action: &'static str, source: kube::Error) -> StoreError {
        StoreError::Kubernetes { action, object: self.title(), source: source.into() }
    }

    fn title(&self) -> String {
        format!("ShardMap {}/{}", self.object.namespace, self.object.name)
    }
}

fn version_of(map: &ShardMap) -> Version {
    Version(map.resource_version().unwrap_or_default())
}

impl MapStore for KubernetesStore {
    fn load(&self) -> BoxFuture<'_, Result<Option<(Record, Version)>, StoreError>> {
        Box::pin(async { self.get().await?.map_or(Ok(None), |map| self.decode(map)) })
    }

    fn compare_and_swap<'a>(
        &'a self,
        expected: Option<&'a Version>,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        Box::pin(self.swap(expected, record))
    }
}

#[cfg(test)]
mod tests;
