//! A cluster of the three programs, and the answers that clients get from it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use skv_process::{Process, eventually, eventually_within, free_port};
use skv_proto::lab::v1::locator_client::LocatorClient;
use skv_proto::lab::v1::{LocateRequest, LocateResponse};
use skv_proto::v1::shard_manager_client::ShardManagerClient;
use skv_proto::v1::{GetShardMapRequest, QueryRequest, ShardRange};
use tempfile::TempDir;
use tokio::process::Command;

/// The time for which most keys may be on their way while other programs use the machine too.
const NEVER: std::time::Duration = std::time::Duration::from_mins(5);

/// The paths of the programs.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) master: PathBuf,
    pub(crate) server: PathBuf,
    pub(crate) client: PathBuf,
}

impl Programs {
    /// Returns the programs that belong to the tests.
    pub(crate) fn of_the_tests() -> Programs {
        Programs {
            master: env!("CARGO_BIN_EXE_master-svr").into(),
            server: env!("CARGO_BIN_EXE_svr").into(),
            client: env!("CARGO_BIN_EXE_clt").into(),
        }
    }

    /// Returns the programs in a directory.
    pub(crate) fn within(directory: &Path) -> Programs {
        Programs {
            master: directory.join("master-svr"),
            server: directory.join("svr"),
            client: directory.join("clt"),
        }
    }
}

/// The end of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Ended {
    /// Asserts a GET that found this value.
    #[track_caller]
    pub(crate) fn assert_found(&self, value: &str) {
        assert_eq!((self.code, &*self.output), (0, &*format!("{value}\n")), "{self:?}");
    }

    /// Asserts a request that ended with this exit code, and printed no value.
    #[track_caller]
    pub(crate) fn assert_code(&self, code: i32) {
        assert_eq!((self.code, &*self.output), (code, ""), "{self:?}");
    }
}

/// A server and its port.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) process: Process,
}

/// A master and servers.
pub(crate) struct Lab {
    pub(crate) programs: Programs,
    pub(crate) master_port: u16,
    pub(crate) master: Process,
    pub(crate) servers: Vec<Server>,
    kept: bool,
    /// The directory is removed last.
    directory: TempDir,
}

impl Lab {
    /// Starts a master whose clusters end with it.
    pub(crate) fn start() -> Lab {
        Lab::start_with(Programs::of_the_tests(), false)
    }

    /// Starts a master that keeps its cluster in a directory.
    pub(crate) fn start_kept() -> Lab {
        Lab::start_with(Programs::of_the_tests(), true)
    }

