#![doc = include_str!("../README.md")]
//!
//! ## Modules
//!
//! A clerk finds the shard of a key in its copy of the shard map, asks the leader of the
//! owning group, and heals map and leader from what servers answer.
//!
//! - `clerk`: the calls; `call`: how one call is sent until it has an answer; `attempt`: the time that a server has for it
//! - `routing`: the shard map, and the leader of each group
//! - `session`: sessions, sequence numbers and what is acknowledged
//! - `transport`: connections, streams, and the result of a transmission
//! - `tried`: the words of replicas that didn't serve a call

mod attempt;
mod call;
mod clerk;
mod error;
mod forward;
mod options;
mod pause;
mod routing;
mod session;
mod shared;
mod transport;
mod tried;

pub use clerk::{AppendAnswer, Clerk, DeleteAnswer, GetAnswer, PutAnswer};
pub use error::Error;
pub use forward::Forwarder;
pub use options::{Options, Target, Transport};
pub use skv_net::{Connector, connector, runtime, tcp};
pub use skv_proto::Error as ServerError;
pub use skv_sharding::Revision;
pub use transport::Reply;
