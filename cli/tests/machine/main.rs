//! Stores of one machine, as a person starts, chooses, watches and loses them.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod choice;
mod completing;
mod gone;
mod looking;
mod place;
mod starting;
