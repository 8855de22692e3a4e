//! The pure half of the operator: no client, no task, no clock and no random source. It derives from the
//! observed state of a resource the objects that it consists of, the next step, and the messages about it.
//!
//! - `observed`, and in it `pods`, `claims`: the state that objects and the shard manager report; `record`:
//!   the members of groups, also while nobody can be asked
//! - `resolved`: a valid resource, and all that follows from it and from the observed state; `names`,
//!   `placement`, `image`, `restart`, `quantity` are parts of that
//! - `rollout`: the next step with the existing objects
//! - `build`: the objects; `gitops` and `ownership`: the owners of objects
//! - `status`, `condition`, `evictions`, `spread`: the messages for people; `kstatus`: those for programs

pub mod build;
pub mod claims;
pub mod condition;
mod evictions;
pub mod gitops;
pub mod image;
mod kstatus;
pub mod names;
pub mod observed;
pub mod ownership;
pub mod placement;
pub mod pods;
pub mod quantity;
pub mod record;
pub mod resolved;
pub mod restart;
pub mod rollout;
mod spread;
pub mod status;
