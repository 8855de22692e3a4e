//! The services of a server, for users, other servers and monitoring.

pub(crate) mod admin;
pub(crate) mod http;
pub(crate) mod kv;
pub(crate) mod lab;
mod operation_log;
pub(crate) mod operations;
mod outbox;
mod pipeline;
