//! Whole servers in this process, on disks that can be filled, slowed and broken.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod cluster;
mod cut_off;
mod full_disk;
mod full_memory;
mod gone_back;
mod hostile;
mod large_answers;
mod large_requests;
mod progress;
mod reset;
mod resharding;
mod self_description;
mod several_managers;
mod slow_and_failing_disk;
mod slow_replicas;
mod stopping;
mod versions;
