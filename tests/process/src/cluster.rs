//! A cluster of processes on loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use skv_client::{Clerk, Options};
use skv_proto::v1::shard_manager_client::ShardManagerClient;
use skv_proto::v1::{GetShardMapRequest, ReplicaStatus, ShardMap, SnapshotRequest};
use skv_scratch::Directory;
use tokio::process::Command;

use crate::{Clerks, Net, Process, call_admin_for, eventually, free_port, http_get, programs, status};

/// The time limit of a snapshot, the same as the server's own: on a busy machine writing one comes last.
const SNAPSHOT_WITHIN: Duration = Duration::from_mins(1);

/// The servers of a group's replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Each group has servers of its own.
    Groups,
    /// There are as many servers as groups; group i is on the servers from the ith on, around the
    /// ring.
    Ring,
}

/// The shape of a cluster. Small files and quick decisions, so that tests see many of them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The number of groups that have servers.
    pub groups: u32,
    /// The servers of a group's replicas.
    pub placement: Placement,
    /// The number of groups that share the shards from the beginning, if not all that have servers:
    /// with more, servers host several; with fewer, the others have to join.
    pub first_groups: Option<u32>,
    /// The number of replicas of each group.
    pub replicas: u32,
    /// The number of shards.
    pub shards: u32,
    /// More flags for the shard manager.
    pub manager_flags: Vec<String>,
    /// More flags for every server; the last of equal ones wins.
    pub server_flags: Vec<String>,
    /// True if servers keep everything in memory only.
    pub memory_only: bool,
    /// True if processes can be made to die at fail points.
    pub fail_points: bool,
    /// True if there is a [`Net`] between clerks and servers.
    pub net: bool,
    /// The address on which all processes listen.
    pub host: IpAddr,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            groups: 1,
            placement: Placement::Groups,
            first_groups: None,
            replicas: 3,
            shards: 12,
            manager_flags: Vec::new(),
            server_flags: vec!["--log-segment-bytes=4194304".to_owned()],
            memory_only: false,
            fail_points: false,
            net: false,
            host: Ipv4Addr::LOCALHOST.into(),
        }
    }
}

impl Settings {
    /// Returns the static ring: as many servers as shards; shard i, with the integer keys of this
    /// remainder, is alone in group i, on `replicas` servers from the ith on.
    pub fn ring(servers: u32, replicas: u32) -> Settings {
        Settings {
            groups: servers,
            placement: Placement::Ring,
            replicas,
            shards: servers,
            manager_flags: ["--hash=integer", "--policy=modulo", "--ring"].map(str::to_owned).to_vec(),
            ..Settings::default()
        }
    }

    /// Returns the name of each server, and the groups of its replicas.
    fn layout(&self) -> Vec<(String, Vec<u32>)> {
        let groups = 0..self.groups;
        match self.placement {
            Placement::Groups => groups
                .flat_map(|group| {
                    (0..self.replicas).map(move |index| (format!("g{group}-{index}"), vec![group]))
                })
                .collect(),
            Placement::Ring => groups
                .map(|server| {
                    let back = |steps| (server + self.groups - steps) % self.groups;
                    (format!("s{server}"), (0..self.replicas).map(back).collect())
                })
                .collect(),
        }
    }

    /// Returns the same with one more flag for every server.
    #[must_use]
    pub fn server_flag(mut self, name: &str, value: impl std::fmt::Display) -> Settings {
        self.server_flags.retain(|flag| !flag.starts_with(&format!("{name}=")));
        self.server_flags.push(format!("{name}={value}"));
        self
    }
}

/// A server of a cluster.
#[derive(Debug)]
pub struct Server {
    /// Its name, such as g0-2, or s2 in a ring.
    pub name: String,
    /// The groups of its replicas.
    pub groups: Vec<u32>,
    /// The address for users.
    pub client_address: String,
    /// The address that users are told: with a [`Net`], there is a proxy.
    pub advertised_address: String,
    /// The address for other servers.
    pub peer_address: String,
    /// The address of its pages.
    pub http_address: String,
    /// The directory of its data.
    pub data_dir: PathBuf,
    /// The process.
    pub process: Process,
}

impl Server {
    /// Returns true if it has a replica of this group.
    pub fn hosts(&self, group: u32) -> bool {
        self.groups.contains(&group)
    }

    /// Returns the status of its first replica; `None` if it doesn't answer.
    pub async fn replica(&self) -> Option<ReplicaStatus> {
        status(&self.peer_address).await?.replicas.into_iter().next()
    }

