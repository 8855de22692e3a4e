//! The programs under test, built when the first test needs them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// All programs of the product.
const ALL: &str = include_str!("../../../deploy/image/programs");
/// The client's examples.
const EXAMPLES: [&str; 3] = ["counter", "lock", "pipeline"];

/// The paths of the programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The data plane's server.
    pub kvserver: PathBuf,
    /// The shard manager.
    pub shardmanager: PathBuf,
    /// The command line.
    pub skv: PathBuf,
}

/// Returns the programs: those in `$SKV_PROGRAMS`, else freshly built, in the profile of the tests.
///
/// They are built here, once per test process, so that plain `cargo test` works: cargo itself only
/// builds the programs of the package under test. Cargo's own lock separates test processes, and an
/// up-to-date build costs a moment.
pub fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS
        .get_or_init(|| Programs::within(&std::env::var_os("SKV_PROGRAMS").map_or_else(build, PathBuf::from)))
}

impl Programs {
    fn within(directory: &Path) -> Programs {
        Programs {
            kvserver: directory.join("kvserver"),
            shardmanager: directory.join("shardmanager"),
            skv: directory.join("skv"),
        }
    }
}

/// Returns one of the client's examples. `cargo test` builds them, but not if it is told which
/// tests to run: so they are built once per test process, as the programs are.
pub fn example(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let mut build = cargo_build();
            build.args(EXAMPLES.map(|name| format!("--example={name}")));
            run(build)
        })
        .join("examples")
        .join(name)
}

fn build() -> PathBuf {
    let mut build = cargo_build();
    if cfg!(debug_assertions) {
        build.args(ALL.lines().map(|program| format!("--bin={program}")));
    } else {
        build.args(ALL.lines().map(|program| format!("--package={program}")));
    }
    run(build)
}

fn run(mut build: Command) -> PathBuf {
    let status = build.status().expect("cargo can be run");
    assert!(status.success(), "what is tested can't be built");
    target().join(PROFILE)
}

const PROFILE: &str = if cfg!(debug_assertions) { "debug" } else { "release" };

fn cargo_build() -> Command {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if cfg!(debug_assertions) {
        // `cargo xtask` does the same, and says why: else dependencies would be compiled once more.
        build.args(["--workspace", "--test=profiles"]);
    } else {
        build.arg("--release");
    }
    forget_this_package(&mut build);
    build
}

/// Hides from a build the cargo that runs this test, which has set variables for its package. Build
/// scripts that look at them, such as ring's, would run again, and everything that depends on them
/// be compiled again.
pub fn forget_this_package(build: &mut Command) {
    let of_this_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(of_this_package) {
            build.env_remove(name);
        }
    }
}

/// Returns the target directory.
pub fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    // TARGET/PROFILE/deps/TEST
    test.ancestors().nth(3).expect("a test lies in a target directory").to_owned()
}
