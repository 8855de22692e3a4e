//! `skv`: the command line of ShardedKV. Each command has a file of its own.

mod admin;
mod bench;
mod cli;
mod complaint;
mod completions;
mod data;
mod duration;
mod fitting;
mod group;
mod machine;
mod manager;
mod manifest;
mod map;
mod outcome;
mod output;
mod probe;
mod rebalance;
mod resharding;
mod shard;
mod shards;
mod status;
mod target;
mod up;
mod workload;

/// A busy clerk allocates as much as a server does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::run(std::env::args_os())
}
