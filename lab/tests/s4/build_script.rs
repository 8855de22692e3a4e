//! `build.sh`, and the programs that it makes.

use std::path::Path;
use std::process::Command;

use crate::lab::{Lab, Programs};

/// Runs build.sh from elsewhere, as a person would who has the target directory of these tests.
fn build(root: &Path) {
    let elsewhere = tempfile::tempdir().unwrap();
    let test = std::env::current_exe().unwrap();
    // TARGET/PROFILE/deps/TEST
    let target = test.ancestors().nth(3).unwrap();
    let mut build = Command::new(root.join("build.sh"));
    build.current_dir(&elsewhere).env("CARGO_TARGET_DIR", target);
    // Set by the cargo that runs this test: build scripts that look at them would run again.
    let of_this_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_this_package)) {
        build.env_remove(name);
    }
    let built = build.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

#[tokio::test]
async fn build_sh_makes_the_three_programs_in_build_dev() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    build(root);
    let mut lab = Lab::start_with(Programs::within(&root.join("build/dev")), false);
    lab.grow_to(1).await;
    lab.put("1", "one").await.assert_code(0);
    lab.get_at(0, "1").await.assert_found("one");
    lab.get("2").await.assert_code(2);
}
