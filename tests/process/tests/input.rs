//! Any input gets a clear, typed answer, and the server lives on.

use skv_process::{Cluster, Process, Settings, eventually, http_get, programs};
use skv_proto::v1::kv_client::KvClient;
use skv_proto::v1::raft_client::RaftClient;
use skv_proto::v1::{
    AppendEntriesRequest, AppendRequest, DeleteRequest, GetRequest, Operation, PeerHeader, PipelineRequest,
    PutRequest, Reason, RequestId, VersionRange, VoteRequest, answer, append_entries_request,
};
use skv_proto::{Error, v1};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

async fn kv(cluster: &Cluster, index: usize) -> KvClient<Channel> {
    let address = format!("http://{}", cluster.servers[index].client_address);
    let client = KvClient::connect(address).await.expect("the server listens");
    client.max_encoding_message_size(64 << 20).max_decoding_message_size(64 << 20)
}

fn put(key: &[u8], value: Vec<u8>) -> PutRequest {
    PutRequest { key: key.to_vec().into(), value: value.into(), ..PutRequest::default() }
}

fn get(key: &[u8]) -> GetRequest {
    GetRequest { key: key.to_vec().into(), ..GetRequest::default() }
}

/// Returns the typed error of a status, which must be one of ours.
#[track_caller]
fn typed(status: &Status) -> Error {
    Error::from_status(status).unwrap_or_else(|| panic!("not a typed error: {status:?}"))
}

