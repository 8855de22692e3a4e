//! Tests beside which nothing may run: they take nodes or the operator away, change objects of the
//! whole cluster, or count requests to it. `cargo xtask e2e` knows them by this module's name.

mod disruption;
mod helm;
mod lax_definition;
mod many;
mod no_operator;
mod nodes;
mod operators;
mod steady_state;
