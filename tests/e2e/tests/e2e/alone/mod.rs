//! Tests that nothing may run beside: they take nodes or the operator away, change what belongs to
//! the whole cluster, or count what it does. `cargo xtask e2e` knows them by this module's name.

mod disruption;
mod helm;
mod lax_definition;
mod many;
mod no_operator;
mod nodes;
mod operators;
mod steady_state;
