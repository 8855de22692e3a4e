//! The environment that all replicas of a server share.

use std::sync::Arc;

use skv_disk::Disk;
use skv_disk::clock::Clock;
use skv_memory::Budget;
use skv_net::Dial;
use skv_net::{Addresses, Listener};
use skv_sharding::{GroupId, Replica, ReplicaId};
use skv_store::Store;

use crate::data_dir::{DataDir, OpenError, Opened};
use crate::handoff::counters::HandoffCounters;
use crate::handoff::pace::Pace;
use crate::manager::Manager;
use crate::map_copy::MapCopy;
use crate::tuning::Tuning;

/// The environment that all replicas of a server share.
#[derive(Clone)]
pub struct Environment {
    /// The server's name.
    pub server: String,
    /// The name that tells this run of the server from others.
    pub instance: String,
    /// The address at which users reach it.
    pub client_address: String,
    /// The address at which servers reach it.
    pub peer_address: String,
    /// Times and sizes.
    pub tuning: Tuning,
    /// The memory that all replicas together may use.
    pub memory: Budget,
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The replicas' directories.
    pub data: DataDir,
    /// The wall clock.
    pub clock: Clock,
    /// The addresses of servers.
    pub addresses: Arc<Addresses>,
    /// The way to connect to servers.
    pub dial: Dial,
    /// The shard managers.
    pub manager: Arc<Manager>,
    /// The copy of the shard map.
    pub map: Arc<MapCopy>,
    /// The pace at which shards are handed over.
    pub pace: Arc<Pace>,
    /// Counts of shards that leave.
    pub handoffs: Arc<HandoffCounters>,
}

impl Environment {
    /// Opens a replica's directory, on a task of the disk.
    pub(super) async fn open(&self, group: GroupId, store: Arc<Store>) -> Result<Opened, OpenError> {
        let data = self.data.clone();
        let opened = skv_disk::run(&*self.disk, "open", async move { data.open(group, store).await });
        opened.await.unwrap_or_else(|error| Err(OpenError::Io(error.to_string())))
    }

    /// Returns this server's replica of some group, as others see it.
    pub(super) fn replica(&self, id: ReplicaId) -> Replica {
        Replica {
            id,
            server: self.server.clone(),
            client_address: self.client_address.clone(),
            peer_address: self.peer_address.clone(),
            instance: self.instance.clone(),
        }
    }

    /// Returns a member of one of our groups, as far as it is known here.
    pub(super) fn member(&self, id: ReplicaId, server: String) -> Replica {
        if server == self.server {
            return self.replica(id);
        }
        let known = |listener| self.addresses.known(&server, listener).unwrap_or_default();
        let (client_address, peer_address) = (known(Listener::Client), known(Listener::Peer));
        Replica { id, server, client_address, peer_address, instance: String::new() }
    }
}
