//! kubectl and helm, called as a person calls them.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use skv_process::programs;

use crate::cluster::{CONTEXT, KUBECONFIG, variable};
use crate::{Namespace, Output};

/// Returns the path of a file or folder of the project, such as `deploy/samples`.
pub fn in_project(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path).display().to_string()
}

impl Namespace {
    /// Runs kubectl in the namespace.
    pub async fn kubectl(&self, arguments: &[&str]) -> Output {
        run(self.kubectl_command(), arguments).await
    }

    /// Runs `skv` on this machine as kubectl's plugin, for the stores of the namespace.
    pub async fn kubectl_skv(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(&programs().skv.display().to_string(), "--context");
        command.arg0("kubectl-skv");
        run(command, arguments).await
    }

    /// Runs helm in the namespace.
    pub async fn helm(&self, arguments: &[&str]) -> Output {
        run(self.command("helm", "--kube-context"), arguments).await
    }

    /// Returns a call of kubectl in the namespace, without its arguments.
    pub fn kubectl_command(&self) -> Command {
        self.command("kubectl", "--context")
    }

    fn command(&self, program: &str, context_flag: &str) -> Command {
        let mut command = Command::new(program);
        // A person may have set variables for other clusters.
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HELM_")) {
            command.env_remove(name);
        }
        match (variable(KUBECONFIG), variable(CONTEXT)) {
            (Some(file), _) => command.args(["--kubeconfig", &file]),
            (None, context) => command.arg(context_flag).args(context),
        };
        command.args(["--namespace", &self.name]);
        command
    }
}

async fn run(command: Command, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::from(command);
    let output = command.args(arguments).kill_on_drop(true).output().await;
    let output = output.unwrap_or_else(|error| panic!("can't run {command:?}: {error}"));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned();
    Output { succeeded: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) }
}
