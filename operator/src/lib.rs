//! The operator: keeps the stores running that `ShardedKV` resources ask for.
//!
//! A pass over a resource is a pipeline (`reconcile`). Its pure stages are `skv-operator-plan`:
//!
//! 1. `dereference`: gather the known facts about it, from caches that watches keep; `ailing` asks about what
//!    they don't explain
//! 2. validate (`accepted`): [`skv_resource::validate`], and the fields that can't change; while that fails,
//!    the last valid specification counts, and of a status that can't be read (`unread`) all fields that can; then
//!    all that follows is resolved once (`resolved`, pure)
//! 3. `rollout`: where running groups must change, a live look, and the next step (pure)
//! 4. `build`: the objects that it consists of (pure)
//! 5. `apply`: server-side apply of those that aren't as they should be; then the step is taken. Neither is
//!    anything built nor compared while all is as it was when it was right (`unchanged`)
//! 6. `status`: the messages about it (pure), and the `events` of changes
//!
//! `controller` drives it; `lease` makes sure that one operator acts; `process` is all of it as
//! a program, which looks at its `surroundings` first.

mod accepted;
mod ailing;
mod api_client;
mod apply;
mod cache;
#[cfg(test)]
mod checked;
mod claims;
mod controller;
mod cordons;
mod dereference;
mod error;
mod events;
mod health;
mod http;
mod lease;
mod metrics;
mod options;
mod process;
mod reconcile;
mod report;
mod rollout;
mod servers;
mod silence;
mod surroundings;
#[cfg(test)]
mod testing;
mod time;
mod unchanged;
mod unread;

pub use options::Options;
pub use process::run;
