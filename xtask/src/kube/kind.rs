//! A cluster by kind (Kubernetes in Docker), where a Docker engine runs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::Family;
use super::nodes::{self, ZONE};
use crate::cache;
use crate::command::run;
use crate::packages::{Unavailable, has_program};

/// A cluster of containers, up or not.
pub(crate) struct Kind {
    /// The index of the cluster.
    pub(crate) index: u8,
}

impl Kind {
    fn name(&self) -> String {
        format!("skv-kube-{}", self.index)
    }

    pub(super) fn exists(&self) -> bool {
        self.config_file().is_ok_and(|file| file.exists())
    }

    pub(super) fn up(&self, family: Family) -> anyhow::Result<()> {
        if !has_program("kind") {
            let why = "Docker runs here, but kind isn't installed: see https://kind.sigs.k8s.io";
            return Err(Unavailable(why.to_owned()).into());
        }
        let kubeconfig = self.kubeconfig()?;
        if let Some(folder) = kubeconfig.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
        }
        let config = config(family);
        let file = self.config_file()?;
        std::fs::write(&file, format!("{config:#}"))
            .with_context(|| format!("can't write {}", file.display()))?;
        let status = kind()
            .args(["create", "cluster", "--wait=5m", "--name", &self.name(), "--config"])
            .arg(&file)
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .stdin(Stdio::null())
            .status()
            .context("can't run kind")?;
        ensure!(status.success(), "kind can't make a cluster");
        Ok(())
    }

    pub(super) fn down(&self) -> anyhow::Result<()> {
        let kubeconfig = self.kubeconfig()?;
        run(kind().args(["delete", "cluster", "--name", &self.name(), "--kubeconfig"]).arg(&kubeconfig))?;
        for file in [kubeconfig, self.config_file()?] {
            if file.exists() {
                std::fs::remove_file(&file).with_context(|| format!("can't remove {}", file.display()))?;
            }
        }
        Ok(())
    }

    pub(super) fn load(&self, tar: &Path) -> anyhow::Result<()> {
        run(kind().args(["load", "image-archive", "--name", &self.name()]).arg(tar))
    }

    pub(super) fn kubeconfig(&self) -> anyhow::Result<PathBuf> {
        Ok(cache::folder()?.join("kube").join(format!("kind-{}.conf", self.index)))
    }

    /// Writes the configuration for kind, which exists from before the cluster is made until it is gone.
    fn config_file(&self) -> anyhow::Result<PathBuf> {
        Ok(cache::folder()?.join("kube").join(format!("kind-{}.yaml", self.index)))
    }

    pub(super) fn command(&self, program: &OsString) -> anyhow::Result<Command> {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", self.kubeconfig()?);
        Ok(command)
    }
}

fn kind() -> Command {
    let mut kind = Command::new("kind");
    kind.env_remove("KUBECONFIG");
    kind
}

/// Pods are scheduled on the workers alone, so that there are as many nodes for them as elsewhere.
fn config(family: Family) -> Value {
    let mut nodes = vec![json!({"role": "control-plane"})];
    let worker = |number: u8| json!({"role": "worker", "labels": {(ZONE): format!("zone{number}")}});
    nodes.extend((1..=nodes::COUNT).map(worker));
    let network = json!({"ipFamily": family.name().to_lowercase()});
    json!({"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": nodes, "networking": network})
}
