//! All end-to-end tests in one program.

mod broken_image;
mod deletion;
mod disruption;
mod groups;
mod helm;
mod invalid;
mod lab;
mod many;
mod memory_only;
mod nodes;
mod operators;
mod quickstart;
mod replicas;
mod ring;
mod rollout;
mod steady_state;
mod volumes;
