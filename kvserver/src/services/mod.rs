//! What a server offers: to users, to other servers, and to who watches it.

pub mod admin;
pub mod http;
pub mod kv;
pub mod lab;
mod operation_log;
pub mod operations;
mod outbox;
mod pipeline;
