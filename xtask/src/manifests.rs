//! `cargo xtask manifests`: writes the operator's plain manifest from its chart, so that
//! there is one source of both.
//!
//! Only writing needs helm. The written files carry a fingerprint of the chart and of themselves,
//! by which every machine can see if they are stale.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use skv_sharding::fnv1a;

use crate::command::output;
use crate::kube::machine;
use crate::packages::{Unavailable, has_program};

/// Write the operator's plain manifest, deploy/operator, from its chart. Needs helm.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail if the chart or the manifest has changed since it was written.
    #[arg(long)]
    check: bool,
}

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/shardedkv");
const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/operator/operator.yaml");
/// The release, its namespace, and so the name of all objects.
const NAME: &str = "skv-operator";
/// The line of the fingerprint.
const FINGERPRINT: &str = "# Fingerprint of chart and manifest: ";

/// The part that a chart leaves to its installer.
const HEAD: &str = "\
# The operator for a whole cluster, without helm. Written by `cargo xtask manifests` from
# charts/shardedkv.
#
#   kubectl apply --server-side -f deploy/crds -f deploy/operator
";
const NAMESPACE: &str = "\
apiVersion: v1
kind: Namespace
metadata:
  name: skv-operator
  labels:
    pod-security.kubernetes.io/enforce: restricted
";

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if args.check {
        return check();
    }
    let body = render()?;
    let mark = fingerprint(&body)?;
    fs::write(MANIFEST, format!("{HEAD}{FINGERPRINT}{mark}\n{body}"))
        .with_context(|| format!("writing {MANIFEST}"))?;
    println!("{MANIFEST}");
    Ok(())
}

fn check() -> anyhow::Result<()> {
    let manifest = fs::read_to_string(MANIFEST).with_context(|| format!("reading {MANIFEST}"))?;
    let (_, marked) = manifest.split_once(FINGERPRINT).unwrap_or_default();
    let (mark, body) = marked.split_once('\n').unwrap_or_default();
    ensure!(mark == fingerprint(body)?, "{MANIFEST} is stale: run `cargo xtask manifests`");
    Ok(())
}

fn render() -> anyhow::Result<String> {
    let mut helm = Command::new(helm()?);
    helm.args(["template", NAME, CHART, "--namespace", NAME, "--no-hooks"]);
    Ok(plain(&output(&mut helm)?))
}

/// Returns the version that comes with our clusters, or else the user's.
fn helm() -> anyhow::Result<PathBuf> {
    if let Some(programs) = machine::cached_programs()? {
        return Ok(programs.join("helm"));
    }
    if !has_program("helm") {
        let why = "helm isn't installed; `cargo xtask kube up` builds it";
        return Err(Unavailable(why.to_owned()).into());
    }
    Ok("helm".into())
}

/// Returns helm's output, without the parts that only helm uses.
fn plain(rendered: &str) -> String {
    let of_helm = |line: &&str| {
        let line = line.trim_start();
        ["# Source:", "helm.sh/chart:", "app.kubernetes.io/managed-by: Helm"]
            .iter()
            .any(|start| line.starts_with(start))
    };
    let lines = rendered.lines().filter(|line| !of_helm(line) && !line.trim().is_empty());
    lines.fold(NAMESPACE.to_owned(), |text, line| text + line + "\n")
}

/// Returns the fingerprint, which changes with every file of the chart, and with the manifest rendered from them.
fn fingerprint(body: &str) -> anyhow::Result<String> {
    let mut bytes = body.as_bytes().to_vec();
    for file in files(Path::new(CHART))? {
        bytes.extend(file.strip_prefix(CHART)?.as_os_str().as_encoded_bytes());
        bytes.extend(fs::read(&file).with_context(|| format!("reading {}", file.display()))?);
    }
    Ok(format!("{:016x}", fnv1a(&bytes)))
}

/// Returns all files under a folder, sorted.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_was_written_from_the_chart_as_it_is() {
        check().unwrap();
    }

    #[test]
    fn a_plain_manifest_says_nothing_of_helm() {
        let rendered = "---\n# Source: a/b.yaml\nkind: A # why\nmetadata:\n  labels:\n    \
                        app.kubernetes.io/managed-by: Helm\n    helm.sh/chart: a-1\n    a: b\n\n";
        assert_eq!(
            plain(rendered),
            format!("{NAMESPACE}---\nkind: A # why\nmetadata:\n  labels:\n    a: b\n")
        );
    }

    #[test]
    fn krew_gets_the_plugin_of_this_version_under_the_name_that_kubectl_calls() {
        let file = Path::new(CHART).join("../../deploy/krew/skv.yaml");
        let plugin: serde_json::Value = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let version = concat!("v", env!("CARGO_PKG_VERSION"));
        assert_eq!(plugin["metadata"]["name"], "skv");
        assert_eq!(plugin["spec"]["version"], version);
        let platforms = plugin["spec"]["platforms"].as_array().unwrap();
        assert!(!platforms.is_empty());
        for platform in platforms {
            assert_eq!(platform["bin"], "kubectl-skv");
            assert!(platform["uri"].as_str().unwrap().contains(version), "{platform}");
        }
    }

    #[test]
    fn the_charts_have_the_version_of_the_workspace() {
        for chart in ["shardedkv", "shardedkv-crds"] {
            let file = Path::new(CHART).with_file_name(chart).join("Chart.yaml");
            let chart: serde_json::Value =
                serde_saphyr::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
            for field in ["version", "appVersion"] {
                assert_eq!(chart[field], env!("CARGO_PKG_VERSION"), "{field} in {}", file.display());
            }
        }
    }
}
