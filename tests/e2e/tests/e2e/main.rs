//! All end-to-end tests in one program.

mod alone;
mod broken_image;
mod charts;
mod dashboards;
mod deletion;
mod evictions;
mod groups;
mod invalid;
mod kubectl_skv;
mod lab;
mod memory_only;
mod monitoring;
mod policies;
mod quickstart;
mod quota;
mod replicas;
mod ring;
mod rollout;
mod runbooks;
mod users;
mod volumes;
