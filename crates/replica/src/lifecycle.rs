//! The life of a replica: from an empty directory to a running replica, and again from the start when
//! its files were damaged or its group has moved on without it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use skv_disk::entropy;
use skv_log::{Finished, Log};
use skv_raft::header::Place;
use skv_raft::state_machine::StateMachine;
use skv_raft::{Consensus, Stopped, Timing};
use skv_sharding::GroupId;
use skv_store::Store;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::aside::{Aside, RETRY, patiently, put_aside};
use crate::data_dir::{Belongs, Identity, OpenError, Opened};
use crate::environment::Environment;
use crate::failed::Failed;
use crate::handoff::state::Handoffs;
use crate::leader::LeaderHints;
use crate::members::Changes;
use crate::memory::{Expected, MemoryGate};
use crate::orders::Instructions;
use crate::propose::ProposerParts;
use crate::read::ReadBarrier;
use crate::readiness::Readiness;
use crate::registration::{self, Superseded};
use crate::replica::{Replica, State};
use crate::reset::{Reset, Reviver, reset};
use crate::running::Running;
use crate::snapshots::Snapshots;
use crate::tuning::Tuning;
use crate::writes::WritePath;

/// The silence, per millisecond of the election timeout, after which a leader isn't named any more:
/// elections begin after one to two timeouts.
const LEADER_SILENT_FOR: Duration = Duration::from_millis(4);

/// The time, per millisecond of the election timeout, within which a leader reaches a replica that has
/// started: several heartbeats, and less than until the first election.
const HEARD_WITHIN: Duration = Duration::from_millis(2);

/// The time for which a stopping replica waits for its Raft to end.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// The end of one life of a replica.
enum End {
    /// The server stops.
    Stopped,
    /// The files are damaged: they are put aside and a new replica begins.
    Damaged(String),
    /// The files are of no use any more: they are put aside and a new replica begins.
    Superseded(String),
    /// The group was revived without this replica: its files are kept, and a new replica begins.
    Former(String),
    /// The same of a replica that holds nothing: its files are removed.
    Empty(String),
    /// The files are of another version: only a person can help.
    Unusable(String),
    /// The disk failed, or openraft did.
    Failed(String),
    /// A person wants it to be the whole group.
    Reset(Reviver),
    /// Its files can't be opened now.
    NotNow(String),
}

/// Runs a replica until the server stops.
pub async fn run(
    env: Arc<Environment>,
    replica: Arc<Replica>,
    stop: CancellationToken,
) -> Result<(), Failed> {
    let group = replica.group;
    while !stop.is_cancelled() {
        let end = live(&env, &replica, &stop).await;
        match end {
            End::Stopped => break,
            // A server that must stop meanwhile waits for it.
            End::Reset(reviver) => reviver.revive(&env, group).await,
            End::NotNow(reason) => {
                tracing::warn!(%group, reason, "the replica's files can't be opened; it is tried again");
                replica.wait(None, &reason);
                tokio::select! {
                    () = tokio::time::sleep(RETRY) => {}
                    () = stop.cancelled() => {}
                }
            }
            End::Damaged(reason) => {
                tracing::error!(%group, reason, "the replica's files can't be trusted; a new replica takes its place");
                put_aside(&env, &replica, reason, Aside::Quarantine, &stop).await?;
            }
            End::Superseded(reason) => {
                tracing::info!(%group, reason, "the replica is of no use any more; a new one takes its place");
                put_aside(&env, &replica, reason, Aside::Quarantine, &stop).await?;
            }
            End::Former(reason) => {
                tracing::warn!(%group, reason, "the replica is of a former life of the group; a new one takes its place");
                put_aside(&env, &replica, reason, Aside::Former, &stop).await?;
            }
            End::Empty(reason) => {
                tracing::info!(%group, reason, "the replica holds nothing; a new one takes its place");
                put_aside(&env, &replica, reason, Aside::Nowhere, &stop).await?;
            }
            End::Unusable(reason) => {
                tracing::error!(%group, reason, "the replica doesn't start");
                replica.set(State::Broken(reason));
                stop.cancelled().await;
            }
            End::Failed(reason) => {
                replica.set(State::Broken(reason.clone()));
                return Err(Failed { group, reason });
            }
        }
    }
    replica.set(State::Stopped);
    Ok(())
}

