//! The place of the record. The manager keeps no state of its own beyond it, so a store is all that
//! another kind of deployment needs.

mod file;
mod format;
mod kubernetes;
mod map_store;
mod memory;

pub use file::{FileStore, OpenError};
pub use kubernetes::{KubernetesStore, ObjectName, ParseObjectNameError};
pub use map_store::{MapStore, StoreError, Version};
pub use memory::MemoryStore;
