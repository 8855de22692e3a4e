//! `clt`: one request, to the cluster or to one server, and its exit code.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use skv_client::{Clerk, Forwarder, Options, Reply};
use skv_proto::lab::v1::LocateRequest;
use skv_proto::lab::v1::locator_client::LocatorClient;
use skv_proto::v1::operation::Operation as Sent;
use skv_proto::{Error, v1};
use tokio::time::{Instant, sleep, timeout};

use crate::options::{Operation, Request, Target};
use crate::{Port, address, process};

/// The time after which a request without an answer has failed.
const DEADLINE: Duration = Duration::from_secs(9);
/// The time after which the program ends in any case: within 10 s.
const END: Duration = Duration::from_millis(9500);
/// The pause between two requests to one server.
const PAUSE: Duration = Duration::from_millis(50);
/// The time limit of a server for locating a key.
const LOCATING: Duration = Duration::from_secs(2);

/// The answer to a request.
enum Answer {
    /// The value of the key.
    Value(Bytes),
    /// There is no such key, or this server doesn't have it.
    NoSuchKey,
    /// The key has its new value.
    Written,
}

/// Runs `clt`.
pub fn clt(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Request::parse(arguments) {
        Ok(request) => process::run("clt", "warn", run(request)),
        Err(refused) => refused,
    }
}

async fn run(request: Request) -> anyhow::Result<ExitCode> {
    let answer = match request.target {
        Target::Cluster(master) => timeout(END, ask_cluster(master, request.key, request.operation)).await,
        Target::Server(port) => timeout(END, ask_server(port, request.key, request.operation)).await,
    };
    Ok(match answer.with_context(|| format!("no answer within {END:?}"))?? {
        Answer::Value(value) => {
            let mut out = io::stdout().lock();
            out.write_all(&value)?;
            out.write_all(b"\n")?;
            ExitCode::SUCCESS
        }
        Answer::NoSuchKey => ExitCode::from(2),
        Answer::Written => ExitCode::SUCCESS,
    })
}

/// Asks by the master's map, as any client of the store: exactly once, also while keys move.
async fn ask_cluster(master: Port, key: Bytes, operation: Operation) -> anyhow::Result<Answer> {
    let mut options = Options::manager([address(master)]);
    options.deadline = DEADLINE;
    let clerk = Clerk::connect(options)?;
    Ok(match operation {
        Operation::Get => {
            let answer = clerk.get(key).await?;
            if answer.found { Answer::Value(answer.value) } else { Answer::NoSuchKey }
        }
        Operation::Put(value) => {
            clerk.put(key, value).await?;
            Answer::Written
        }
    })
}

/// Asks the server at this port and no other. A request that was refused for now is repeated: the
/// server may be starting, or the key be on its way.
async fn ask_server(port: Port, key: Bytes, operation: Operation) -> anyhow::Result<Answer> {
    let (address, deadline) = (address(port), Instant::now() + DEADLINE);
    let server = Forwarder::new(skv_net::tcp(), DEADLINE);
    let request = direct(key.clone(), &operation);
    loop {
        let refused = match server.ask(&address, &request).await {
            Ok(Reply::Get(v1::GetResponse { found: true, value, .. })) => return Ok(Answer::Value(value)),
            Ok(Reply::Get(_)) => return Ok(Answer::NoSuchKey),
            Ok(Reply::Put(_)) => return Ok(Answer::Written),
            Ok(other) => bail!("{address} answered another question: {other:?}"),
            Err(refused) => refused,
        };
        match &refused {
            Error::WrongGroup { .. } if is_elsewhere(&address, &key).await => {
                return match operation {
                    Operation::Get => Ok(Answer::NoSuchKey),
                    Operation::Put(_) => bail!("{address} doesn't hold the key: {refused}"),
                };
            }
            Error::WrongGroup { .. }
            | Error::ShardMoving { .. }
            | Error::NotLeader { .. }
            | Error::Unavailable(_)
            | Error::Overloaded(_)
                if Instant::now() < deadline =>
            {
                sleep(PAUSE).await;
            }
            _ => return Err(refused).with_context(|| format!("asking {address}")),
        }
    }
}

fn direct(key: Bytes, operation: &Operation) -> Sent {
    match operation {
        Operation::Get => Sent::Get(v1::GetRequest { key, direct: true, ..v1::GetRequest::default() }),
        Operation::Put(value) => {
            let value = value.clone();
            Sent::Put(v1::PutRequest { key, value, direct: true, ..v1::PutRequest::default() })
        }
    }
}

/// Returns true if a key that a server doesn't have is at another one, and not on its way. Without
/// the master, whom the server asks, the server's word counts.
async fn is_elsewhere(address: &str, key: &Bytes) -> bool {
    let locate = async {
        let channel = skv_net::dial(skv_net::tcp())(address).ok()?;
        let located = LocatorClient::new(channel).locate(LocateRequest { key: key.clone() }).await.ok()?;
        Some(located.into_inner().settled)
    };
    timeout(LOCATING, locate).await.ok().flatten().unwrap_or(true)
}