async fn live(env: &Arc<Environment>, replica: &Replica, stop: &CancellationToken) -> End {
    let group = replica.group;
    let store = Arc::new(Store::within(env.memory.clone(), entropy::random_id()));
    let Opened { mut identity, log, state } = match env.open(group, store.clone()).await {
        Ok(opened) => opened,
        Err(error @ OpenError::Damaged { .. }) => return End::Damaged(error.to_string()),
        Err(error @ OpenError::UnsupportedVersion(_)) => return End::Unusable(error.to_string()),
        Err(error @ OpenError::Io(_)) => return End::Failed(error.to_string()),
        Err(error @ OpenError::NotNow(_)) => return End::NotNow(error.to_string()),
    };
    let (known, files) = (identity.place(), log.finished());
    let place = match known {
        Some(place) => Ok(place),
        None => find_place(env, replica, &mut identity, stop).await,
    };
    let place = match place {
        Ok(place) => place,
        Err(end) => {
            // The log has begun to make its next segment: whoever opens it next must find it alone.
            drop(log);
            await_end(group, files.wait()).await;
            return end;
        }
    };

    let readiness = match known {
        // Also one whose log is empty: its disk may have gone back to before its first entry.
        Some(_) => Readiness::of_returned(HEARD_WITHIN * env.tuning.election_timeout_ms as u32),
        None => Readiness::default(),
    };
    let (reset, reviver) = reset();
    let running = match start(env, place, readiness, store, log, state, reset.clone()).await {
        Ok(running) => Arc::new(running),
        Err(error) => return End::Failed(format!("its Raft can't be started: {error}")),
    };
    tracing::info!(%group, uid = %place.uid, replica = %place.replica, "the replica runs");
    replica.set(State::Running(running.clone()));
    let end = serve(env, &running, reviver, stop).await;
    match end {
        End::Stopped => replica.set(State::Stopped),
        End::Reset(_) => replica.set(State::Reviving { reset, before: Arc::new(running.remains()) }),
        _ => replica.wait(None, "its Raft ends"),
    }
    leave_files(env, running, files, end, stop).await
}

/// Waits until the shard manager has a place for a new replica, and takes it.
async fn find_place(
    env: &Environment,
    replica: &Replica,
    identity: &mut Identity,
    stop: &CancellationToken,
) -> Result<Place, End> {
    replica.wait(Some(identity.replica), "waiting for the shard manager's plan");
    let waits = |reason: String| replica.wait(Some(identity.replica), &reason);
    let belongs = tokio::select! {
        belongs = registration::await_place(env, identity, waits) => belongs,
        () = stop.cancelled() => return Err(End::Stopped),
    };
    tokio::select! {
        joined = join(env, identity, belongs) => {
            joined.map_err(|error| End::Failed(format!("its identity can't be saved: {error}")))
        }
        () = stop.cancelled() => Err(End::Stopped),
    }
}

/// Waits until the tasks of a replica no longer use its files; returns how it ended.
async fn leave_files(
    env: &Environment,
    running: Arc<Running>,
    files: Finished,
    end: End,
    stop: &CancellationToken,
) -> End {
    let group = running.place.group;
    let (snapshots, log) = (running.snapshots.clone(), files.clone());
    let ended = async {
        // A task that waits for the disk to take a snapshot waits no longer, and none comes into the
        // directory later.
        let _ = running.snapshots.close().await;
        running.consensus.shutdown().await;
        // Its state may be gigabytes, which no other task is to wait for.
        let _ = skv_disk::run(&*env.disk, "end", async move { drop(running) }).await;
        log.wait().await;
    };
    if matches!(end, End::Reset(_)) {
        // Its files are used again as they are: until the tasks have ended, nobody else may use them,
        // however long it takes.
        return tokio::select! {
            () = ended => end,
            () = stop.cancelled() => End::Stopped,
        };
    }
    await_end(group, ended).await;
    if matches!(end, End::Stopped) {
        return end;
    }
    // A task that goes on knows the directory by its name, which a successor's will have.
    let closed = async {
        snapshots.close().await?;
        files.close().await
    };
    tokio::select! {
        closed = closed => match closed {
            Ok(()) => end,
            Err(error) => End::Failed(format!("its files can't be closed: {error}")),
        },
        () = stop.cancelled() => End::Stopped,
    }
}

