//! `skv`: the command line of ShardedKV. Each command has a file of its own.

mod admin;
mod bench;
mod cli;
mod cluster;
mod complaint;
mod completions;
mod data;
mod diag;
mod duration;
mod fitting;
mod group;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod machine;
mod manager;
mod manifest;
mod map;
mod name;
mod outcome;
mod output;
mod plugin;
mod probe;
mod process;
mod rebalance;
mod resharding;
mod shard;
mod shards;
mod status;
mod target;
mod top;
mod up;
mod watching;
#[cfg(not(feature = "kubernetes"))]
mod without_kubernetes;
mod workload;

#[cfg(not(feature = "kubernetes"))]
use without_kubernetes as kubernetes;

/// A busy clerk allocates as much as a server does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::run(std::env::args_os())
}
