//! The sending of a snapshot, for as long as that takes: nobody knows its size in advance, nor the
//! speed of the follower's disk.
//!
//! So nothing limits the whole. The follower reports again and again the progress of its work before
//! the answer: making the bytes durable, checking them, installing them. It is given up when it made
//! no progress for a while. A transfer that was interrupted, also by the restart of either, goes on with
//! the byte after the last one that the follower has.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use skv_proto::v1;
use skv_proto::v1::install_snapshot_request::{Message as Part, Start};
use skv_proto::v1::install_snapshot_response::Result as Answer;
use skv_proto::v1::raft_client::RaftClient;
use skv_snapshot::SnapshotFile;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::receiving::Transfer;

/// The time without progress after which a follower is given up.
const STALL: Duration = Duration::from_secs(10);
/// The time in which a follower finds out how much it has: it may have to read all of that.
const LOOK: Duration = Duration::from_mins(1);

/// A snapshot that didn't arrive.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransferError {
    /// The follower refused it, or can't be reached.
    #[error("sending the snapshot: {0}")]
    Refused(#[from] Status),
    /// The follower ended the call without an answer.
    #[error("the follower stopped receiving the snapshot")]
    Closed,
    /// The follower hangs, or its disk does.
    #[error("the follower did nothing for the snapshot for {STALL:?}, after {0} bytes of work")]
    Stalled(u64),
    /// Our own disk failed.
    #[error("reading the snapshot: {0}")]
    Unreadable(String),
}

impl TransferError {
    /// Returns true if the follower may have a part of the snapshot: the same one is sent again then.
    pub(super) fn may_go_on(&self) -> bool {
        match self {
            TransferError::Closed | TransferError::Stalled(_) => true,
            TransferError::Refused(status) => !matches!(
                status.code(),
                Code::InvalidArgument | Code::FailedPrecondition | Code::ResourceExhausted
            ),
            TransferError::Unreadable(_) => false,
        }
    }
}

/// Sends a snapshot, or the part of it that the follower hasn't got, and waits until it is installed.
/// Returns the follower's vote.
pub(super) async fn send(
    mut client: RaftClient<Channel>,
    start: Start,
    snapshot: &SnapshotFile,
    transfer: &Transfer,
) -> Result<v1::RaftVote, TransferError> {
    let offset = held(&mut client, &start, transfer).await;
    let start = Start { offset, ..start };
    let (failed_tx, failed) = oneshot::channel();
    let mut failed_tx = Some(failed_tx);
    let chunks = snapshot.chunks(offset).scan((), move |(), chunk| {
        let chunk = chunk
            .inspect_err(|error| {
                if let Some(tx) = failed_tx.take() {
                    let _ = tx.send(error.to_string());
                }
            })
            .ok();
        async move { chunk }
    });
    let parts = stream::once(async { Part::Start(start) })
        .chain(chunks.map(Part::Chunk))
        .map(|part| v1::InstallSnapshotRequest { message: Some(part) });
    tokio::select! {
        installed = installed(client, parts, transfer) => installed,
        Ok(error) = failed => Err(TransferError::Unreadable(error)),
    }
}

/// Returns the bytes that the follower has already. One that doesn't say so has none.
async fn held(client: &mut RaftClient<Channel>, start: &Start, transfer: &Transfer) -> u64 {
    let request = v1::HeldSnapshotRequest {
        header: start.header,
        vote: start.vote,
        last_log_id: start.last_log_id,
        length: start.length,
        checksum: start.checksum,
    };
    let answer = timeout(LOOK, client.held_snapshot(request)).await;
    transfer.lives();
    let bytes = match answer {
        Ok(Ok(answer)) => answer.into_inner().bytes.min(start.length),
        // It is of a version that doesn't keep any, or can't be reached, as will be seen.
        Ok(Err(_)) | Err(_) => 0,
    };
    if bytes > 0 {
        tracing::info!(bytes, of = start.length, "an interrupted snapshot goes on");
    }
    bytes
}

