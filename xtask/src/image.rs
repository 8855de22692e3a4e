//! `cargo xtask image`: the container image of all programs, as an archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::build::{self, Profile};
use crate::command::{run as run_command, run_slowly};
use crate::packages::{self, Package};

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/image");

/// The program that builds images where no Docker engine runs.
pub(crate) const BUILDAH: Package = Package::with_program("buildah", "buildah");

/// Build the container image of all programs, as an archive that clusters can load.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The name of the image.
    #[arg(long, default_value = DEFAULT_NAME)]
    name: String,
    /// The profile in which its programs are compiled.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
}

/// The default name of the image: the full form of the name that resources have by default.
pub(crate) const DEFAULT_NAME: &str = concat!("docker.io/library/shardedkv:", env!("CARGO_PKG_VERSION"));
/// Another name for it, as if it were the next version.
pub(crate) const NEXT_NAME: &str = "docker.io/library/shardedkv:next";

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let tar = make(&args.name, &build::programs(args.profile, &build::all_programs())?)?;
    println!("{} is in {}", args.name, tar.display());
    Ok(())
}

/// Puts the programs of a folder into an image; returns its archive.
pub(crate) fn make(name: &str, programs: &Path) -> anyhow::Result<PathBuf> {
    let folder = programs.with_file_name("image");
    let root = folder.join("root");
    // A program of the last image that this one hasn't must not stay.
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("can't remove {}", folder.display()))?;
    }
    fs::create_dir_all(&root).with_context(|| format!("can't make {}", root.display()))?;
    run_command(
        Command::new(Path::new(FILES).join("lay-out"))
            .arg(root.join("image"))
            .args(build::all_programs().iter().map(|program| programs.join(program))),
    )?;
    let tar = folder.join("shardedkv.tar");
    let containerfile = Path::new(FILES).join("Containerfile");
    if packages::docker_runs() {
        docker(&containerfile, &root, name, &tar)?;
    } else {
        let context = format!("--build-context=root={}", root.display());
        buildah(&containerfile, &root, &[context], name, &tar)?;
    }
    Ok(tar)
}

/// Builds an image with Docker, and saves it in an archive.
fn docker(containerfile: &Path, root: &Path, name: &str, tar: &Path) -> anyhow::Result<()> {
    let mut build = Command::new("docker");
    build.args(["build", "--tag", name, "--build-context"]).arg(format!("root={}", root.display()));
    run_slowly("building the image", build.arg("--file").arg(containerfile).arg(root))?;
    run_command(Command::new("docker").args(["save", name, "--output"]).arg(tar))
}

/// Builds an image with buildah, and saves it in an archive. Leaves nothing in the machine's store
/// of images.
pub(crate) fn buildah(
    containerfile: &Path,
    context: &Path,
    flags: &[String],
    name: &str,
    tar: &Path,
) -> anyhow::Result<()> {
    packages::install(&[BUILDAH])?;
    let store = tar.with_extension("store");
    let buildah = |verb: &str| {
        let mut buildah = Command::new("buildah");
        buildah.arg("--root").arg(store.join("root")).arg("--runroot").arg(store.join("run"));
        // The only driver that works on every file system.
        buildah.args(["--storage-driver=vfs", verb]);
        buildah
    };
    let built = run_command(
        buildah("build").args(["--tag", name]).args(flags).arg("--file").arg(containerfile).arg(context),
    )
    .and_then(|()| {
        run_command(buildah("push").arg(name).arg(format!("docker-archive:{}:{name}", tar.display())))
    });
    fs::remove_dir_all(&store).with_context(|| format!("can't remove {}", store.display()))?;
    built
}
