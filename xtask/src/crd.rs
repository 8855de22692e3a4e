//! `cargo xtask crd`: writes the definitions of our Kubernetes resources, plain and as
//! templates of their chart.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

/// Write the definitions of our Kubernetes resources to deploy/crds and charts/shardedkv-crds.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail if a file differs from what would be written.
    #[arg(long)]
    check: bool,
}

const PLAIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/crds");
const TEMPLATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/shardedkv-crds/templates");
const HEADER: &str = "# Written by `cargo xtask crd` from the types in crates/resource/.\n";

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
    let mut manifests = Vec::new();
    for definition in skv_resource::definitions() {
        let name = format!("{}.yaml", definition.spec.names.plural);
        let yaml = serde_saphyr::to_string(&definition)?;
        manifests
            .push((Path::new(TEMPLATES).join(&name), format!("{HEADER}{}", template(&definition, &yaml)?)));
        manifests.push((Path::new(PLAIN).join(&name), format!("{HEADER}{yaml}")));
    }
    Ok(manifests)
}

/// Returns the definition as a template: the chart adds labels, and a switch for keeping it.
fn template(definition: &CustomResourceDefinition, yaml: &str) -> anyhow::Result<String> {
    let metadata =
        format!("metadata:\n  name: {}\n", definition.metadata.name.as_deref().unwrap_or_default());
    // A description may hold braces that a template would take for its own.
    let yaml = yaml.replace("{{", "{{ `{{` }}");
    let Some((before, after)) = yaml.split_once(&metadata) else {
        bail!("a definition doesn't begin as expected: {}", yaml.lines().take(5).collect::<String>());
    };
    Ok(format!("{before}{metadata}  {{{{- include \"shardedkv-crds.metadata\" . | nindent 2 }}}}\n{after}"))
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

    #[test]
    fn what_looks_like_a_template_in_a_definition_is_not_one() {
        let definition = skv_resource::definitions().into_iter().next().unwrap();
        let yaml = "kind: X\nmetadata:\n  name: shardedkvs.shardedkv.io\nspec: '{{ name }}'\n";
        let template = template(&definition, yaml).unwrap();
        assert!(template.ends_with("spec: '{{ `{{` }} name }}'\n"), "{template}");
        assert!(template.contains("shardedkv-crds.metadata"), "{template}");
    }
}
