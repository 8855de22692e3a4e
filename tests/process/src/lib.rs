//! Process tests: a real shard manager, real servers, real files and real signals.
//!
//! A test starts a [`Cluster`], lets clients work on it with a [`Load`], breaks something, waits
//! for conditions, and has the history judged. Nothing here waits for a time to pass; the limits in
//! [`eventually`] are there to end a test that would otherwise never end.

mod admin;
mod cgroup;
mod cluster;
mod crowd;
mod damage;
mod fail_points;
mod home;
mod http;
mod keys;
mod load;
mod net;
mod percentile;
mod ports;
mod process;
mod programs;
mod request;
mod resharding;
mod wait;

pub use admin::{call_admin, call_admin_for, status};
pub use cgroup::Cgroup;
pub use cluster::{Cluster, Placement, Server, Settings};
pub use crowd::{a_key_of_each, connect, write_everywhere};
pub use damage::{biggest_file, cut_file, files_under, flip_bit};
pub use home::{Home, is_alive, signal};
pub use http::http_get;
pub use keys::keys_of;
pub use load::{Clerks, Client, Load, Recorder, assert_linearizable, assert_none_failed};
pub use net::{Counts, Faults, Net, Passed};
pub use percentile::percentile;
pub use ports::free_port;
pub use process::{Process, resident};
pub use programs::{Programs, example, forget_this_package, programs, target};
pub use request::{first_append, first_request_of, open_session};
pub use resharding::{Changes, Holdings, outgrow_copies};
pub use wait::{eventually, eventually_every, eventually_within};