async fn installed(
    mut client: RaftClient<Channel>,
    parts: impl futures::Stream<Item = v1::InstallSnapshotRequest> + Send + 'static,
    transfer: &Transfer,
) -> Result<v1::RaftVote, TransferError> {
    let opened = timeout(STALL, client.install_snapshot(parts)).await;
    let mut answers = opened.map_err(|_| TransferError::Stalled(0))??.into_inner();
    let (mut done, mut got_on) = (0, Instant::now());
    loop {
        let answer = timeout_at(got_on + STALL, answers.message()).await;
        match answer.map_err(|_| TransferError::Stalled(done))??.and_then(|answer| answer.result) {
            Some(Answer::Vote(vote)) => return Ok(vote),
            Some(Answer::Progress(progress)) if progress.bytes > done => {
                (done, got_on) = (progress.bytes, Instant::now());
                transfer.gets_on();
            }
            Some(Answer::Progress(_)) => {}
            None => return Err(TransferError::Closed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::future;
    use futures::stream::BoxStream;
    use openraft::errors::{ReplicationClosed, StreamingError};
    use openraft::network::{RPCOption, RaftNetworkFactory as _, RaftNetworkV2 as _};
    use openraft::raft::SnapshotResponse;
    use openraft::storage::Snapshot;
    use openraft::vote::RaftLeaderId as _;
    use parking_lot::Mutex;
    use skv_proto::v1::raft_server::{self, RaftServer};
    use skv_sharding::{ClusterId, GroupId, GroupUid, Incarnation, ReplicaId};
    use tokio::time::sleep;
    use tonic::{Request, Response, Streaming};

    use super::*;
    use crate::full_peers::FullPeers;
    use crate::header::Place;
    use crate::peer::NetworkFactory;
    use crate::receiving::Receiving;
    use crate::types::{LeaderId, ServerName, SnapshotMeta, TypeConfig, Vote};
    use crate::wire::Wire as _;
    use skv_disk::{Disk, MemoryDisk};
    use skv_net::{Addresses, NamedServer, ServerAddresses};
    use skv_snapshot::SnapshotDir;
    use skv_store::Store;

    const FOLLOWER: ReplicaId = ReplicaId(2);
    /// A time that is longer than any allowed standstill.
    const LONG: Duration = Duration::from_mins(10);

    type Answers = BoxStream<'static, Answer>;

    /// A follower that answers a snapshot in its own way.
    struct Follower {
        answers: Mutex<Option<Answers>>,
        /// The bytes that it has of each snapshot.
        held: u64,
        /// The offset at which the snapshot went on, and the bytes of it that came.
        came: Arc<Mutex<(u64, usize)>>,
    }

    #[tonic::async_trait]
    impl raft_server::Raft for Follower {
        type AppendEntriesStream = BoxStream<'static, Result<v1::AppendEntriesResponse, Status>>;
        type InstallSnapshotStream = BoxStream<'static, Result<v1::InstallSnapshotResponse, Status>>;

        async fn append_entries(
            &self,
            _request: Request<Streaming<v1::AppendEntriesRequest>>,
        ) -> Result<Response<Self::AppendEntriesStream>, Status> {
            Err(Status::unimplemented("only snapshots"))
        }

        async fn vote(
            &self,
            _request: Request<v1::VoteRequest>,
        ) -> Result<Response<v1::VoteResponse>, Status> {
            Err(Status::unimplemented("only snapshots"))
        }

        async fn transfer_leadership(
            &self,
            _request: Request<v1::TransferLeadershipRequest>,
        ) -> Result<Response<v1::TransferLeadershipResponse>, Status> {
            Err(Status::unimplemented("only snapshots"))
        }

        async fn tell_reversion(
            &self,
            _request: Request<v1::TellReversionRequest>,
        ) -> Result<Response<v1::TellReversionResponse>, Status> {
            Err(Status::unimplemented("only snapshots"))
        }

        async fn held_snapshot(
            &self,
            _request: Request<v1::HeldSnapshotRequest>,
        ) -> Result<Response<v1::HeldSnapshotResponse>, Status> {
            Ok(Response::new(v1::HeldSnapshotResponse { bytes: self.held }))
        }

        async fn install_snapshot(
            &self,
            request: Request<Streaming<v1::InstallSnapshotRequest>>,
        ) -> Result<Response<Self::InstallSnapshotStream>, Status> {
            let mut parts = request.into_inner();
            let came = self.came.clone();
            tokio::spawn(async move {
                while let Ok(Some(part)) = parts.message().await {
                    match part.message {
                        Some(Part::Start(start)) => came.lock().0 = start.offset,
                        Some(Part::Chunk(chunk)) => came.lock().1 += chunk.len(),
                        None => {}
                    }
                }
            });
            let answers = self.answers.lock().take().ok_or_else(|| Status::unavailable("answered before"))?;
            let answers = answers.map(|answer| Ok(v1::InstallSnapshotResponse { result: Some(answer) }));
            Ok(Response::new(answers.boxed()))
        }
    }

    fn progress(bytes: u64) -> Answer {
        Answer::Progress(v1::install_snapshot_response::Progress { bytes })
    }

    fn vote() -> Vote {
        Vote { leader_id: LeaderId::new(1, ReplicaId(1)), committed: true }
    }

    /// Makes connections of a leader to a follower that answers like this, through memory.
    fn leader_of(answers: impl futures::Stream<Item = Answer> + Send + 'static) -> NetworkFactory {
        let answers = Mutex::new(Some(answers.boxed()));
        leader(Follower { answers, held: 0, came: Arc::default() })
    }

    /// Makes connections of a leader to this follower.
    fn leader(follower: Follower) -> NetworkFactory {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let incoming = stream::iter([Ok::<_, std::io::Error>(theirs)]).chain(stream::pending());
        tokio::spawn(skv_net::server().add_service(RaftServer::new(follower)).serve_with_incoming(incoming));
        let ours = Arc::new(Mutex::new(Some(ours)));
        let connector = skv_net::connector(move |_: String| {
            let ours = ours.lock().take().ok_or_else(|| std::io::Error::other("connected before"));
            future::ready(ours)
        });
        let place = Place {
            cluster: ClusterId(1),
            group: GroupId(0),
            uid: GroupUid(2),
            incarnation: Incarnation(0),
            replica: ReplicaId(1),
        };
        let at = || "follower:1".to_owned();
        let addresses = ServerAddresses { client: at(), peer: at() };
        let addresses = Addresses::fixed([NamedServer { name: "follower".to_owned(), addresses }]);
        let (addresses, dial) = (Arc::new(addresses), skv_net::dial(connector));
        NetworkFactory::new(place, addresses, dial, FullPeers::default(), Receiving::default())
    }

    async fn send(
        leader: &mut NetworkFactory,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let dir = Arc::new(SnapshotDir::open(disk, "/".into()).unwrap());
        let empty = Store::new(0).view().into_items();
        let snapshot = dir.write(v1::SnapshotHeader::default(), empty).await.unwrap();
        let snapshot = Snapshot { meta: SnapshotMeta::default(), snapshot };
        let mut network = leader.new_client(FOLLOWER, &ServerName("follower".to_owned())).await;
        network.full_snapshot(vote(), snapshot, cancel, RPCOption::new(Duration::ZERO)).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_may_take_any_time_while_the_follower_gets_on() {
        let slow = stream::iter(1..=100).then(|bytes| async move {
            sleep(STALL * 9 / 10).await;
            progress(bytes)
        });
        let installed = stream::iter([Answer::Vote(vote().to_wire())]);
        let mut leader = leader_of(slow.chain(installed));
        let receiving = leader.receiving().clone();
        let send = send(&mut leader, future::pending());
        tokio::pin!(send);
        // The test waits much longer than a transfer may stand still.
        assert!(timeout(STALL * 50, &mut send).await.is_err());
        assert!(receiving.since(FOLLOWER).is_some_and(|got_on| got_on < STALL));
        assert_eq!(send.await.unwrap().vote, vote());
        assert_eq!(receiving.since(FOLLOWER), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_follower_that_stands_still_is_given_up() {
        let silent = stream::iter([progress(1)]).chain(stream::pending());
        let repeating = stream::iter([(); 1000]).then(|()| async {
            sleep(Duration::from_secs(1)).await;
            progress(1)
        });
        for answers in [silent.boxed(), repeating.boxed(), stream::pending().boxed()] {
            let mut leader = leader_of(answers);
            let sent = timeout(LONG, send(&mut leader, future::pending())).await;
            let error = sent.expect("it isn't waited for").unwrap_err();
            assert!(error.to_string().contains("did nothing for the snapshot"), "{error}");
            assert_eq!(leader.receiving().since(FOLLOWER), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_interrupted_transfer_goes_on_where_it_was() {
        const HELD: u64 = 20;
        let (ends, came) = (stream::iter([progress(1)]).boxed(), Arc::default());
        let follower = Follower { answers: Mutex::new(Some(ends)), held: HELD, came: Arc::clone(&came) };
        let mut leader = leader(follower);
        assert!(send(&mut leader, future::pending()).await.is_err(), "it ended the call");
        let again = leader.receiving().again().expect("the same snapshot is sent again");
        tokio::time::timeout(LONG, async {
            while came.lock().1 == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .unwrap();
        assert_eq!(*came.lock(), (HELD, (again.length() - HELD) as usize));
        sleep(LONG).await;
        assert!(leader.receiving().again().is_none(), "the newest one is sent by now");
    }

    #[tokio::test(start_paused = true)]
    async fn a_transfer_ends_when_nobody_wants_it_any_more() {
        let gets_on = stream::iter(1..).then(|bytes| async move {
            sleep(Duration::from_secs(1)).await;
            progress(bytes)
        });
        let cancel = async {
            sleep(Duration::from_mins(1)).await;
            ReplicationClosed::new("another leader")
        };
        let sent = timeout(LONG, send(&mut leader_of(gets_on), cancel)).await.expect("it is waited for");
        assert!(matches!(sent, Err(StreamingError::Closed(_))), "{sent:?}");
    }
}
