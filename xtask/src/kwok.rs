//! kwok, which simulates nodes and pods without kubelets. It is built from source once, and kept in the user's cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::run_slowly;
use crate::go;

/// The release of kwok, as a Go module.
const RELEASE: &str = "sigs.k8s.io/kwok/cmd/kwok@v0.8.0";

/// Returns the program, after building it if it isn't in the cache.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    Ok(go::built("kwok", "kwok", RELEASE, compile)?.join("kwok"))
}

fn compile(dir: &Path) -> anyhow::Result<()> {
    let mut go = Command::new("go");
    go.args(["install", "-v", "-trimpath", "-ldflags", "-s -w", RELEASE]);
    run_slowly("compiling kwok", go.env("CGO_ENABLED", "0").env("GOBIN", dir))
}
