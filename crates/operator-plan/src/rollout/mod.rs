//! Changes of existing pods, members, groups and volumes, one careful step at a time:
//!
//! - `look`: the result of a live look; `members`: the servers' reports in it; `cause`: the reasons for
//!   which replicas are gone for good
//! - `groups`; `situation` and `decide`; `replace`; `storage`: the next step of each kind
//! - `plan`: all of them, and the input from which objects are built
//! - `outcome`: the outcome of a plan, for the status

mod cause;
mod decide;
mod groups;
mod look;
mod members;
mod outcome;
mod plan;
mod replace;
mod situation;
mod storage;

pub use cause::{Cause, is_out_of_service, selectors};
pub use groups::{GroupStep, Turnover};
pub use look::Look;
pub use members::{Leader, Members};
pub use outcome::Outcome;
pub use plan::{Plan, needs_look};
pub use replace::Lost;
pub use situation::{Abandoned, Decision, PodRef, Step};
pub use storage::Growth;