/// Waits until the tasks of a replica have ended, though not for ever.
async fn await_end(group: GroupId, ended: impl Future<Output = ()>) {
    if tokio::time::timeout(SHUTDOWN, ended).await.is_err() {
        tracing::warn!(%group, "the replica's tasks didn't end within {SHUTDOWN:?}");
    }
}

/// Starts the Raft of a replica, and all that is above it.
async fn start(
    env: &Environment,
    place: Place,
    readiness: Readiness,
    store: Arc<Store>,
    log: Log,
    state: StateMachine,
    reset: Reset,
) -> Result<Running, Stopped> {
    let Tuning { heartbeat_ms, election_timeout_ms, .. } = env.tuning;
    let timing = Timing { heartbeat_ms, election_timeout_ms };
    let (space, dir, applied) = (log.space(), state.snapshots(), state.applied_bytes());
    let room = space.clone();
    let (addresses, dial) = (env.addresses.clone(), env.dial.clone());
    let consensus = Consensus::start(place, timing, addresses, dial, log, state).await?;

    let silence = LEADER_SILENT_FOR * election_timeout_ms as u32;
    let (group, own, watch) = (place.group, place.replica, consensus.watch());
    let hints = LeaderHints::new(group, own, watch, readiness.clone(), silence, env.addresses.clone());
    let memory = MemoryGate {
        budget: env.memory.clone(),
        consensus: consensus.clone(),
        hints: hints.clone(),
        store: store.clone(),
        expected: Expected::default(),
    };
    let writes = WritePath::open(space, memory, |space, memory, holds| ProposerParts {
        consensus: consensus.clone(),
        hints: hints.clone(),
        space,
        memory,
        clock: env.clock.clone(),
        holds,
    });
    Ok(Running {
        place,
        store,
        map: env.map.clone(),
        writes,
        reads: ReadBarrier::start(consensus.reads(), hints.clone()),
        hints,
        readiness,
        handoffs: Handoffs::default(),
        snapshots: Snapshots {
            group,
            consensus: consensus.clone(),
            dir,
            applied,
            renewed: Arc::new(Mutex::new(Instant::now())),
            space: room.clone(),
            memory: env.memory.clone(),
        },
        members: Changes {
            place,
            consensus: consensus.clone(),
            clock: env.clock.clone(),
            space: room,
            turn: tokio::sync::Mutex::default(),
        },
        consensus,
        orders: Instructions::none(),
        feature_level: env.tuning.feature_level,
        clock: env.clock.clone(),
        reset,
        former: Mutex::default(),
        gone_back: CancellationToken::new(),
    })
}

/// Gives the replica its place in a group, durably, before it takes part in anything.
async fn join(env: &Environment, identity: &mut Identity, belongs: Belongs) -> io::Result<Place> {
    identity.belongs = Some(belongs);
    let saved = *identity;
    let save = || {
        let data = env.data.clone();
        async move { data.save_identity(&saved).await }
    };
    patiently(env, "identity", save).await?;
    let Belongs { cluster, uid, incarnation } = belongs;
    Ok(Place { cluster, group: identity.group, uid, incarnation, replica: identity.replica })
}

