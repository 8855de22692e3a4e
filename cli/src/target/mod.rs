//! The store that a command addresses.
//!
//! - `options`: which of these options each command takes
//! - `words`: errors of servers, shard managers and clerks, for people

mod options;
mod words;

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{ArgMatches, ValueHint};
use futures::stream::{FuturesUnordered, StreamExt as _};
use skv_client::{Clerk, Options};
use skv_local::data_dir::read_record;
use skv_local::endpoint::{self, Endpoint as Local};
use skv_local::home::Entry;
use skv_local::record::Member;
use skv_local::screen::Stream;
use skv_local::stores::{self, Choice};
use skv_net::{Connector, race};
use skv_proto::v1;
use skv_proto::v1::kv_client::KvClient;
use skv_proto::v1::shard_manager_client::ShardManagerClient;
use skv_startup::trimmed;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use crate::kubernetes::Store;
use crate::name::Name;
use crate::process::Process;
use crate::{cluster, completions, duration, output};

pub(crate) use options::{tidy, variables_set};
pub(crate) use words::{explain, is_another_kind, not_a_manager};

/// The time that a shard manager has to answer before servers are asked, or before it is believed to be
/// one.
const MANAGER_WITHIN: Duration = Duration::from_millis(500);
/// The same through the API server of a cluster, which may be far away.
const MANAGER_IN_CLUSTER_WITHIN: Duration = Duration::from_secs(3);

/// Opens all connections of the command, so that each attempt knows the addresses that the one before tried.
static CONNECTOR: LazyLock<Connector> = LazyLock::new(skv_net::tcp);

/// The store of a command.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Store")]
pub(crate) struct Target {
    /// A store of this machine, by its name [default: that of the last `skv up` or `skv use`].
    #[arg(long, global = true, env = "SKV_STORE", value_name = "NAME", add = completions::stores())]
    store: Option<String>,
    /// A store of this machine, by its data directory.
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    data_dir: Option<PathBuf>,
    /// The shard manager; several addresses are tried in turn.
    #[arg(long, global = true, env = "SKV_MANAGER", value_name = "HOST:PORT,...", value_delimiter = ',')]
    #[arg(value_parser = trimmed::<String>, value_hint = ValueHint::Hostname)]
    manager: Vec<String>,
    /// A server to ask instead of a shard manager.
    #[arg(long, global = true, value_name = "HOST:PORT,...", value_delimiter = ',')]
    #[arg(value_parser = trimmed::<String>, value_hint = ValueHint::Hostname)]
    server: Vec<String>,
    /// The time limit of an operation; for a server that works on a request, the time for which it may
    /// be out of reach.
    #[arg(long, global = true, value_name = "TIME", default_value = "10s", value_parser = duration::positive)]
    #[arg(value_hint = ValueHint::Other)]
    timeout: Duration,
    #[command(flatten)]
    cluster: cluster::Options,
    /// The store in Kubernetes that the command is about, once it is found.
    #[arg(skip)]
    in_cluster: Option<Store>,
}

/// Addresses to ask, of one kind.
enum Addresses {
    Servers(Vec<String>),
    Managers(Vec<String>),
    /// The addresses of a store whose servers are known too: of this machine, or in Kubernetes.
    Own {
        manager: String,
        servers: Vec<String>,
    },
}

/// The reason why a process has no shard map for us.
enum NoMap {
    /// It is another kind of process.
    OtherKind,
    Failed(anyhow::Error),
}

impl Target {
    /// Returns the store of these shard managers, whichever one the flags name.
    pub(crate) fn of_managers(managers: impl Into<Vec<String>>, timeout: Duration) -> Target {
        Target {
            store: None,
            data_dir: None,
            manager: managers.into(),
            server: Vec::new(),
            timeout,
            cluster: cluster::Options::default(),
            in_cluster: None,
        }
    }

