//! The rules by which the groups of a store come and go. Pure: no IO, no task, no clock, no random
//! source.
//!
//! Two programs follow them: `skv`, for a store of local processes, and the operator, for one on
//! Kubernetes. Each describes its servers as [`Group`]s, and the shard manager's answers as an
//! [`Assignment`]; [`decide`] returns a [`Turnover`]. Starting and stopping servers, and the fate of
//! volumes, is theirs. The lab's master only has groups join, by a rule of its own
//! (`lab/src/master/joins.rs`).
//!
//! Groups join together, once all that are asked for are founded and led. A group that is too many leaves,
//! and is drained. When it reports that it has nothing, it is retired, by an entry in its log: from then
//! on it takes nothing. When the shard manager has forgotten it, it has ended: its servers stop, and the
//! rest of it is removed. Each step needs the one before to be seen, so that a step that is taken again,
//! or late, does no harm, and a program that is killed between two steps is replaced by any other that
//! looks again.
//!
//! The two programs once had rules of their own. This is where those differed, and what holds now:
//!
//! | question | `skv` did | the operator did | now, and why |
//! |---|---|---|---|
//! | when may groups join? | when each has a leader with a quorum | when a majority of each one's pods is ready | leader with a quorum: it is what takes and gives shards; readiness is seconds old, is each server's own, and a majority of ready pods may have no leader |
//! | which groups join? | all that should share the shards | those that don't yet | those that don't yet: the request names the change |
//! | may others leave while some can't join? | no | yes | yes: what leaves then is a group that was retired, and the others wait for it to be gone |
//! | must a retired group leave? | not if its number is wanted | yes | yes: it takes no shard, and would stay for ever |
//! | does a retired group count as one of those there are? | no | until its servers were ordered to stop | no: a group that works would leave in its place |
//! | may all groups leave? | yes; the shard manager refused | no | no: a group must take the shards |
//! | may one be retired while shards of others move? | no | yes | yes; `skv` takes one step at a time, and shows moves first |
//! | when does a forgotten group end? | at once | when its voters have learned it | when they have learned it: on a volume that is kept they would take the group for a living one |
//! | when does a group end that was never founded? | never | when none of its servers has anything | as the program says ([`Group::unproven`]): the operator stops servers that it has just looked at; the supervisor of `skv` may obey late, when the group was founded |
//! | which shards are on their way? | those that map and configuration differ in | those of the map that the configuration has elsewhere, or that may leave | the first is [`Assignment::elsewhere`], the second [`Assignment::moving`]; a shard that only one of the two has counts |
//! | what without the shard manager? | the command fails | nothing but what was decided before | as the operator: only the shard manager can name the group that goes |
//! | how is it called? | a group "is to go" | "is to leave" | "is to leave" while the shard manager knows it, "is to go" when it doesn't |

mod assignment;
#[cfg(any(test, feature = "cases"))]
pub mod cases;
mod decide;
mod report;

pub use assignment::Assignment;
pub use decide::{Group, Servers, Step, Turnover, decide, wanted};
pub use report::{Leader, Report, leading};
