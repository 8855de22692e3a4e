//! Tests beside which nothing may run: they take nodes or the operator away, change objects of the
//! whole cluster, or count requests to it. `cargo xtask e2e` knows them by this module's name, and
//! `cargo xtask test` has two clusters for them.

mod disruption;
mod helm;
mod lax_definition;
mod losses;
mod many;
mod newer_definition;
mod no_operator;
mod nodes;
mod operators;
mod steady_state;
