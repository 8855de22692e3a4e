//! A record in memory, for tests and simulations: it outlives the manager that uses it,
//! and can be lost or put back from an older copy.

use std::sync::Arc;

use futures::future::{BoxFuture, ready};
use parking_lot::Mutex;
use skv_assignment::record::Record;

use super::map_store::{MapStore, StoreError, Version};

/// A store in memory; clones share the record.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    record: Option<Record>,
    writes: u64,
}

impl MemoryStore {
    /// Returns the record as it is.
    pub fn record(&self) -> Option<Record> {
        self.0.lock().record.clone()
    }

    /// Puts any record in its place, as a person with access to the store might.
    pub fn replace(&self, record: Option<Record>) {
        let mut state = self.0.lock();
        state.record = record;
        state.writes += 1;
    }

    /// Returns the number of writes of the record.
    pub fn writes(&self) -> u64 {
        self.0.lock().writes
    }
}

impl State {
    fn version(&self) -> Option<Version> {
        self.record.as_ref().map(|_| Version(self.writes.to_string()))
    }
}

impl MapStore for MemoryStore {
    fn load(&self) -> BoxFuture<'_, Result<Option<(Record, Version)>, StoreError>> {
        let state = self.0.lock();
        Box::pin(ready(Ok(state.record.clone().zip(state.version()))))
    }

    fn compare_and_swap<'a>(
        &'a self,
        expected: Option<&'a Version>,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        let mut state = self.0.lock();
        if state.version().as_ref() != expected {
            return Box::pin(ready(Err(StoreError::Conflict)));
        }
        state.record = Some(record.clone());
        state.writes += 1;
        Box::pin(ready(state.version().ok_or(StoreError::Conflict)))
    }
}
