//! A store on one machine: the processes of a `ShardedKV` manifest, and the data directory that
//! remembers them.
//!
//! One shard manager and groups x replicas servers (in a ring as many as groups) run on loopback,
//! each with its data, its ports and its log under one data directory. The same directory brings
//! all data back.
//!
//! The supervisor alone starts and stops processes and writes `cluster.json`, the record of the existing
//! ones. It has those groups run that `wanted.json` names. The command line decides on these groups, and
//! asks the shard manager and the servers for all else.
//!
//! - `launch`: the processes, and the command line of each (pure)
//! - `record`: the content of the data directory: groups, ports, and the running processes
//! - `source`: the manifest that a command names
//! - `settings`: the settings of a manifest beside the number of groups (pure)
//! - `data_dir`: the directory and its lock; `private`: who may read it; `home`: its place
//! - `stores`: all stores of this machine, and the choice of one
//! - `prepare`: makes the directory fit for a start; `leftovers`: stops processes of an earlier run
//! - `supervise`: starts and stops processes; `keeper`: keeps one of them running
//! - `wanted`: the groups whose servers must run
//! - `ready`: the readiness of a process; `operations`: the servers' log lines about users' operations;
//!   `rotation`: keeps logs small
//! - `unused`: the fields of a manifest that have no meaning here
//! - `screen`: the output about all this
//! - `endpoint`: the addresses of a store that runs

pub mod binaries;
pub mod data_dir;
pub mod endpoint;
pub mod home;
mod keeper;
mod launch;
pub mod leftovers;
mod operations;
mod ports;
mod prepare;
mod private;
pub mod process;
pub mod ready;
pub mod record;
pub mod rotation;
pub mod screen;
pub mod settings;
pub mod source;
pub mod stores;
pub mod supervise;
pub mod unused;
pub mod wanted;

pub use keeper::STOP_WITHIN;
pub use prepare::prepare;
