//! The promises of the write-ahead log, seen from outside: entries are durable when it says so,
//! damage is noticed, a full disk is waited for.

#![allow(missing_docs)]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod damage;
mod failure;
mod model;
mod real;
mod space;
mod successor;
mod support;
mod written;
