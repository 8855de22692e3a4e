//! Much data and many sessions: nothing hits a message limit, nothing grows without bound.

use std::collections::HashSet;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use skv_client::Clerk;
use skv_listen::Shares;
use skv_process::{Cluster, Settings, eventually, first_append, first_request_of, http_get, open_session};
use skv_proto::Error;
use skv_proto::v1::kv_client::KvClient;
use skv_proto::v1::operation::Operation as Op;
use skv_proto::v1::{
    AppendResponse, GetRequest, GetShardMapRequest, OpenSessionRequest, Operation, PipelineRequest,
    PutRequest, SessionId, answer,
};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

const MIB: usize = 1 << 20;

/// Returns a value of 1 MiB that differs from key to key.
fn big_value(key: usize) -> Vec<u8> {
    (0..MIB).map(|byte| (byte * 31 + key * 7919) as u8).collect()
}

async fn all_big_values_are_there(clerk: &Clerk, keys: usize) {
    for key in 0..keys {
        let got = clerk.get(format!("big-{key}")).await.expect("it can be read");
        assert!(got.value == big_value(key), "big-{key} has another value");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_values_of_a_mebibyte_in_one_shard() {
    const KEYS: usize = 64;
    let settings = Settings { shards: 1, server_flags: Vec::new(), ..Settings::default() };
    let mut cluster = Cluster::start(settings.server_flag("--snapshot-log-bytes", 16 * MIB)).await;
    let clerk = cluster.clerk();
    stream::iter(0..KEYS)
        .map(|key| {
            let clerk = clerk.clone();
            async move { clerk.put(format!("big-{key}"), big_value(key)).await }
        })
        .buffer_unordered(8)
        .try_collect::<Vec<_>>()
        .await
        .expect("every put is answered");
    all_big_values_are_there(&clerk, KEYS).await;

    // A new replica gets all of it as a snapshot, and can lead with it.
    let old = cluster.servers[0].ready().await.replica;
    cluster.servers[0].process.kill();
    for server in &cluster.servers[1..] {
        server.take_snapshot().await;
    }
    cluster.servers[0].wipe();
    cluster.servers[0].process.start();
    let new = cluster.servers[0].ready().await;
    assert!(new.replica != old && new.snapshot.is_some(), "{new:?}");
    assert_eq!(new.keys, KEYS as u64);
    // For a moment both vote, and the group needs a majority with the old one too.
    eventually("the old replica votes no more", || async {
        (!cluster.voters(0).await.contains(&old)).then_some(())
    })
    .await;
    cluster.servers[1].process.kill();
    all_big_values_are_there(&clerk, KEYS).await;

    // A server that starts from its own files has all of it, too.
    cluster.kill_all();
    cluster.manager.start();
    cluster.start_servers();
    cluster.ready().await;
    all_big_values_are_there(&clerk, KEYS).await;
}

/// Returns the number of these connections that the other side has closed.
fn closed(connections: &[TcpStream]) -> usize {
    let is_closed = |connection: &&TcpStream| match connection.try_read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    };
    connections.iter().filter(is_closed).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_take_no_file_from_the_log_and_no_answer_from_probes() {
    const FILES: u32 = 256;
    const IDLE: usize = 400;
    let mut cluster = Cluster::start(Settings::default()).await;
    for server in &mut cluster.servers {
        server.process.kill();
        server.process.limit_files(FILES);
        server.process.start();
    }
    cluster.ready().await;
    let clerk = cluster.clerk();
    clerk.put("before", "x").await.expect("a put");
    let leader = cluster.leader(0).await;
    let server = &cluster.servers[leader];

    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(TcpStream::connect(&server.client_address).await.expect("the operating system connects"));
    }
    let most = Shares::of(FILES.into(), skv_listen::MOST_CONNECTIONS).users;
    eventually("connections beyond the limit are closed", || async {
        (closed(&idle) >= IDLE - most).then_some(())
    })
    .await;
    // These fill several segments of the log, and a snapshot.
    for key in 0..24 {
        clerk.put(format!("big-{key}"), big_value(key)).await.expect("a put");
    }
    server.take_snapshot().await;
    all_big_values_are_there(&clerk, 24).await;
    let (code, _) = http_get(&server.http_address, "/livez").await.expect("the probe is answered");
    assert_eq!(code, 200);
    let refused = server.metric("skv_connections_refused_total{listener=\"client\"}").await;
    assert!(refused.is_some_and(|refused| refused >= (IDLE - most) as f64), "{refused:?}");
    let open = server.metric("skv_connections{listener=\"client\"}").await;
    assert!(open.is_some_and(|open| open <= most as f64), "{open:?}");

    drop(idle);
    eventually("new connections are taken", || async {
        let mut kv = KvClient::connect(format!("http://{}", server.client_address)).await.ok()?;
        kv.get_shard_map(GetShardMapRequest {}).await.ok()
    })
    .await;
    assert!(cluster.servers.iter_mut().all(|server| server.process.is_running()));
}

/// Returns milliseconds since 1970, as sessions are dated.
#[expect(clippy::disallowed_methods, reason = "session ids are dated by the real clock of real servers")]
fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("it is after 1970").as_millis() as u64
}

