//! All end-to-end tests in one program.

mod alone;
mod broken_image;
mod charts;
mod deletion;
mod evictions;
mod groups;
mod invalid;
mod lab;
mod memory_only;
mod quickstart;
mod replicas;
mod ring;
mod rollout;
mod volumes;
