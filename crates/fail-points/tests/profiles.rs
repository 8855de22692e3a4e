//! Programs of tests die at an armed point. Releases have no points.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Builds the example in a profile, with a directory in which its point is armed.
fn passes_an_armed_point(profile: &str) -> (PathBuf, Output) {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(profile);
    let points = place.join("points");
    fs::create_dir_all(&points).expect("a directory can be made");
    let armed = points.join("here");
    fs::write(&armed, []).expect("a point can be armed");
    let mut run = Command::new(env!("CARGO"));
    run.args(["run", "--quiet", "--profile", profile, "--package=skv-fail-points", "--example=passes"]);
    // Another test may be holding the lock of the usual directory.
    run.arg("--target-dir").arg(place.join("build")).current_dir(env!("CARGO_MANIFEST_DIR"));
    (armed, run.env("SKV_FAIL_POINTS", &points).output().expect("cargo can be run"))
}

#[test]
fn a_program_that_is_built_for_tests_dies_at_an_armed_point() {
    let (armed, output) = passes_an_armed_point("dev");
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("died at the fail point here"), "{output:?}");
    assert!(!armed.exists(), "the next one passes");
}

#[test]
fn a_release_has_no_points() {
    let (armed, output) = passes_an_armed_point("release");
    assert!(output.status.success() && output.stdout == b"passed\n", "{output:?}");
    assert!(armed.exists(), "nobody took it");
}