    /// Keeps the options that count: the command line counts before the environment. Refuses those that
    /// the command would ignore. Finds the store if it is one in Kubernetes.
    pub(crate) async fn settle(&mut self, matches: &ArgMatches, name: Name) -> anyhow::Result<()> {
        if options::are_of_cluster(matches, name)? {
            // The environment names stores outside of Kubernetes.
            self.store = self.store.take().filter(|_| options::is_given(matches, "store"));
            self.manager.clear();
            self.in_cluster = Some(Box::pin(Store::find(&self.cluster, self.store.as_deref())).await?);
            return Ok(());
        }
        let naming = options::naming(matches)?;
        let is_kept = |id: &str| naming.contains(&id);
        self.store = self.store.take().filter(|_| is_kept("store"));
        self.data_dir = self.data_dir.take().filter(|_| is_kept("data_dir"));
        for (id, list) in [("manager", &mut self.manager), ("server", &mut self.server)] {
            if is_kept(id) {
                list.retain(|address| !address.is_empty());
                anyhow::ensure!(!list.is_empty(), "--{id} names no address: write HOST:PORT");
            } else {
                list.clear();
            }
        }
        Ok(())
    }

    fn addresses(&self) -> anyhow::Result<Addresses> {
        if let Some(store) = &self.in_cluster {
            let (manager, servers) = (store.manager().to_owned(), store.servers().to_owned());
            return Ok(Addresses::Own { manager, servers });
        }
        if !self.server.is_empty() {
            return Ok(Addresses::Servers(self.server.clone()));
        }
        if !self.manager.is_empty() {
            return Ok(Addresses::Managers(self.manager.clone()));
        }
        let Local { manager, servers, .. } = endpoint::find(self.choice())?;
        Ok(Addresses::Own { manager, servers })
    }