#[track_caller]
fn assert_invalid<T: std::fmt::Debug>(answer: Result<T, Status>, word: &str) {
    let status = answer.expect_err("it is refused");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(matches!(typed(&status), Error::InvalidArgument(_)), "{status:?}");
    assert!(status.message().contains(word), "{:?} should speak of {word:?}", status.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_values_beyond_the_limits_are_refused() {
    let cluster = Cluster::start(Settings {
        manager_flags: vec!["--max-key-bytes=10".to_owned(), "--max-value-bytes=100".to_owned()],
        ..Settings::default()
    })
    .await;
    let mut kv = kv(&cluster, 0).await;
    let key = vec![b'k'; 10];
    assert!(kv.put(put(&key, vec![0xff; 100])).await.is_ok(), "the limits themselves are allowed");
    assert_eq!(kv.get(get(&key)).await.map(|answer| answer.into_inner().value.len()).ok(), Some(100));

    assert_invalid(kv.put(put(b"", vec![])).await, "empty");
    assert_invalid(kv.get(get(b"")).await, "empty");
    assert_invalid(kv.put(put(&[b'k'; 11], vec![])).await, "10");
    assert_invalid(kv.get(get(&[b'k'; 11])).await, "10");
    assert_invalid(kv.put(put(b"k", vec![0; 101])).await, "100");
    let append = AppendRequest { key: key.clone().into(), args: vec![1].into(), ..AppendRequest::default() };
    assert_invalid(kv.append(append).await, "100");
    assert_eq!(kv.get(get(&key)).await.map(|answer| answer.into_inner().value.len()).ok(), Some(100));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_integer_hash_only_decimal_keys_are_taken() {
    let cluster =
        Cluster::start(Settings { manager_flags: vec!["--hash=integer".to_owned()], ..Settings::default() })
            .await;
    let mut kv = kv(&cluster, 0).await;
    assert!(kv.put(put(b"-12345678901234567890", b"v".to_vec())).await.is_ok());
    assert_invalid(kv.put(put(b"twelve", vec![])).await, "decimal");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_server_answers_plain_requests_by_asking_its_leader() {
    let cluster = Cluster::start(Settings { groups: 2, ..Settings::default() }).await;
    for (index, server) in cluster.servers.iter().enumerate() {
        let mut kv = kv(&cluster, index).await;
        for key in ["a", "b", "c", "d"] {
            let value = server.name.clone().into_bytes();
            let stored = kv.put(put(key.as_bytes(), value.clone())).await.expect("it is stored").into_inner();
            assert!(stored.success);
            let got = kv.get(get(key.as_bytes())).await.expect("it is read").into_inner();
            assert_eq!((got.found, got.value.to_vec(), got.revision), (true, value, stored.revision));
        }
        let missing = kv.get(get(b"no such key")).await.expect("it is answered").into_inner();
        assert_eq!((missing.found, missing.value.len(), missing.revision), (false, 0, 0));
    }
    let mut kv = kv(&cluster, 0).await;
    let key = || b"a".to_vec().into();
    let failed = PutRequest { if_revision: Some(0), ..put(b"a", vec![]) };
    assert!(!kv.put(failed).await.expect("it is answered").into_inner().success);
    let append = AppendRequest { key: key(), args: b"!".to_vec().into(), ..AppendRequest::default() };
    let appended = kv.append(append).await.expect("it is answered").into_inner();
    assert_eq!((appended.found, appended.old_value.to_vec()), (true, b"g1-2".to_vec()));
    let delete = || DeleteRequest { key: key(), ..DeleteRequest::default() };
    assert!(kv.delete(delete()).await.expect("it is answered").into_inner().found);
    assert!(!kv.delete(delete()).await.expect("it is answered").into_inner().found);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_forbids_forwarding_is_told_who_leads() {
    let cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader(0).await;
    let follower = (leader + 1) % 3;
    let direct = GetRequest { direct: true, ..get(b"k") };
    let status = kv(&cluster, follower).await.get(direct).await.expect_err("a follower doesn't serve");
    match typed(&status) {
        Error::NotLeader { leader: Some(named), .. } => {
            assert_eq!(named.client_address, cluster.servers[leader].client_address);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_ids_that_make_no_sense_are_refused() {
    let cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader(0).await;
    let mut kv = kv(&cluster, leader).await;
    let opened = kv.open_session(v1::OpenSessionRequest { after: 0 }).await.expect("a session").into_inner();
    let session = opened.session;
    let with = |session, seq, acked_below| PutRequest {
        id: Some(RequestId { session, seq, acked_below }),
        ..put(b"k", b"v".to_vec())
    };
    assert_invalid(kv.put(with(None, 1, 1)).await, "session");
    let refused = kv.put(with(session, 1 + Error::WINDOW, 1)).await.expect_err("it is beyond the window");
    assert!(matches!(typed(&refused), Error::WindowExceeded { .. }), "{refused:?}");
    let first = kv.put(with(session, 1, 1)).await.expect("it is stored").into_inner();
    let again = kv.put(with(session, 1, 1)).await.expect("it was stored").into_inner();
    assert_eq!(first, again, "a duplicate gets the first answer");
    kv.put(with(session, 2, 2)).await.expect("it is stored");
    let stale = kv.put(with(session, 1, 1)).await.expect_err("it was acknowledged");
    assert!(matches!(typed(&stale), Error::StaleSequence { .. }), "{stale:?}");
    let future = session.map(|id| v1::SessionId { opened_at: id.opened_at + 600_000, ..id });
    let skewed = kv.put(with(future, 1, 1)).await.expect_err("it comes from the future");
    assert!(matches!(typed(&skewed), Error::ClockSkew { .. }), "{skewed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_answers_each_operation_also_one_that_says_nothing() {
    let cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader(0).await;
    let operation = |id, operation| Operation { id, operation };
    let operations = vec![
        operation(7, None),
        operation(8, Some(v1::operation::Operation::Put(put(b"", vec![])))),
        operation(9, Some(v1::operation::Operation::Put(put(b"k", b"v".to_vec())))),
    ];
    let requests = tokio_stream::iter([PipelineRequest { operations }]);
    let mut answers = kv(&cluster, leader).await.pipeline(requests).await.expect("a stream").into_inner();
    let mut reasons = std::collections::BTreeMap::new();
    while reasons.len() < 3 {
        for answer in answers.message().await.expect("the stream lives").expect("it goes on").answers {
            let reason = match answer.answer {
                Some(answer::Answer::Error(error)) => error.reason(),
                _ => Reason::Unspecified,
            };
            reasons.insert(answer.id, reason);
        }
    }
    let invalid = Reason::InvalidArgument;
    assert_eq!(
        reasons.into_iter().collect::<Vec<_>>(),
        [(7, invalid), (8, invalid), (9, Reason::Unspecified)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_any_port_hurts_nobody() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let server = &cluster.servers[0];
    let addresses =
        [&server.client_address, &server.peer_address, &server.http_address, &cluster.manager_address];
    for address in addresses {
        for garbage in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            &[0; 4096],
            &vec![0xff; 70_000],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrubbish",
        ] {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            // The server may hang up before all of it is written.
            let _ = stream.write_all(garbage).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    }
    let mut kv = kv(&cluster, 0).await;
    kv.put(put(b"k", b"v".to_vec())).await.expect("it still serves");
    assert!(cluster.servers[0].process.is_running() && cluster.manager.is_running());
    let log = cluster.servers[0].process.log();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_votes_of_strangers_are_refused() {
    let cluster = Cluster::start(Settings::default()).await;
    let replica = cluster.servers[0].ready().await;
    let versions = |min, max| Some(VersionRange { min, max });
    let right = PeerHeader {
        cluster_id: replica.cluster_id,
        group: replica.group,
        group_uid: replica.group_uid,
        incarnation: replica.incarnation,
        from: 1,
        to: replica.replica,
        versions: versions(1, 1),
        feature_level: 1,
    };
    let wrong = [
        (PeerHeader { cluster_id: 1, ..right }, Reason::WrongIdentity),
        (PeerHeader { group_uid: 1, ..right }, Reason::WrongIdentity),
        (PeerHeader { to: 1, ..right }, Reason::WrongIdentity),
        (PeerHeader { incarnation: 9, ..right }, Reason::WrongIdentity),
        (PeerHeader { versions: versions(98, 99), ..right }, Reason::UnsupportedVersion),
    ];
    let address = format!("http://{}", cluster.servers[0].peer_address);
    let mut raft = RaftClient::connect(address).await.expect("it listens");
    for (header, reason) in wrong {
        let hello = AppendEntriesRequest { message: Some(append_entries_request::Message::Hello(header)) };
        let refused = match raft.append_entries(tokio_stream::iter([hello])).await {
            Err(status) => status,
            Ok(stream) => stream.into_inner().message().await.expect_err("the stream is refused"),
        };
        assert_eq!(typed(&refused).reason(), reason, "{refused:?}");
        let vote = VoteRequest { header: Some(header), ..VoteRequest::default() };
        let refused = raft.vote(vote).await.expect_err("the vote is refused");
        assert_eq!(typed(&refused).reason(), reason, "{refused:?}");
    }
    let after = cluster.servers[0].ready().await;
    assert_eq!(after.term, replica.term, "nobody's term has moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_reflection_and_pages_are_there() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

    let cluster = Cluster::start(Settings::default()).await;
    let address = format!("http://{}", cluster.servers[0].client_address);
    let endpoint = Channel::from_shared(address).expect("it is an address");
    let channel = endpoint.connect().await.expect("it listens");
    let health = HealthClient::new(channel.clone());
    for service in ["", "shardedkv.v1.Kv"] {
        eventually("the service is healthy", || {
            let (mut health, service) = (health.clone(), service.to_owned());
            async move {
                let answer = health.check(HealthCheckRequest { service }).await.ok()?.into_inner();
                (answer.status() == ServingStatus::Serving).then_some(())
            }
        })
        .await;
    }
    let mut reflection = ServerReflectionClient::new(channel);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = reflection
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .expect("it is on")
        .into_inner();
    let answer = format!("{:?}", answers.message().await.expect("an answer"));
    for service in ["shardedkv.v1.Kv", "shardedkv.lab.v1.KvServer"] {
        assert!(answer.contains(service), "{answer}");
    }

    let pages = &cluster.servers[0].http_address;
    for page in ["/livez", "/readyz", "/metrics"] {
        let (status, _) = http_get(pages, page).await.expect("it listens");
        assert_eq!(status, 200, "{page}");
    }
}

#[tokio::test]
async fn unknown_flags_are_refused_by_every_program() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let programs = programs();
    for program in [&programs.kvserver, &programs.shardmanager, &programs.skv] {
        let log = directory.path().join("log");
        let mut process = Process::new(program, vec!["--nonsense".to_owned()], log);
        process.start();
        assert!(!process.wait().await.success(), "{}", program.display());
        assert!(process.log().contains("--nonsense"), "{}", process.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lacks_its_quorum_isn_t_ready_and_says_why() {
    let mut cluster = Cluster::start(Settings::default()).await;
    cluster.servers[1].process.kill();
    cluster.servers[2].process.kill();
    let pages = cluster.servers[0].http_address.clone();
    let text = eventually("it isn't ready", || async {
        http_get(&pages, "/readyz").await.filter(|(status, _)| *status == 503).map(|(_, text)| text)
    })
    .await;
    assert!(text.contains("leader"), "{text}");
    assert_eq!(http_get(&pages, "/livez").await.map(|(status, _)| status), Some(200), "but it is alive");
}
