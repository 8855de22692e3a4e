//! The programs of a cluster: built from source once, and kept in the user's cache under a
//! name that follows from the source.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use skv_sharding::fnv1a;

use super::plan::Plan;
use crate::command::run_slowly;
use crate::packages::{Unavailable, has_program};
use crate::{cache, image};

/// The Go program that holds all components of Kubernetes.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kube");
/// Its files: a change of any makes another program.
const FILES: [&str; 9] = [
    "go.mod",
    "go.sum",
    "main.go",
    "policies.go",
    "policies/rules.go",
    "policies/rules_test.go",
    "provisioner.go",
    "pause/main.go",
    "pause/Containerfile",
];
/// The release of helm that the tests use.
const HELM: &str = "helm.sh/helm/v4/cmd/helm@v4.3.1";
/// The image whose process keeps a pod's namespaces.
pub(super) const PAUSE_IMAGE: &str = "localhost/shardedkv-pause:1";

/// A folder with `kube` (all components of Kubernetes), `kubectl`, `helm` and the image
/// of [`PAUSE_IMAGE`].
pub(crate) struct Programs {
    dir: PathBuf,
}

impl Programs {
    /// Builds what isn't in the cache.
    pub(super) fn build() -> anyhow::Result<Programs> {
        let programs = Programs::current()?;
        if programs.dir.exists() {
            return Ok(programs);
        }
        if !has_program("go") {
            let why = "Kubernetes is built from source here, and Go isn't installed: get 1.26 or newer from https://go.dev/dl";
            return Err(Unavailable(why.to_owned()).into());
        }
        eprintln!(
            "building Kubernetes {} for {}: once, some 10 minutes on two processors",
            kubernetes_version()?,
            programs.dir.display()
        );
        cache::once(&programs.dir, build_all)?;
        Ok(programs)
    }

    /// Returns the programs that are in the cache.
    pub(super) fn cached() -> anyhow::Result<Option<Programs>> {
        let programs = Programs::current()?;
        Ok(programs.dir.exists().then_some(programs))
    }

    fn current() -> anyhow::Result<Programs> {
        Ok(Programs { dir: cache::folder()?.join("kube").join(source_hash()?) })
    }

    /// Returns the programs that a cluster was started with: the source may have changed since.
    pub(super) fn of_cluster(plan: &Plan) -> anyhow::Result<Programs> {
        let file = plan.file("programs");
        let dir = fs::read_link(&file).with_context(|| format!("can't read {}", file.display()))?;
        Ok(Programs { dir })
    }

    /// Lets [`of_cluster`](Self::of_cluster) find them.
    pub(super) fn remember(&self, plan: &Plan) -> anyhow::Result<()> {
        symlink(&self.dir, plan.file("programs")).context("can't note which programs the cluster has")
    }

    /// Returns the folder, which has `kubectl` and `helm`.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the program that holds all components of Kubernetes.
    pub(super) fn kube(&self) -> PathBuf {
        self.dir.join("kube")
    }

    pub(super) fn pause_image(&self) -> PathBuf {
        self.dir.join("pause.tar")
    }

    /// Returns a command of kubectl as this cluster's administrator.
    pub(super) fn kubectl(&self, plan: &Plan) -> Command {
        let mut kubectl = Command::new(self.kube());
        kubectl.arg("kubectl").arg("--kubeconfig").arg(plan.kubeconfig("admin"));
        kubectl
    }
}

fn build_all(dir: &Path) -> anyhow::Result<()> {
    let version = kubernetes_version()?;
    let minor = version.split('.').nth(1).context("the version of Kubernetes has no dots")?;
    let base = "k8s.io/component-base/version";
    // The version that `kubectl version` and the nodes report.
    let names = format!(
        "-s -w -X {base}.gitVersion={version} -X {base}.gitMajor=1 -X {base}.gitMinor={minor} \
         -X k8s.io/client-go/pkg/version.gitVersion={version}"
    );
    // -v names each package when it is compiled: that is the progress.
    let go = |verb: &str, flags: &str, arguments: &[&str]| {
        let mut go = Command::new("go");
        go.arg(verb).args(["-v", "-trimpath", "-ldflags", flags]).args(arguments);
        go.current_dir(SOURCE).env("CGO_ENABLED", "0").env("GOBIN", dir);
        go
    };
    let output = |name: &str| dir.join(name).display().to_string();
    run_slowly("testing the rules of network policies", &mut go("test", "-s -w", &["./policies"]))?;
    run_slowly("compiling Kubernetes", &mut go("build", &names, &["-o", &output("kube"), "."]))?;
    run_slowly("compiling helm", &mut go("install", "-s -w", &[HELM]))?;
    run_slowly("compiling pause", &mut go("build", "-s -w", &["-o", &output("pause"), "./pause"]))?;
    symlink("kube", dir.join("kubectl"))?;
    let containerfile = Path::new(SOURCE).join("pause/Containerfile");
    image::buildah(&containerfile, dir, &[], PAUSE_IMAGE, &dir.join("pause.tar"))
}

/// Returns the version as the module file has it, such as `v1.36.3`.
fn kubernetes_version() -> anyhow::Result<String> {
    let file = Path::new(SOURCE).join("go.mod");
    let text = fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
    let version = text.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "));
    match version {
        Some(version) => Ok(version.to_owned()),
        None => bail!("{} doesn't name a version of k8s.io/kubernetes", file.display()),
    }
}

fn source_hash() -> anyhow::Result<String> {
    let mut source = HELM.as_bytes().to_vec();
    for name in FILES {
        let file = Path::new(SOURCE).join(name);
        source.extend(fs::read(&file).with_context(|| format!("can't read {}", file.display()))?);
    }
    Ok(format!("{:016x}", fnv1a(&source)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_kubernetes_stands_in_the_module_file() {
        let version = kubernetes_version().unwrap();
        assert!(version.starts_with("v1."), "{version}");
    }
}