async fn append(kv: &mut KvClient<Channel>, session: SessionId) -> Result<AppendResponse, tonic::Status> {
    first_append(kv, session, "once", "x").await
}

/// Makes one put for each of these sessions; returns the number that had expired, and the others that were
/// refused because of overload, or because the leadership changed.
async fn puts_of_sessions(kv: &mut KvClient<Channel>, sessions: Vec<u64>) -> (u64, Vec<u64>) {
    const PER_MESSAGE: usize = 64;
    let count = sessions.len();
    let (requests, receiver) = mpsc::channel(4);
    let mut answers = kv.pipeline(ReceiverStream::new(receiver)).await.expect("a stream").into_inner();
    tokio::spawn(async move {
        for sessions in sessions.chunks(PER_MESSAGE) {
            let operations = sessions.iter().map(|&number| Operation {
                id: number,
                operation: Some(Op::Put(PutRequest {
                    key: format!("k{}", number % 100).into_bytes().into(),
                    value: b"v".to_vec().into(),
                    id: Some(first_request_of(SessionId { opened_at: now_ms(), random: number + 1 })),
                    ..PutRequest::default()
                })),
            });
            let message = PipelineRequest { operations: operations.collect() };
            requests.send(message).await.expect("the stream takes requests");
        }
    });
    let (mut seen, mut expired, mut refused) = (HashSet::new(), 0, Vec::new());
    while seen.len() < count {
        for answer in answers.message().await.expect("the stream lives").expect("it goes on").answers {
            assert!(seen.insert(answer.id), "{} is answered twice", answer.id);
            let Some(answer::Answer::Error(error)) = answer.answer else { continue };
            match Error::from(error) {
                Error::SessionExpired { .. } => expired += 1,
                Error::Overloaded(_)
                | Error::NotLeader { .. }
                | Error::Unavailable(_)
                | Error::OutcomeUnknown(_) => refused.push(answer.id),
                other => panic!("{other}"),
            }
        }
    }
    (expired, refused)
}

async fn client_of_leader(cluster: &Cluster) -> KvClient<Channel> {
    let leader = cluster.leader(0).await;
    let address = format!("http://{}", cluster.servers[leader].client_address);
    KvClient::connect(address).await.expect("the server listens")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_sessions_stay_within_the_bound() {
    const SESSIONS: u64 = 100_000;
    const BOUND: u64 = 16_384;
    let cluster = Cluster::start(Settings { shards: 1, ..Settings::default() }).await;
    let mut kv = client_of_leader(&cluster).await;
    let first = open_session(&mut kv).await;
    append(&mut kv, first).await.expect("it is appended");

    let (mut expired, mut fruitless, mut sessions) = (0, 0, (0..SESSIONS).collect::<Vec<_>>());
    while !sessions.is_empty() {
        let sent = sessions.len();
        let (more, refused) = puts_of_sessions(&mut kv, sessions).await;
        if refused.len() == sent {
            fruitless += 1;
            assert!(fruitless < 100, "the group takes no session at all");
            kv = client_of_leader(&cluster).await;
        }
        expired += more;
        sessions = refused;
    }
    assert!(expired < SESSIONS / 10, "{expired} sessions had expired");
    let after = OpenSessionRequest { after: now_ms() };
    let last = kv.open_session(after).await.expect("a session").into_inner().session.expect("it has an id");
    let answer = append(&mut kv, last).await.expect("it is appended");
    assert_eq!(append(&mut kv, last).await.expect("it was appended"), answer, "a duplicate isn't applied");

    // The first session is long forgotten. Its late duplicate must not be applied again.
    let late = append(&mut kv, first).await.expect_err("the session has expired");
    assert!(matches!(Error::from_status(&late), Some(Error::SessionExpired { .. })), "{late:?}");
    let get = GetRequest { key: b"once".to_vec().into(), ..GetRequest::default() };
    assert_eq!(kv.get(get).await.expect("it is read").into_inner().value, "xx");
    for server in &cluster.servers {
        let what = format!("{} has applied everything", server.name);
        let replica = eventually(&what, || async {
            server.replica().await.filter(|replica| replica.ready && replica.keys == 101)
        })
        .await;
        assert!(replica.sessions <= BOUND, "{} holds {} sessions", server.name, replica.sessions);
    }
}
