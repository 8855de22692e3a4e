//! `build.sh`, and the programs that it makes.

use std::path::Path;
use std::process::Command;

use skv_process::{forget_this_package, target};

use crate::lab::{Lab, Programs};

/// Runs build.sh from elsewhere, as a person would with the target directory of these tests.
fn build(root: &Path) {
    let elsewhere = tempfile::tempdir().unwrap();
    let mut build = Command::new(root.join("build.sh"));
    build.current_dir(&elsewhere).env("CARGO_TARGET_DIR", target());
    forget_this_package(&mut build);
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
