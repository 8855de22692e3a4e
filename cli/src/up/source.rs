//! Which store a command means: by its manifest, and where its data is.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use skv_resource::Manifest;

use super::home;

/// How a manifest is named.
#[derive(Debug, clap::Args)]
pub(super) struct Source {
    /// The manifest; - reads it from standard input.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Where data, logs and ports are kept [default: ~/.local/share/skv/NAME].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// What was named.
pub(super) struct Described {
    /// The manifest as it was written.
    pub(super) manifest: String,
    /// What it says.
    pub(super) resource: Manifest,
    /// The data directory.
    pub(super) path: PathBuf,
}

impl Source {
    /// Reads the manifest. The data directory is the one that was named, else that of the
    /// manifest's name.
    pub(super) fn read(self) -> anyhow::Result<Described> {
        let Source { file, data_dir } = self;
        let manifest = read_manifest(&file)?;
        let resource =
            skv_resource::parse(&manifest).with_context(|| format!("manifest {}", file.display()))?;
        let path = match data_dir {
            Some(path) => path,
            None => home::home()?.join(&resource.metadata.name),
        };
        Ok(Described { manifest, resource, path })
    }
}

fn read_manifest(file: &Path) -> anyhow::Result<String> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("can't read the manifest from standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("can't read the manifest {}", file.display()))
}