    fn choice(&self) -> Choice<'_> {
        match (&self.data_dir, &self.store) {
            (Some(path), _) => Choice::Directory(path),
            (None, Some(name)) => Choice::Name(name),
            (None, None) => Choice::Current,
        }
    }

    /// Returns true if an option names a store.
    pub(crate) fn is_named(&self) -> bool {
        let by_address = !self.server.is_empty() || !self.manager.is_empty();
        by_address || self.in_cluster.is_some() || !matches!(self.choice(), Choice::Current)
    }

    /// Returns the store of this machine that is named, whether it runs or not: for what only its own
    /// machine can do. An address must be one of a store that runs here.
    pub(crate) fn local(&self) -> anyhow::Result<Entry> {
        if let Some(store) = &self.in_cluster {
            bail!("{} runs in Kubernetes, and this is about stores of this machine", store.name());
        }
        let addresses = [&self.server[..], &self.manager[..]].concat();
        if addresses.is_empty() {
            stores::locate(self.choice())
        } else {
            stores::locate(Choice::Addresses(&addresses))
        }
    }

    /// Returns the addresses of that store, which must run.
    pub(crate) fn running(&self) -> anyhow::Result<Local> {
        endpoint::find(Choice::Directory(&self.local()?.data_dir))
    }

    /// Returns the store of this machine that the command talks to, if it is one and runs.
    pub(crate) fn local_store(&self) -> Option<Local> {
        let is_elsewhere = self.in_cluster.is_some() || !self.server.is_empty() || !self.manager.is_empty();
        if is_elsewhere { None } else { endpoint::find(self.choice()).ok() }
    }

    /// Returns the store in Kubernetes that the command is about, if it is one.
    pub(crate) fn in_cluster(&self) -> Option<&Store> {
        self.in_cluster.as_ref()
    }

    /// Returns what opens connections to the store's listeners.
    pub(crate) fn connector(&self) -> &Connector {
        self.in_cluster.as_ref().map_or(&*CONNECTOR, Store::connector)
    }

    /// Returns the store's processes: those of a store in Kubernetes or of this machine are known.
    pub(crate) async fn processes(&self) -> anyhow::Result<Vec<Process>> {
        if let Some(store) = &self.in_cluster {
            return store.processes().await;
        }
        let Entry { name, data_dir } = self.local()?;
        let record = read_record(&data_dir)?.with_context(|| format!("the record of {name} has gone"))?;
        let process = |member: &Member| Process {
            name: member.name.clone(),
            http_address: member.http_address(),
            is_manager: member.is_manager(),
        };
        Ok(record.members.iter().map(process).collect())
    }

    /// Returns the data directory that is named.
    pub(crate) fn data_dir(&self) -> Option<PathBuf> {
        self.data_dir.clone()
    }

    /// Prints on standard error which store is changed, if nobody named it and several run.
    pub(crate) fn announce(&self) {
        let several = || stores::running().is_ok_and(|running| running.len() > 1);
        if !self.is_named()
            && let Some(local) = self.local_store()
            && several()
        {
            output::say_on(
                Stream::Err,
                format_args!("this is about the store {}; others run too, and --store names one", local.name),
            );
        }
    }

    /// Returns the shard managers, which a server can't stand in for.
    pub(crate) fn managers(&self) -> anyhow::Result<Vec<String>> {
        match self.addresses()? {
            Addresses::Managers(managers) => Ok(managers),
            Addresses::Own { manager, .. } => Ok(vec![manager]),
            Addresses::Servers(_) => {
                bail!("only a shard manager can do this: name one with --manager instead of --server")
            }
        }
    }

    /// Returns the time limit of an operation.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns the settings of a clerk of this store.
    pub(crate) async fn options(&self) -> anyhow::Result<Options> {
        let mut options = match self.addresses()? {
            Addresses::Servers(servers) => Options::seeds(servers),
            Addresses::Managers(managers) => {
                self.must_not_be_servers(&managers).await?;
                Options::manager(managers)
            }
            Addresses::Own { manager, servers } => match self.map_of_own_manager(&manager).await {
                Ok(_) => Options::manager([manager]),
                Err(note) => {
                    output::say_on(Stream::Err, note);
                    Options::seeds(servers)
                }
            },
        };
        options.deadline = self.timeout;
        options.connector = self.in_cluster.as_ref().map(|store| store.connector().clone());
        Ok(options)
    }

    /// Returns a clerk of this store.
    pub(crate) async fn clerk(&self) -> anyhow::Result<Clerk> {
        Ok(Clerk::connect(self.options().await?)?)
    }

    /// Returns the error of a clerk's call, for people.
    pub(crate) fn failed(&self, error: skv_client::Error) -> anyhow::Error {
        words::of_call(error, &self.server)
    }

    /// Returns the shard map, as the manager or a server knows it. Says if servers stand in for a manager.
    pub(crate) async fn shard_map(&self) -> anyhow::Result<v1::ShardMap> {
        let (map, note) = self.shard_map_with_note().await?;
        if let Some(note) = note {
            output::say_on(Stream::Err, note);
        }
        Ok(map)
    }

    /// Returns the shard map, and says if servers stand in for a manager.
    pub(crate) async fn shard_map_with_note(&self) -> anyhow::Result<(v1::ShardMap, Option<String>)> {
        let map = match self.addresses()? {
            Addresses::Servers(servers) => self.map_of_servers(&servers).await?,
            Addresses::Managers(managers) => {
                let raced = race(&managers, |manager| self.map_of_manager(manager), &mut 0).await;
                first_of(raced, &managers, words::not_a_manager)?
            }
            Addresses::Own { manager, servers } => match self.map_of_own_manager(&manager).await {
                Ok(map) => map,
                Err(note) => return Ok((self.map_of_servers(&servers).await?, Some(note))),
            },
        };
        Ok((map, None))
    }

    /// Returns the map of a store whose servers are known too, as its manager knows it; or, if that doesn't answer
    /// soon, a note that the servers are asked in its place.
    async fn map_of_own_manager(&self, manager: &str) -> Result<v1::ShardMap, String> {
        let answer = timeout(self.manager_within(), self.map_of_manager(manager)).await;
        let map = answer.ok().and_then(Result::ok);
        map.ok_or_else(|| format!("the shard manager at {manager} doesn't answer: asking the servers"))
    }

    async fn map_of_servers(&self, servers: &[String]) -> anyhow::Result<v1::ShardMap> {
        let raced = race(servers, |server| self.map_of_server(server), &mut 0).await;
        first_of(raced, servers, words::not_a_server)
    }

    fn manager_within(&self) -> Duration {
        let within = if self.in_cluster.is_some() { MANAGER_IN_CLUSTER_WITHIN } else { MANAGER_WITHIN };
        self.timeout.min(within)
    }

    /// Refuses addresses of servers: a clerk would ask them for ever. Managers that don't answer at once may
    /// do so later.
    async fn must_not_be_servers(&self, managers: &[String]) -> anyhow::Result<()> {
        let mut asked: FuturesUnordered<_> =
            managers.iter().map(async |manager| (manager, self.map_of_manager(manager).await)).collect();
        let verdict = async {
            while let Some((manager, answer)) = asked.next().await {
                match answer {
                    Ok(_) => return Ok(()),
                    Err(NoMap::OtherKind) => return Err(words::not_a_manager(manager)),
                    Err(NoMap::Failed(_)) => {}
                }
            }
            Ok(())
        };
        timeout(self.manager_within(), verdict).await.unwrap_or(Ok(()))
    }

    async fn map_of_server(&self, address: &str) -> Result<v1::ShardMap, NoMap> {
        let mut client = KvClient::new(self.dial(address).await.map_err(NoMap::Failed)?);
        let answer = client.get_shard_map(v1::GetShardMapRequest {}).await;
        answer.map(tonic::Response::into_inner).map_err(|status| NoMap::of(&status, address))
    }

    async fn map_of_manager(&self, address: &str) -> Result<v1::ShardMap, NoMap> {
        let mut client = ShardManagerClient::new(self.dial(address).await.map_err(NoMap::Failed)?);
        let answer = client.get_shard_map(v1::GetShardMapRequest {}).await;
        answer.map(tonic::Response::into_inner).map_err(|status| NoMap::of(&status, address))
    }

    /// Opens a connection to one of the store's listeners.
    pub(crate) async fn dial(&self, address: &str) -> anyhow::Result<Channel> {
        self.connect(self.endpoint(address)?.timeout(self.timeout), address).await
    }

    /// The same for calls without a time limit: they fail when the server can't be reached any more.
    pub(crate) async fn dial_patiently(&self, address: &str) -> anyhow::Result<Channel> {
        self.connect(self.endpoint(address)?, address).await
    }

    async fn connect(&self, endpoint: Endpoint, address: &str) -> anyhow::Result<Channel> {
        let opened = skv_net::open(endpoint, self.connector(), address).await;
        opened.with_context(|| format!("can't connect to {address}"))
    }

    fn endpoint(&self, address: &str) -> anyhow::Result<Endpoint> {
        let endpoint = skv_net::endpoint(address)
            .with_context(|| format!("{address:?} is not an address of the form HOST:PORT"))?;
        let endpoint = endpoint.connect_timeout(self.timeout);
        // A call that waits for long is given up once the server can't be reached any more.
        Ok(endpoint.http2_keep_alive_interval(self.timeout).keep_alive_timeout(self.timeout))
    }
}

/// Returns the first map, or the reason why the last process has none.
fn first_of(
    raced: Result<(usize, v1::ShardMap), Vec<(usize, NoMap)>>,
    addresses: &[String],
    other_kind: fn(&str) -> anyhow::Error,
) -> anyhow::Result<v1::ShardMap> {
    let last = match raced {
        Ok((_, map)) => return Ok(map),
        Err(mut failures) => failures.pop(),
    };
    match last.context("no address was given")? {
        (index, NoMap::OtherKind) => Err(other_kind(&addresses[index])),
        (_, NoMap::Failed(error)) => Err(error),
    }
}

impl NoMap {
    fn of(status: &tonic::Status, address: &str) -> NoMap {
        if words::is_another_kind(status) {
            NoMap::OtherKind
        } else {
            NoMap::Failed(explain(status, address))
        }
    }
}
