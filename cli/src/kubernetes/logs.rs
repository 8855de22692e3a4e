//! The logs of a store's pods, those of several together. Pods come and go, so they are listed again and again
//! while their logs are followed.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use tokio::sync::mpsc;
use tokio::time::interval;

use super::pods;

/// The time between two looks for pods.
const LOOK: Duration = Duration::from_secs(2);
/// The number of lines that wait to be printed.
const WAITING: usize = 256;

/// The logs that are wanted.
pub(super) struct Logs<'a> {
    pub(super) pods: &'a Api<Pod>,
    pub(super) store: &'a str,
    /// A group, `manager` or a pod; all without it.
    pub(super) process: Option<&'a str>,
    /// The number of lines of each log.
    pub(super) lines: usize,
}

/// A run of a pod's container: its log is followed once.
type Run = (String, i32);

/// The news of the logs that are followed.
enum News {
    /// A pod wrote this line.
    Line(String, String),
    /// The log couldn't be opened, such as of a container that isn't there yet.
    Closed(Run),
}

impl Logs<'_> {
    /// Prints the last lines of each log.
    pub(super) async fn show(
        &self,
        mut print: impl FnMut(bool, String, &[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let found = self.find().await?;
        for pod in &found {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let read = self.pods.logs(&name, &self.parameters()).await;
            let text = read.with_context(|| format!("can't read the log of {name}"))?;
            print(found.len() == 1, name, text.as_bytes())?;
        }
        Ok(())
    }

    /// Prints the last lines of each log and what is written from now on.
    pub(super) async fn follow(
        &self,
        mut print: impl FnMut(bool, String, &[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let is_one = self.find().await?.len() == 1;
        let (sender, mut arriving) = mpsc::channel(WAITING);
        let mut followed = BTreeSet::new();
        let mut look = interval(LOOK);
        let mut parameters = LogParams { follow: true, ..self.parameters() };
        loop {
            tokio::select! {
                _ = look.tick() => {
                    for pod in self.matching().await? {
                        let run = run(&pod);
                        if followed.insert(run.clone()) {
                            let name = pod.metadata.name.unwrap_or_default();
                            let read = read(self.pods.clone(), name, run, parameters.clone(), sender.clone());
                            tokio::spawn(read);
                        }
                    }
                    // A log that begins later is shown from its beginning.
                    parameters.tail_lines = None;
                }
                Some(news) = arriving.recv() => match news {
                    News::Line(name, line) => print(is_one, name, format!("{line}\n").as_bytes())?,
                    News::Closed(run) => _ = followed.remove(&run),
                },
            }
        }
    }

    fn parameters(&self) -> LogParams {
        LogParams { tail_lines: Some(i64::try_from(self.lines).unwrap_or(i64::MAX)), ..LogParams::default() }
    }

    async fn matching(&self) -> anyhow::Result<Vec<Pod>> {
        let mut found = pods::of_store(self.pods, self.store).await?;
        found.retain(|pod| self.process.is_none_or(|process| pods::is_of(pod, process)));
        Ok(found)
    }

    /// Returns the pods; an error without any.
    async fn find(&self) -> anyhow::Result<Vec<Pod>> {
        let found = self.matching().await?;
        if found.is_empty() {
            let all = pods::of_store(self.pods, self.store).await?;
            let names: Vec<String> = all.into_iter().filter_map(|pod| pod.metadata.name).collect();
            let process = self.process.unwrap_or("any pod");
            anyhow::bail!(
                "there is no log of {process}: name a group such as g0, `manager`, or one of the pods ({})",
                names.join(", ")
            );
        }
        Ok(found)
    }
}

fn run(pod: &Pod) -> Run {
    let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let restarts =
        containers.and_then(|containers| containers.first()).map_or(0, |first| first.restart_count);
    (pod.metadata.uid.clone().unwrap_or_default(), restarts)
}

/// Sends the lines of a log until it ends, or nobody wants them any more.
async fn read(pods: Api<Pod>, name: String, run: Run, parameters: LogParams, news: mpsc::Sender<News>) {
    let Ok(log) = pods.log_stream(&name, &parameters).await else {
        let _ = news.send(News::Closed(run)).await;
        return;
    };
    let mut lines = log.lines();
    while let Ok(Some(line)) = lines.try_next().await {
        if news.send(News::Line(name.clone(), line)).await.is_err() {
            return;
        }
    }
}
