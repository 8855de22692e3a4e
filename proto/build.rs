//! Compiles the .proto files in process, so that no protoc is needed.

use std::path::PathBuf;

use prost::Message as _;

const FILES: [&str; 10] = [
    "lab/v1/cluster",
    "lab/v1/lab",
    "v1/admin",
    "v1/common",
    "v1/entry",
    "v1/error",
    "v1/handoff",
    "v1/kv",
    "v1/raft",
    "v1/shard_manager",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let files: Vec<PathBuf> = FILES.iter().map(|f| root.join(format!("shardedkv/{f}.proto"))).collect();
    println!("cargo:rerun-if-changed=shardedkv");

    let descriptors = protox::compile(&files, [&root])?;
    std::fs::write(out.join("shardedkv.bin"), descriptors.encode_to_vec())?;
    // Services are for programs that send or receive; the others need the messages only.
    let grpc = std::env::var_os("CARGO_FEATURE_GRPC").is_some();
    tonic_prost_build::configure()
        .build_client(grpc)
        .build_server(grpc)
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
