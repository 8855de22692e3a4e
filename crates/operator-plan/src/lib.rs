//! The pure half of the operator: no client, no task, no clock and no random source. It derives from the
//! observed state of a resource the objects that it consists of, the next step, and the messages about it.
//!
//! - `observed`, and in it `pods`, `claims`: the state that objects and the shard manager report
//! - `resolved`: a valid resource, and all that follows from it and from the observed state; `names`,
//!   `placement`, `restart` are parts of that
//! - `rollout`: the next step with the existing objects
//! - `build`: the objects; `gitops` and `ownership`: the owners of objects
//! - `status`, `condition`: the messages for people

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
