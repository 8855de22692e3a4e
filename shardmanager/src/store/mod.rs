//! The place of the record. The manager keeps no state of its own beyond it, so a store is all that
//! another kind of deployment needs.

mod file;
mod format;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod map_store;
mod memory;
mod object_name;

pub use file::{FileStore, OpenError};
#[cfg(feature = "kubernetes")]
pub use kubernetes::KubernetesStore;
pub use map_store::{MapStore, StoreError, Version};
pub use memory::MemoryStore;
pub use object_name::{ObjectName, ParseObjectNameError};
