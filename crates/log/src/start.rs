//! The start of a log that was read: its state, its handles, its tasks.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use skv_disk::Disk;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::batch::Batch;
use crate::error::{Failure, OpenError};
use crate::gate::Gate;
use crate::housekeeper::{Chore, Housekeeper};
use crate::reader::{self, LogReader};
use crate::record::Position;
use crate::recovery::Recovery;
use crate::space::Space;
use crate::writer::Writer;
use crate::written::OnWritten;
use crate::{Finished, Log, Recovered, Shared, State};

/// Hands out the log, and writes it until its last handle is gone.
pub(super) async fn start(
    disk: Arc<dyn Disk>,
    dir: &Path,
    recovery: Recovery,
    on_written: OnWritten,
    opened: oneshot::Sender<Result<(Log, Recovered), OpenError>>,
) {
    let Recovery { vote_file, index, committed, segments, active, prepared, torn } = recovery;
    let (replica, sectors) = (active.segment.replica, active.segment.sectors);
    let failure = Failure::default();
    let close = CancellationToken::new();
    let (chores, chores_todo) = mpsc::unbounded_channel();
    if prepared.is_none() {
        let _ = chores.send(Chore::Prepare(active.segment.number + 1));
    }
    let space = Space::new(active.room(), sectors, prepared, failure.clone(), close.clone());
    let position = Position { purged: index.purged(), last: index.last(), committed };
    let files = segments.iter().map(|s| &s.segment).chain([&active.segment]);
    let segments_by_number = files.map(|s| (s.number, s.clone())).collect();
    let state = Mutex::new(State { index, segments: segments_by_number, vote: vote_file.vote(), committed });
    let shared = Arc::new(Shared { state, space: space.clone(), failure: failure.clone() });

    let (finished, running) = watch::channel(());
    let gate = Arc::new(Gate::new(disk.clone()));
    let housekeeper = Housekeeper {
        disk: gate.clone(),
        dir: dir.to_owned(),
        replica,
        sectors,
        space,
        failure,
        chores: chores_todo,
    };
    let keeping = running.clone();
    let keep_house = async move {
        housekeeper.run().await;
        drop(keeping);
    };
    disk.spawn("log-housekeeper", Box::pin(keep_house));
    let (requests, requests_todo) = mpsc::unbounded_channel();
    disk.spawn("log-read", Box::pin(reader::serve(requests_todo)));

    let (ops, ops_todo) = mpsc::unbounded_channel();
    let log = Log {
        ops,
        reader: LogReader { shared: shared.clone(), requests },
        finished: Finished { tasks: Arc::new(finished), gate },
        _close: Arc::new(close.drop_guard()),
    };
    let writer = Writer {
        shared,
        vote_file,
        older: segments,
        active,
        position,
        chores,
        batch: Batch::new(),
        placed: Vec::new(),
        waiting: Vec::new(),
        appends: 0,
        on_written,
    };
    if opened.send(Ok((log, Recovered { replica, torn }))).is_ok() {
        writer.run(ops_todo).await;
    }
    drop(running);
}
