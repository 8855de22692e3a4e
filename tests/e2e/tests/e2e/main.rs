//! The end-to-end tests. They need a cluster: `cargo xtask e2e` makes one and runs them.

mod helm;
mod image;
