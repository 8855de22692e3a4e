//! Whole servers in this process, on disks that can be filled, slowed and broken.

mod cluster;
mod full_disk;
mod slow_and_failing_disk;
