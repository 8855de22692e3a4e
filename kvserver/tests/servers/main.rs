//! Whole servers in this process, on disks that can be filled, slowed and broken.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod cluster;
mod full_disk;
mod full_memory;
mod hostile;
mod large_answers;
mod progress;
mod reset;
mod resharding;
mod several_managers;
mod slow_and_failing_disk;
mod stopping;
