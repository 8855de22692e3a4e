//! A store on one machine: the processes of a `ShardedKV` manifest, and the data directory that
//! remembers them.
//!
//! One shard manager and groups x replicas servers (in a ring as many as groups) run on loopback,
//! each with its data, its ports and its log under one data directory. The same directory brings
//! all data back.
//!
//! The supervisor alone starts and stops processes and writes `cluster.json`, the record of which
//! there are. It has those groups run that `wanted.json` names. Who decides which those are, and asks
//! the shard manager and the servers for all else, is the command line.
//!
//! - `plan`: which processes there are, and how each is called (pure)
//! - `record`: what the data directory remembers: groups, ports, and which processes run
//! - `source`: the manifest that a command names
//! - `settings`: what a manifest says beside the number of groups (pure)
//! - `data_dir`: the directory and its lock; `home`: where it is, and which is current
//! - `prepare`: makes the directory fit for a start; `leftovers`: stops what outlived an earlier one
//! - `supervise`: starts and stops processes; `keeper`: keeps one of them running
//! - `wanted`: the groups whose servers are to run
//! - `ready`: the readiness of a process; `operations`: what servers log of users' operations
//! - `screen`: what is shown of all this
//! - `endpoint`: how other commands find the store without flags

pub mod binaries;
pub mod data_dir;
pub mod endpoint;
pub mod home;
mod keeper;
pub mod leftovers;
mod operations;
mod plan;
mod ports;
mod prepare;
pub mod process;
pub mod ready;
pub mod record;
pub mod screen;
pub mod settings;
pub mod source;
pub mod supervise;
pub mod wanted;

pub use keeper::STOP_WITHIN;
pub use prepare::prepare;