/// Does what a running replica does beside answering, until it ends.
async fn serve(
    env: &Arc<Environment>,
    running: &Arc<Running>,
    reviver: Reviver,
    stop: &CancellationToken,
) -> End {
    let mut tasks = JoinSet::new();
    let replace_after = Duration::from_millis(env.tuning.replace_after_ms);
    let snapshot_bytes = env.tuning.snapshot_log_bytes;
    {
        let running = running.clone();
        tasks.spawn(async move { running.lead(replace_after).await });
    }
    {
        let (running, env) = (running.clone(), env.clone());
        tasks.spawn(async move { running.hand_off(&env).await });
    }
    {
        let running = running.clone();
        tasks.spawn(async move { running.snapshots.write_by_size(snapshot_bytes).await });
    }
    {
        let running = running.clone();
        tasks.spawn(async move { running.readiness.await_catch_up(running.consensus.watch()).await });
    }
    {
        let (running, env) = (running.clone(), env.clone());
        tasks.spawn(async move { running.clear_quarantine(&env).await });
    }
    {
        let running = running.clone();
        tasks.spawn(async move { running.log_leaders().await });
    }
    {
        let (running, env) = (running.clone(), env.clone());
        tasks.spawn(async move { running.look_at_former(&env).await });
    }
    {
        let running = running.clone();
        tasks.spawn(async move { running.ask_others().await });
    }
    let end = tokio::select! {
        superseded = running.register(env) => superseded_end(running, superseded),
        superseded = revived_elsewhere(running, env) => superseded_end(running, superseded),
        () = running.gone_back.cancelled() => End::Damaged(
            "its disk went back in time: its log lacks entries that it acknowledged".into()
        ),
        reason = fatal(running) => End::Failed(reason),
        () = reviver.asked() => End::Reset(reviver),
        () = stop.cancelled() => {
            if running.hints.is_leader() {
                let alone_after = env.tuning.election_timeout_ms + env.tuning.heartbeat_ms;
                match running.hand_over_to_stop(Duration::from_millis(alone_after)).await {
                    Ok(leader) => tracing::info!(group = %running.place.group, %leader, "the leadership was handed over"),
                    Err(error) => tracing::info!(group = %running.place.group, %error, "stopping as the leader"),
                }
            }
            End::Stopped
        }
    };
    tasks.shutdown().await;
    end
}

/// Waits until the group is known to be revived without this replica, from another server that is part of
/// it, or from the shard map: the shard managers may be away, or not have answered this replica yet.
async fn revived_elsewhere(running: &Running, env: &Environment) -> Superseded {
    let Place { group, uid, incarnation, .. } = running.place;
    let successor = tokio::select! {
        successor = running.consensus.succeeded() => successor,
        successor = env.map.later_incarnation(group, uid, incarnation) => successor,
    };
    Superseded::by_revival(group, successor)
}

/// Returns the end of a replica without which its group goes on.
fn superseded_end(running: &Running, Superseded { reason, revived }: Superseded) -> End {
    let view = running.consensus.view();
    let holds_nothing = view.last_log.is_none() && view.snapshot.is_none();
    match revived {
        true if holds_nothing => End::Empty(reason),
        true => End::Former(reason),
        false => End::Superseded(reason),
    }
}

/// Waits until the Raft has stopped by itself, and returns why.
async fn fatal(running: &Running) -> String {
    let ended = running.consensus.leaders().ended().await;
    running.consensus.watch().failed().unwrap_or_else(|| ended.to_string())
}

impl Running {
    /// Asks each other member, once, whether the group is still the one that this replica knows: before it
    /// takes part in an election, it learns of a revival from a server that is part of it.
    async fn ask_others(&self) {
        let mut watch = self.consensus.watch();
        while watch.view().members.servers.is_empty() {
            if watch.changed().await.is_err() {
                return;
            }
        }
        let members = watch.view().members.servers.into_iter();
        let others = members.filter(|(id, _)| *id != self.place.replica);
        let asked = others.map(|(id, server)| async move { self.consensus.reaches(id, &server).await });
        let _: Vec<bool> = futures::future::join_all(asked).await;
    }

    /// Logs the leader, whenever it changes.
    async fn log_leaders(&self) {
        let (mut leaders, mut before) = (self.consensus.leaders(), None);
        while let Ok((leader, term)) = leaders.other_than(before).await {
            self.readiness.leads(leader == Some(self.place.replica));
            match leader {
                Some(leader) if leader == self.place.replica => {
                    tracing::info!(group = %self.place.group, term, "this replica leads");
                }
                Some(leader) => {
                    tracing::info!(group = %self.place.group, term, %leader, "following a leader");
                }
                None => tracing::info!(group = %self.place.group, term, "no leader"),
            }
            before = leader;
        }
    }
}
