//! The manifest by which a command names its store.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use skv_resource::Manifest;

/// The option that names a manifest.
#[derive(Debug, clap::Args)]
pub struct Source {
    /// The manifest; - reads it from standard input.
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
}

/// The manifest that was named.
pub struct Described {
    /// The manifest as it was written.
    pub manifest: String,
    /// The resource that it describes.
    pub resource: Manifest,
}

impl Source {
    /// Reads the manifest.
    pub fn read(self) -> anyhow::Result<Described> {
        let Source { file } = self;
        let manifest = read_manifest(&file)?;
        let resource =
            skv_resource::parse(&manifest).with_context(|| format!("manifest {}", file.display()))?;
        Ok(Described { manifest, resource })
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
