//! The process: which processes may start on a directory, what they survive, and how they stop.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::process::Stdio;

use skv_proto::v1;
use skv_proto::v1::shard_manager_client::ShardManagerClient;
use support::{found, map};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

fn command(dir: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardmanager"));
    command
        .args(["--listen", "127.0.0.1:0", "--log-format", "json", "--data-dir"])
        .arg(dir)
        .args(options)
        // Tests set these on the command line.
        .env("SKV_MANAGER_HTTP_LISTEN", "127.0.0.1:0")
        .env("SKV_MANAGER_GROUPS", "2")
        .env("SKV_MANAGER_SHARDS", "12")
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

struct Process {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    address: String,
}

impl Process {
    async fn start(dir: &Path) -> Process {
        let mut child = command(dir, &[]).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        loop {
            let line = log.next_line().await.unwrap().expect("it serves");
            let event: serde_json::Value = serde_json::from_str(&line).expect("one JSON object per line");
            if let Some(address) = event["listen"].as_str() {
                return Process { child, log, address: format!("http://{address}") };
            }
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

async fn refusal(dir: &Path, options: &[&str]) -> String {
    let mut child = command(dir, options).spawn().unwrap();
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).await.unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(1), "{text}");
    text
}

#[tokio::test]
async fn a_second_process_on_the_same_directory_refuses_to_start() {
    let dir = tempfile::tempdir().unwrap();
    let first = Process::start(dir.path()).await;
    let text = refusal(dir.path(), &[]).await;
    assert!(text.contains("another process holds") && text.contains(dir.path().to_str().unwrap()), "{text}");
    let mut client = ShardManagerClient::connect(first.address.clone()).await.unwrap();
    found(&mut client).await;
}

#[tokio::test]
async fn a_killed_manager_comes_back_with_its_map() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(dir.path()).await;
    let mut client = ShardManagerClient::connect(process.address.clone()).await.unwrap();
    found(&mut client).await;
    let before = map(&mut client).await;
    process.signal(rustix::process::Signal::KILL);
    process.child.wait().await.unwrap();

    let process = Process::start(dir.path()).await;
    let mut client = ShardManagerClient::connect(process.address.clone()).await.unwrap();
    let after = map(&mut client).await;
    assert_eq!(
        (after.revision, after.cluster_id, after.ranges),
        (before.revision, before.cluster_id, before.ranges)
    );
}

#[tokio::test]
async fn it_stops_when_asked_though_somebody_watches() {
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Process::start(dir.path()).await;
        let mut client = ShardManagerClient::connect(process.address.clone()).await.unwrap();
        let mut watch =
            client.watch_shard_map(v1::WatchShardMapRequest::default()).await.unwrap().into_inner();
        process.signal(signal);
        assert!(watch.message().await.unwrap().is_none(), "the watch ends in order");
        assert_eq!(process.child.wait().await.unwrap().code(), Some(0));
        let mut last = String::new();
        while let Some(line) = process.log.next_line().await.unwrap() {
            last = line;
        }
        assert!(last.contains("shard manager stopped"), "{last}");
    }
}

#[tokio::test]
async fn a_damaged_file_or_another_sharding_refuses_to_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(dir.path()).await;
    let mut client = ShardManagerClient::connect(process.address.clone()).await.unwrap();
    found(&mut client).await;
    process.signal(rustix::process::Signal::KILL);
    process.child.wait().await.unwrap();

    let text = refusal(dir.path(), &["--shards", "13"]).await;
    assert!(text.contains("12 shards by fnv1") && text.contains("13 by fnv1"), "{text}");
    let text = refusal(dir.path(), &["--hash", "integer"]).await;
    assert!(text.contains("12 by integer"), "{text}");

    let file = dir.path().join("shard-map");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 2]).unwrap();
    let text = refusal(dir.path(), &[]).await;
    assert!(text.contains(file.to_str().unwrap()) && text.contains("damaged"), "{text}");

    let newer = String::from_utf8(bytes).unwrap().replacen("format 1", "format 2", 1);
    std::fs::write(&file, newer).unwrap();
    let text = refusal(dir.path(), &[]).await;
    assert!(text.contains("damaged"), "a changed version alone is damage: {text}");
}

#[tokio::test]
async fn an_address_in_use_is_said_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = refusal(dir.path(), &["--http-listen", &address]).await;
    assert!(text.contains(&format!("can't listen on {address}")), "{text}");
}