    /// Returns the status of its replica of a group; `None` if it doesn't answer.
    pub async fn replica_of(&self, group: u32) -> Option<ReplicaStatus> {
        status(&self.peer_address).await?.replicas.into_iter().find(|replica| replica.group == group)
    }

    /// Waits until its replicas are ready to serve; returns the first.
    pub async fn ready(&self) -> ReplicaStatus {
        let what = format!("{} is ready", self.name);
        eventually(&what, || async {
            let replicas = status(&self.peer_address).await?.replicas;
            let all_ready = replicas.iter().all(|replica| replica.ready);
            replicas.into_iter().next().filter(|_| all_ready)
        })
        .await
    }

    /// Returns the metric of this name on its page, with the labels if there are any; `None` if it
    /// has no such line, or the server doesn't answer.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let (_, page) = http_get(&self.http_address, "/metrics").await?;
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// Lets it write a snapshot of each replica, and drop the log that this covers.
    pub async fn take_snapshot(&self) {
        let admin = call_admin_for(&self.peer_address, SNAPSHOT_WITHIN).await;
        let mut admin = admin.expect("the server answers");
        for &group in &self.groups {
            admin.snapshot(SnapshotRequest { group }).await.expect("a snapshot can be written");
        }
    }

    /// Removes all its files, as if its disk had been replaced. It must not run.
    pub fn wipe(&mut self) {
        assert!(!self.process.is_running(), "{} runs", self.name);
        std::fs::remove_dir_all(&self.data_dir).expect("a directory can be removed");
    }
}

/// A shard manager and its servers.
#[derive(Debug)]
pub struct Cluster {
    /// The shard manager's process.
    pub manager: Process,
    /// The address of the shard manager.
    pub manager_address: String,
    /// The shard manager's data.
    pub manager_dir: PathBuf,
    /// The servers, group by group.
    pub servers: Vec<Server>,
    net: Option<Net>,
    directory: Directory,
}

fn loopback(settings: &Settings) -> String {
    SocketAddr::new(settings.host, free_port()).to_string()
}

impl Clerks for Cluster {
    fn clerk(&self) -> Clerk {
        Cluster::clerk(self)
    }
}

impl Cluster {
    /// Starts a cluster, and waits until every server is ready.
    pub async fn start(settings: Settings) -> Cluster {
        let mut cluster = Cluster::new(&settings);
        cluster.manager.start();
        for server in &mut cluster.servers {
            server.process.start();
        }
        cluster.ready().await;
        cluster
    }

    /// Lays a cluster out; nothing is started.
    pub fn new(settings: &Settings) -> Cluster {
        let programs = programs();
        let directory = Directory::new().expect("a temporary directory can be made");
        let path = directory.path();
        let manager_address = loopback(settings);
        let manager_dir = path.join("manager");
        let mut manager_arguments = vec![
            format!("--listen={manager_address}"),
            format!("--http-listen={}", loopback(settings)),
            format!("--data-dir={}", manager_dir.display()),
            format!("--groups={}", settings.first_groups.unwrap_or(settings.groups)),
            format!("--replicas={}", settings.replicas),
            format!("--shards={}", settings.shards),
        ];
        manager_arguments.extend(settings.manager_flags.iter().cloned());
        let mut net = settings.net.then(Net::new);
        let mut servers: Vec<Server> = settings
            .layout()
            .into_iter()
            .map(|(name, groups)| {
                let client_address = loopback(settings);
                let proxy = net.as_mut().map(|net| net.lead_to(&client_address));
                Server {
                    groups,
                    advertised_address: proxy.unwrap_or_else(|| client_address.clone()),
                    client_address,
                    peer_address: loopback(settings),
                    http_address: loopback(settings),
                    data_dir: path.join(&name),
                    process: Process::new(&programs.kvserver, Vec::new(), path.join(format!("{name}.log"))),
                    name,
                }
            })
            .collect();
        let arguments: Vec<Vec<String>> = servers
            .iter()
            .map(|server| server_arguments(settings, &servers, server, &manager_address))
            .collect();
        for (server, arguments) in servers.iter_mut().zip(arguments) {
            server.process.set_arguments(|old| *old = arguments);
        }
        let manager = Process::new(&programs.shardmanager, manager_arguments, path.join("manager.log"));
        let mut cluster = Cluster { manager, manager_address, manager_dir, servers, net, directory };
        // Programs are found by this, should the test be killed.
        let parent = cluster.directory.parent();
        let servers = cluster.servers.iter_mut().map(|server| &mut server.process);
        servers.chain([&mut cluster.manager]).for_each(|process| process.set_variable("TMPDIR", parent));
        if settings.fail_points {
            cluster.prepare_fail_points();
        }
        cluster
    }

