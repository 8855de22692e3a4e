//! The operator: keeps what `ShardedKV` resources ask for running.
//!
//! One pass over one resource is a pipeline:
//!
//! 1. `dereference`: gather what is known of it, from caches that watches keep
//! 2. validate: [`skv_resource::validate`], and what can't change
//! 3. `care`: where running groups must change, a live look, and the next step (pure)
//! 4. `build`: the objects that it consists of (pure)
//! 5. `apply`: server-side apply of those that aren't as they should be; then the step is taken
//! 6. `status`: what is to be said about it (pure), and the Events of what changed
//!
//! `controller` drives it; `lease` makes sure that one operator acts; `process` is all of
//! it as a program.

mod api_client;
mod apply;
mod build;
mod cache;
mod care;
mod claims;
mod controller;
mod dereference;
mod error;
mod gitops;
mod http;
mod lease;
mod metrics;
mod names;
mod options;
mod ownership;
mod placement;
mod pods;
mod process;
mod reconcile;
mod report;
mod servers;
mod status;
#[cfg(test)]
mod testing;
mod wanted;

pub use options::{LogFormat, Options};
pub use process::run;
