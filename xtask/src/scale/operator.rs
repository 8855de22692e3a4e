//! The operator as a process of this machine, with the rights that its account has in a cluster.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::page::{Memory, metric};
use super::wait::until;
use crate::command::output;
use crate::kube::machine::Machine;

const NAMESPACE: &str = "skv-operator";
const PORT: u16 = 8080;
/// The pause between two looks at its metrics.
pub(super) const PAUSE: Duration = Duration::from_millis(500);
/// The time to send its metrics.
const PATIENCE: Duration = Duration::from_secs(30);

/// An operator that runs.
pub(super) struct Operator {
    child: Child,
    pages: SocketAddr,
}

impl Operator {
    /// Starts it, and waits until it holds the Lease. Its log gets this name.
    pub(super) fn start(cluster: &Machine, program: &Path, name: &str) -> anyhow::Result<Operator> {
        let log = cluster.logs().join(format!("{name}.log"));
        let log = File::create(&log).with_context(|| format!("can't make {}", log.display()))?;
        let mut command = cluster.beside(program);
        command
            .args([format!("--own-namespace={NAMESPACE}"), format!("--http-listen=0.0.0.0:{PORT}")])
            .arg("--cluster-domain=cluster.local")
            .env("KUBECONFIG", kubeconfig(cluster)?)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn().with_context(|| format!("can't start {}", program.display()))?;
        let mut operator = Operator { child, pages: SocketAddr::new(cluster.address(), PORT) };
        until("the operator holds the Lease", PAUSE, || {
            let ended = operator.child.try_wait().context("can't ask for the operator's end")?;
            ensure!(ended.is_none(), "the operator ended: see {name}.log");
            // It takes a moment until it listens.
            Ok(operator.metric("skv_operator_leader").unwrap_or_default() == 1)
        })?;
        Ok(operator)
    }

    /// Returns the sum of all values of a metric.
    pub(super) fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let page = get(self.pages, "/metrics").context("can't read the operator's metrics")?;
        Ok(metric(&page, name))
    }

    /// Returns its memory.
    pub(super) fn memory(&self) -> anyhow::Result<Memory> {
        let file = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&file).with_context(|| format!("can't read {file}"))?;
        Memory::of(&status).with_context(|| format!("{file} names no memory"))
    }

    /// Has it end as a pod that is deleted does, so that it gives up its Lease.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("can't stop the operator")?;
        let status = self.child.wait().context("can't wait for the operator's end")?;
        ensure!(status.success(), "the operator failed in the end ({status})");
        Ok(())
    }
}

/// Writes the file by which the operator reaches the API server with its account.
fn kubeconfig(cluster: &Machine) -> anyhow::Result<PathBuf> {
    let admin = cluster.kubeconfig();
    let read = || fs::read(&admin).with_context(|| format!("can't read {}", admin.display()));
    let mut config: Value = serde_json::from_slice(&read()?).context("the kubeconfig isn't JSON")?;
    let token = ["create", "token", "skv-operator", "--namespace", NAMESPACE, "--duration=24h"];
    let token = output(cluster.kubectl()?.args(token))?;
    config["users"][0]["user"] = json!({ "token": token.trim() });
    let file = admin.with_file_name("operator.conf");
    fs::write(&file, config.to_string()).with_context(|| format!("can't write {}", file.display()))?;
    Ok(file)
}

/// Returns a page by HTTP.
fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: operator\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, page) = answer.split_once("\r\n\r\n").context("it isn't an answer of HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.contains(" 200 "), "{status}");
    Ok(page.to_owned())
}
