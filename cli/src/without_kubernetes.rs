//! The place of the stores in Kubernetes in a program that was built without them.

use anyhow::bail;
use serde_json::Value;
use skv_net::Connector;

use crate::cluster::Options;
use crate::process::Process;

/// A store in Kubernetes, of which there is none.
#[derive(Debug)]
pub(crate) enum Store {}

impl Store {
    pub(crate) async fn find(_: &Options, _: Option<&str>) -> anyhow::Result<Store> {
        bail!("this skv was built without Kubernetes: build it with its default features")
    }

    pub(crate) fn name(&self) -> &str {
        match *self {}
    }

    pub(crate) fn manager(&self) -> &str {
        match *self {}
    }

    pub(crate) fn servers(&self) -> &[String] {
        match *self {}
    }

    pub(crate) fn connector(&self) -> &Connector {
        match *self {}
    }

    pub(crate) async fn processes(&self) -> anyhow::Result<Vec<Process>> {
        match *self {}
    }

    pub(crate) async fn show_logs(
        &self,
        _: Option<&str>,
        _: usize,
        _: bool,
        _: impl FnMut(bool, String, &[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        match *self {}
    }

    pub(crate) async fn kubernetes_version(&self) -> anyhow::Result<String> {
        match *self {}
    }

    pub(crate) async fn objects(&self) -> Vec<(&'static str, anyhow::Result<Value>)> {
        match *self {}
    }
}
