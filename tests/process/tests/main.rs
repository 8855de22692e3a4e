//! Tests of real processes, in one program: most of them wait, so that they run beside each other.

mod crashes;
mod crowds;
mod disk;
mod drains;
mod earlier_releases;
mod examples;
mod handoff_kills;
mod identity;
mod input;
mod ipv6;
mod lab;
mod lab_exactly_once;
mod lab_shardkv;
mod limits;
mod lost_record;
mod memory;
mod quorum_lost;
mod replacement;
mod resharding;
mod resizing;
mod ring;
mod sharded;
mod shared_servers;
mod up;
mod variables;