    /// Returns the net between clerks and servers, which the settings must have asked for.
    pub fn net(&self) -> &Net {
        self.net.as_ref().expect("the settings ask for a net")
    }

    /// Returns a directory of the test's own, removed with the cluster.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Waits until every server is ready.
    pub async fn ready(&self) {
        for server in &self.servers {
            server.ready().await;
        }
    }

    /// Starts every server that doesn't run.
    pub fn start_servers(&mut self) {
        for server in &mut self.servers {
            if !server.process.is_running() {
                server.process.kill();
                server.process.start();
            }
        }
    }

    /// Kills the servers of a group by kill -9, except the first one.
    pub fn take_quorum(&mut self, group: u32) {
        let servers = self.servers.iter_mut().filter(|server| server.hosts(group));
        servers.skip(1).for_each(|server| server.process.kill());
    }

    /// Kills all servers, and the manager, by kill -9.
    pub fn kill_all(&mut self) {
        self.servers.iter_mut().for_each(|server| server.process.kill());
        self.manager.kill();
    }

    /// Returns the index of the server that leads a group, as the group's majority sees it.
    pub async fn leader(&self, group: u32) -> usize {
        let what = format!("group g{group} has a leader");
        eventually(&what, || async {
            let mut leader: Option<(u64, usize)> = None;
            for (index, server) in self.servers.iter().enumerate().filter(|(_, server)| server.hosts(group)) {
                let Some(replica) = server.replica_of(group).await else { continue };
                if replica.leads_a_quorum() && leader.is_none_or(|(term, _)| term < replica.term) {
                    leader = Some((replica.term, index));
                }
            }
            leader.map(|(_, index)| index)
        })
        .await
    }

    /// Returns the voters of a group, as its leader's committed membership has them.
    pub async fn voters(&self, group: u32) -> Vec<u64> {
        let leader = self.leader(group).await;
        let membership = self.servers[leader].replica_of(group).await.and_then(|replica| replica.membership);
        let configs = membership.and_then(|stored| stored.membership).unwrap_or_default().configs;
        configs.into_iter().flat_map(|config| config.replicas).collect()
    }

    /// Makes a clerk that finds the servers by the shard manager.
    pub fn clerk(&self) -> Clerk {
        Clerk::connect(self.clerk_options()).expect("the options are right")
    }

    /// Returns the options of such a clerk.
    pub fn clerk_options(&self) -> Options {
        Options::manager([self.manager_address.clone()])
    }

    /// Runs a command of `skv` on this cluster.
    pub async fn skv(&self, arguments: &[&str]) -> Output {
        let mut skv = Command::new(&programs().skv);
        skv.args(["--manager", &self.manager_address]).args(arguments).stdin(Stdio::null());
        skv.output().await.expect("skv can be run")
    }

    /// Returns the shard map as the manager has it; `None` while there is none.
    pub async fn shard_map(&self) -> Option<ShardMap> {
        let mut manager =
            ShardManagerClient::connect(format!("http://{}", self.manager_address)).await.ok()?;
        Some(manager.get_shard_map(GetShardMapRequest {}).await.ok()?.into_inner())
    }
}

fn server_arguments(settings: &Settings, servers: &[Server], server: &Server, manager: &str) -> Vec<String> {
    let peers: Vec<String> = servers
        .iter()
        .filter(|other| server.groups.iter().any(|&group| other.hosts(group)))
        .map(|other| format!("{}={}/{}", other.name, other.advertised_address, other.peer_address))
        .collect();
    let mut arguments = vec![
        format!("--server={}", server.name),
        format!("--client-listen={}", server.client_address),
        format!("--peer-listen={}", server.peer_address),
        format!("--http-listen={}", server.http_address),
        format!("--shard-manager={manager}"),
        format!("--peers={}", peers.join(",")),
    ];
    if !settings.server_flags.iter().any(|flag| flag.starts_with("--worker-threads=")) {
        // Two processors are shared by all servers of all tests that run.
        arguments.push("--worker-threads=1".to_owned());
    }
    if server.advertised_address != server.client_address {
        arguments.push(format!("--client-advertise={}", server.advertised_address));
    }
    arguments.extend(server.groups.iter().map(|group| format!("--group=g{group}")));
    arguments.push(if settings.memory_only {
        "--memory-only".to_owned()
    } else {
        format!("--data-dir={}", server.data_dir.display())
    });
    arguments.extend(settings.server_flags.iter().cloned());
    arguments
}