    pub(crate) fn start_with(programs: Programs, kept: bool) -> Lab {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("tmp")).unwrap();
        let (master_port, log) = (free_port(), directory.path().join("master.log"));
        let arguments = vec!["-p".to_owned(), master_port.to_string()];
        let master = Process::new(&programs.master, arguments, log);
        let mut lab = Lab { programs, master_port, master, servers: Vec::new(), kept, directory };
        set_variables(&mut lab.master, lab.directory.path(), kept);
        lab.master.start();
        lab
    }

    /// Returns the system's temporary directory for these processes.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.directory.path().join("tmp")
    }

    /// Starts one more server; returns its index.
    pub(crate) fn start_server(&mut self) -> usize {
        let (port, index) = (free_port(), self.servers.len());
        let arguments = ["-p", &port.to_string(), "-m", &self.master_port.to_string()].map(str::to_owned);
        let log = self.directory.path().join(format!("svr-{index}.log"));
        let mut process = Process::new(&self.programs.server, arguments.into(), log);
        set_variables(&mut process, self.directory.path(), self.kept);
        process.start();
        self.servers.push(Server { port, process });
        index
    }

    /// Starts servers, each when the one before has its share.
    pub(crate) async fn grow_to(&mut self, servers: usize) {
        while self.servers.len() < servers {
            self.start_server();
            self.settled(self.servers.len()).await;
        }
    }

    /// Waits until this number of servers share the keys, and each key is where it belongs.
    pub(crate) async fn settled(&self, servers: usize) {
        let what = format!("{servers} servers have their shares");
        eventually_within(NEVER, &what, || async {
            self.is_settled(servers).await.filter(|settled| *settled)
        })
        .await;
    }

    /// Waits until a server answers. On a busy machine that may take longer than a client waits.
    pub(crate) async fn serves(&self, server: usize) {
        self.answer_at(server, "0").await;
    }

    /// Returns the first answer that a client gets from a server which it asks directly for a key.
    pub(crate) async fn answer_at(&self, server: usize, key: &str) -> Ended {
        eventually_within(NEVER, &format!("server {server} answers"), || async {
            Some(self.get_at(server, key).await).filter(|ended| ended.code != 1)
        })
        .await
    }

    async fn is_settled(&self, servers: usize) -> Option<bool> {
        let mut manager = ShardManagerClient::connect(self.master_url()).await.ok()?;
        let newest = manager.query(QueryRequest::default()).await.ok()?.into_inner();
        let map = manager.get_shard_map(GetShardMapRequest {}).await.ok()?.into_inner();
        let owners = |ranges: &[ShardRange]| -> Vec<u32> {
            ranges.iter().flat_map(|range| std::iter::repeat_n(range.group, range.count as usize)).collect()
        };
        Some(newest.groups.len() == servers && owners(&newest.ranges) == owners(&map.ranges))
    }

    /// Waits until this number of servers are to share the keys.
    pub(crate) async fn joined(&self, servers: usize) {
        eventually(&format!("{servers} servers have joined"), || async {
            let mut manager = ShardManagerClient::connect(self.master_url()).await.ok()?;
            let newest = manager.query(QueryRequest::default()).await.ok()?.into_inner();
            (newest.groups.len() == servers).then_some(())
        })
        .await;
    }

    /// Returns the master's place of a key.
    pub(crate) async fn locate(&self, key: &str) -> LocateResponse {
        let mut master = LocatorClient::connect(self.master_url()).await.unwrap();
        master.locate(LocateRequest { key: key.to_owned().into() }).await.unwrap().into_inner()
    }

    fn master_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.master_port)
    }

    /// Runs a client.
    pub(crate) async fn client(&self, arguments: &[&str]) -> Ended {
        let mut client = Command::new(&self.programs.client);
        let ended = client.args(arguments).stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = ended.status.code().expect("no signal ends a client");
        Ended { code, output: text(&ended.stdout), errors: text(&ended.stderr) }
    }

    /// Sends a GET by the master.
    pub(crate) async fn get(&self, key: &str) -> Ended {
        let master = self.master_port.to_string();
        self.client(&["-p", "0", "-o", "GET", "-k", key, "-v", "", "-m", &master, "-d", "0"]).await
    }

    /// Sends a PUT by the master.
    pub(crate) async fn put(&self, key: &str, value: &str) -> Ended {
        let master = self.master_port.to_string();
        self.client(&["-p", "0", "-o", "PUT", "-k", key, "-v", value, "-m", &master, "-d", "0"]).await
    }

    /// Sends a GET to a server, directly.
    pub(crate) async fn get_at(&self, server: usize, key: &str) -> Ended {
        let port = self.servers[server].port.to_string();
        self.client(&["-p", &port, "-o", "GET", "-k", key, "-d", "1"]).await
    }

    /// Sends a PUT to a server, directly.
    pub(crate) async fn put_at(&self, server: usize, key: &str, value: &str) -> Ended {
        let port = self.servers[server].port.to_string();
        self.client(&["-p", &port, "-o", "PUT", "-k", key, "-v", value, "-d", "1"]).await
    }
}

/// Sets the variables by which nothing of a test stays behind, not even of a process that was
/// killed; a person that runs the tests may have a cluster of their own.
fn set_variables(process: &mut Process, directory: &Path, kept: bool) {
    process.set_variable("TMPDIR", &directory.join("tmp"));
    let kept_in = if kept { directory.join("kept") } else { PathBuf::new() };
    process.set_variable("SKV_LAB_DIR", &kept_in);
}
