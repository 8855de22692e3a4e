//! `skv`: the command line of ShardedKV. Each command has a file of its own.

mod admin;
mod append;
mod bench;
mod cli;
mod completions;
mod delete;
mod duration;
mod get;
mod group;
mod manager;
mod map;
mod outcome;
mod output;
mod probe;
mod put;
mod rebalance;
mod resharding;
mod shard;
mod shards;
mod status;
mod target;
mod up;
mod value;
mod workload;

/// A busy clerk allocates as much as a server does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::run(std::env::args_os())
}
