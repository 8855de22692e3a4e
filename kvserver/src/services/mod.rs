//! What a server offers: to users, to other servers, and to who watches it.

pub(crate) mod admin;
pub(crate) mod http;
pub(crate) mod kv;
pub(crate) mod lab;
mod operation_log;
pub(crate) mod operations;
mod outbox;
mod pipeline;
