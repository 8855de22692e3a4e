//! Handoffs between the stores of several groups.

mod hostile;
mod steps;
mod traffic;
mod world;
