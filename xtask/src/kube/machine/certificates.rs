//! Certificates of a cluster, and the files with which its components reach the API server.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use serde_json::json;

use super::plan::Plan;
use crate::command::run;

/// Longer than any test cluster lives.
const DAYS: &str = "365";

const NEW_KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/// The holder of a certificate.
pub(super) struct Subject<'a> {
    /// The name of its files.
    pub(super) file: &'a str,
    /// Kubernetes' name for it.
    pub(super) user: &'a str,
    /// Its group, if it has one.
    pub(super) group: Option<&'a str>,
    /// The names and addresses under which it serves, as `DNS:a,IP:b`.
    pub(super) serves: Option<String>,
}

/// Makes the authority that signs all other certificates, and the key that signs service accounts' tokens.
pub(super) fn make_authority(plan: &Plan) -> anyhow::Result<()> {
    run(openssl(plan)
        .args([
            "req",
            "-x509",
            "-days",
            DAYS,
            "-subj",
            "/CN=shardedkv-kube",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
        ])
        .args(NEW_KEY))?;
    run(openssl(plan).args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "accounts.key"]))
}

/// Makes a certificate for servers and clients, and a kubeconfig with it.
pub(super) fn make(plan: &Plan, subject: &Subject<'_>) -> anyhow::Result<()> {
    let Subject { file, user, group, serves } = subject;
    let name = match group {
        Some(group) => format!("/O={group}/CN={user}"),
        None => format!("/CN={user}"),
    };
    let (key, request, certificate) = (format!("{file}.key"), format!("{file}.csr"), format!("{file}.crt"));
    run(openssl(plan).args(["req", "-subj", &name, "-keyout", &key, "-out", &request]).args(NEW_KEY))?;

    let names = serves.as_ref().map(|names| format!("subjectAltName={names}\n")).unwrap_or_default();
    let extensions = format!("extendedKeyUsage=serverAuth,clientAuth\n{names}");
    let extensions_file = format!("{file}.ext");
    write(&plan.certificates().join(&extensions_file), &extensions)?;
    run(openssl(plan)
        .args(["x509", "-req", "-days", DAYS, "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"])
        .args(["-in", &request, "-out", &certificate, "-extfile", &extensions_file]))?;

    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": plan.name(), "cluster": {
            "server": format!("https://{}", SocketAddr::new(plan.api_address(), 6443)),
            "certificate-authority": plan.certificates().join("ca.crt"),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate": plan.certificates().join(&certificate),
            "client-key": plan.certificates().join(&key),
        }}],
        "contexts": [{"name": plan.name(), "context": {"cluster": plan.name(), "user": user}}],
        "current-context": plan.name(),
    });
    write(&plan.kubeconfig(file), &format!("{config:#}"))
}

fn openssl(plan: &Plan) -> Command {
    let mut openssl = Command::new("openssl");
    openssl.current_dir(plan.certificates());
    openssl
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("can't write {}", file.display()))
}
