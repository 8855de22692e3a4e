//! What the write-ahead log promises, seen from outside: durable when it says so, damage
//! noticed, a full disk waited for.

#![allow(missing_docs)]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod damage;
mod failure;
mod model;
mod real;
mod space;
mod support;
