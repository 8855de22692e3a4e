//! `cargo xtask crd`: writes the definitions of our Kubernetes resources.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

/// Write the definitions of our Kubernetes resources to deploy/crds.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail if what is there isn't what would be written.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    for (file, manifest) in manifests()? {
        if args.check {
            check(&file, &manifest)?;
        } else {
            fs::write(&file, manifest).with_context(|| format!("writing {}", file.display()))?;
            println!("{}", file.display());
        }
    }
    Ok(())
}

fn manifests() -> anyhow::Result<Vec<(PathBuf, String)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
    let manifest = |definition: CustomResourceDefinition| {
        let yaml = serde_saphyr::to_string(&definition)?;
        let file = folder.join(format!("{}.yaml", definition.spec.names.plural));
        Ok((file, format!("# Written by `cargo xtask crd` from the types in resource/.\n{yaml}")))
    };
    skv_resource::definitions().into_iter().map(manifest).collect()
}

fn check(file: &Path, manifest: &str) -> anyhow::Result<()> {
    let there = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    if there != manifest {
        bail!("{} is stale: run `cargo xtask crd`", file.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_are_what_the_types_say() {
        for (file, manifest) in manifests().unwrap() {
            check(&file, &manifest).unwrap();
        }
    }
}
