//! A snapshot that arrives from the leader: writing it, installing it, and reporting the progress.
//!
//! The leader waits for as long as it hears of progress. An installation that stands still reports
//! nothing: only the bytes tell a slow disk from one that hangs.

use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, Stream, stream};
use skv_memory::Charge;
use skv_proto::v1::install_snapshot_request::Message;
use skv_proto::v1::install_snapshot_response::{Progress as Report, Result as Answer};
use skv_proto::{Error, v1};
use skv_raft::state_machine::meta_of;
use skv_raft::types::{SnapshotMeta, Vote};
use skv_raft::wire::Wire as _;
use skv_snapshot::{Progress, SnapshotFile, Spool, SpoolError};
use tonic::{Status, Streaming};

use crate::memory::MemoryGate;

/// The interval at which progress is reported to the leader, which gives up after several times that.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Takes a snapshot and installs it; the last answer reports the end. Its room in memory is `reserved`
/// until then.
pub(super) fn receive(
    memory: MemoryGate,
    reserved: Charge,
    leader: Vote,
    meta: SnapshotMeta,
    messages: Streaming<v1::InstallSnapshotRequest>,
    spool: Spool,
) -> impl Stream<Item = Result<v1::InstallSnapshotResponse, Status>> + Send {
    let progress = spool.progress();
    let installed = async move {
        let snapshot = spooled(messages, spool).await?;
        if meta_of(&snapshot).as_ref() != Ok(&meta) {
            return Err(Error::InvalidArgument("the snapshot isn't the one that was announced".into()).into());
        }
        // Other data may have grown while it came.
        let bytes = snapshot.header().memory_bytes.max(snapshot.length());
        if !memory.can_hold(bytes) {
            return Err(Error::MemoryFull(format!("the snapshot takes {bytes} bytes")).into());
        }
        let vote = memory.consensus.install(leader, meta, snapshot).await;
        drop(reserved);
        Ok(vote.map_err(|error| Error::Unavailable(error.to_string()))?.to_wire())
    };
    reported(installed.boxed(), progress)
}

async fn spooled(
    mut messages: Streaming<v1::InstallSnapshotRequest>,
    mut spool: Spool,
) -> Result<SnapshotFile, Status> {
    let failed =
        |error: SpoolError| Status::from(Error::Unavailable(format!("the snapshot can't be taken: {error}")));
    while let Some(message) = messages.message().await? {
        let Some(Message::Chunk(chunk)) = message.message else {
            return Err(Error::InvalidArgument("expected a chunk of the snapshot".into()).into());
        };
        spool.write(chunk).await.map_err(failed)?;
    }
    spool.finish().await.map_err(failed)
}

/// Returns the answers during some work: its progress whenever there was some, then its end.
fn reported(
    work: BoxFuture<'static, Result<v1::RaftVote, Status>>,
    progress: Progress,
) -> impl Stream<Item = Result<v1::InstallSnapshotResponse, Status>> + Send {
    let answer = |result| v1::InstallSnapshotResponse { result: Some(result) };
    stream::unfold(Some((work, 0)), move |state| {
        let progress = progress.clone();
        async move {
            let (mut work, told) = state?;
            tokio::select! {
                ended = &mut work => Some((ended.map(|vote| answer(Answer::Vote(vote))), None)),
                bytes = more_than(told, &progress) => {
                    Some((Ok(answer(Answer::Progress(Report { bytes }))), Some((work, bytes))))
                }
            }
        }
    })
}

async fn more_than(told: u64, progress: &Progress) -> u64 {
    loop {
        tokio::time::sleep(REPORT_EVERY).await;
        let bytes = progress.bytes();
        if bytes > told {
            return bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use futures::StreamExt as _;
    use tokio::time::timeout;

    use super::*;
    use skv_disk::MemoryDisk;
    use skv_snapshot::SnapshotDir;

    /// The length of a snapshot, and the bytes of it that are durable after the first syncs.
    const LENGTH: usize = 1 << 20;
    const DURABLE: [u64; 2] = [256 << 10, 768 << 10];

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_gets_on_is_heard_of_and_one_that_hangs_is_not() {
        let disk = MemoryDisk::new();
        let dir = SnapshotDir::open(Arc::new(disk.clone()), "/".into()).unwrap();
        disk.hold_syncs();
        let mut spool = dir.spool(LENGTH as u64);
        let progress = spool.progress();
        spool.write(Bytes::from(vec![0; LENGTH])).await.unwrap();
        let work = async move {
            let error = spool.finish().await.expect_err("these bytes are no snapshot");
            Err(Status::data_loss(error.to_string()))
        };
        let mut answers = reported(work.boxed(), progress).boxed();
        let mut next = async || timeout(REPORT_EVERY * 100, answers.next()).await;

        assert!(next().await.is_err(), "nothing is durable yet");
        for bytes in DURABLE {
            disk.let_sync(1);
            let answer = next().await.unwrap().unwrap().unwrap();
            assert_eq!(answer.result, Some(Answer::Progress(Report { bytes })));
            assert!(next().await.is_err(), "the disk hangs again");
        }
        disk.let_sync(1);
        let end = next().await.unwrap().unwrap().unwrap_err();
        assert_eq!(end.code(), tonic::Code::DataLoss);
        assert!(next().await.unwrap().is_none());
    }
}
