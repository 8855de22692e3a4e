//! Handoffs between the stores of several groups.

mod steps;
mod traffic;
mod world;
