//! The pure half of the operator: no client, no task, no clock and no random source. From what was
//! seen of a resource follow the objects that it consists of, the next step, and the words for it.
//!
//! - `observed`, and in it `pods`, `claims`: what objects and the shard manager say
//! - `resolved`: a valid resource, and what follows from it and from what was seen; `names`,
//!   `placement`, `restart` are parts of that
//! - `rollout`: the next step with what there is
//! - `build`: the objects; `gitops` and `ownership` say whose they are
//! - `status`, `condition`: what is said

pub mod build;
pub mod claims;
pub mod condition;
pub mod gitops;
pub mod names;
pub mod observed;
pub mod ownership;
pub mod placement;
pub mod pods;
pub mod resolved;
pub mod restart;
pub mod rollout;
pub mod status;
