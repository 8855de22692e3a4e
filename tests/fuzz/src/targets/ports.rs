//! Everything that is sent to the ports: calls of every method with any messages, and connections that carry any
//! bytes.

use std::time::Duration;

use anyhow::Context as _;
use bytes::{Buf as _, BufMut as _, Bytes};
use futures::stream::{self, StreamExt as _};
use prost_reflect::MessageDescriptor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::world::World;
use crate::draw::Draw;
use crate::message::Messages;
use crate::raw;
use crate::trial::shown;

/// The time after which a caller gives up: some answers are streams without an end.
const PATIENCE: Duration = Duration::from_millis(250);
/// The time for which a connection stays after what it sent.
const LINGER: Duration = Duration::from_millis(20);
/// The most messages of one stream.
const STREAM: usize = 4;
/// The requests of a connection that is no call.
const CONNECTIONS: [&[u8]; 4] = [
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x04\x08\0\0\0\0\0\0\0\x10\0",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\xff\xff\xff\xff\0\0\x08\x01\x05\0\0\0\x01\x82\x84\x87\xbe\x41\x00\x83\x40\0\0\x05\0\x01\0\0\0\x01\xff\xff\xff\xff\xff",
    b"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: text/plain;q=9\r\n\r\n",
    b"",
];

/// The methods that every port has beside ours, and one that none has. They are sent a text, or any bytes.
const OTHERS: [&str; 5] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/shardedkv.v1.Kv/Nothing",
];

/// A port of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    Client,
    Peer,
    Manager,
    /// Servers pass these calls on to a manager, which serves them too.
    ClientOrManager,
}

/// A method of a service.
pub(super) struct Method {
    path: String,
    input: MessageDescriptor,
    is_stream: bool,
    port: Port,
}

/// Returns all methods, but those of which a name is given here.
pub(super) fn methods(messages: &Messages, without: &[&str]) -> Vec<Method> {
    let services = messages.pool().services();
    let methods = services.flat_map(|service| service.methods().collect::<Vec<_>>());
    methods
        .map(|method| {
            let service = method.parent_service().full_name().to_owned();
            let port = match service.rsplit('.').next() {
                Some("Kv" | "KvServer") => Port::Client,
                Some("Raft" | "Handoff" | "Admin") => Port::Peer,
                Some("Locator") => Port::ClientOrManager,
                _ => Port::Manager,
            };
            let path = format!("/{service}/{}", method.name());
            Method { path, input: method.input(), is_stream: method.is_client_streaming(), port }
        })
        .filter(|method| !without.iter().any(|name| method.path.contains(name)))
        .collect()
}

/// The things that may be sent.
pub(super) struct Inputs {
    pub(super) messages: Messages,
    pub(super) methods: Vec<Method>,
    /// Calls that wouldn't be drawn.
    pub(super) prepared: Vec<Sent>,
}

/// Something that is sent.
#[derive(Clone)]
pub(super) enum Sent {
    Call { address: String, path: String, messages: Vec<Bytes> },
    Connection { address: String, bytes: Vec<u8> },
}

impl Inputs {
    /// Draws a call, or a connection.
    pub(super) fn draw(&self, draw: &mut Draw, world: &World) -> anyhow::Result<Sent> {
        match draw.below(100) {
            0..8 => Self::connection(draw, world),
            8..11 => Ok(other(draw, world)),
            11..16 if !self.prepared.is_empty() => {
                Ok(draw.pick(&self.prepared).context("there are some")?.clone())
            }
            _ => self.call(draw, world),
        }
    }

    fn call(&self, draw: &mut Draw, world: &World) -> anyhow::Result<Sent> {
        let method = draw.pick(&self.methods).context("there are methods")?;
        let group = draw.below(2);
        let address = match method.port {
            Port::Client => world.client(group),
            Port::Peer => world.peer(group),
            Port::ClientOrManager if group == 1 => world.client(group),
            Port::Manager | Port::ClientOrManager => &world.manager,
        };
        let count = if method.is_stream { 1 + draw.below(STREAM) } else { 1 };
        let messages = (0..count).map(|_| self.messages.bytes(draw, &method.input).into()).collect();
        Ok(Sent::Call { address: address.to_owned(), path: method.path.clone(), messages })
    }

    fn connection(draw: &mut Draw, world: &World) -> anyhow::Result<Sent> {
        let ports = world.ports();
        let address = draw.pick(&ports).context("there are ports")?.clone();
        let mut bytes = draw.pick(&CONNECTIONS).copied().unwrap_or_default().to_vec();
        raw::change(draw, &mut bytes);
        Ok(Sent::Connection { address, bytes })
    }
}

/// Draws a call of a method that isn't one of ours.
fn other(draw: &mut Draw, world: &World) -> Sent {
    let group = draw.below(2);
    let addresses = [world.client(group), world.peer(group), &world.manager];
    let address = addresses[draw.below(addresses.len())].to_owned();
    let path = draw.pick(&OTHERS).copied().unwrap_or_default().to_owned();
    let mut bytes = Vec::new();
    prost::encoding::string::encode(1 + draw.below(8) as u32, &draw.text(), &mut bytes);
    if draw.chance(50) {
        raw::change(draw, &mut bytes);
    }
    Sent::Call { address, path, messages: vec![bytes.into()] }
}

impl Sent {
    /// Returns the number of bytes.
    pub(super) fn length(&self) -> usize {
        match self {
            Sent::Call { messages, .. } => messages.iter().map(Bytes::len).sum(),
            Sent::Connection { bytes, .. } => bytes.len(),
        }
    }

    /// Returns a text for people.
    pub(super) fn shown(&self) -> String {
        match self {
            Sent::Call { path, messages, .. } => {
                let messages: Vec<String> = messages.iter().map(|message| shown(message)).collect();
                format!("{path}\n  {}", messages.join("\n  "))
            }
            Sent::Connection { address, bytes } => format!("bytes to {address}\n  {}", shown(bytes)),
        }
    }

    /// Sends it; false: it was refused, or not answered in time.
    pub(super) async fn send(&self) -> bool {
        match self {
            Sent::Call { address, path, messages } => {
                timeout(PATIENCE, call(address, path, messages)).await.is_ok_and(|answer| answer.is_ok())
            }
            Sent::Connection { address, bytes } => {
                timeout(PATIENCE, speak(address, bytes)).await.is_ok_and(|spoken| spoken.is_ok())
            }
        }
    }
}

async fn call(address: &str, path: &str, messages: &[Bytes]) -> anyhow::Result<()> {
    let channel: Channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let mut grpc =
        Grpc::new(channel).max_encoding_message_size(usize::MAX).max_decoding_message_size(usize::MAX);
    grpc.ready().await?;
    let request = Request::new(stream::iter(messages.to_vec()));
    let answers = grpc.streaming(request, PathAndQuery::try_from(path)?, Bytewise).await?;
    let mut answers = answers.into_inner();
    while let Some(answer) = answers.next().await {
        answer?;
    }
    Ok(())
}

async fn speak(address: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    let mut answer = [0; 4096];
    let _ = timeout(LINGER, stream.read(&mut answer)).await;
    Ok(())
}

/// Messages as they are.
#[derive(Debug, Clone, Copy)]
struct Bytewise;

impl Codec for Bytewise {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Bytewise;
    type Decoder = Bytewise;

    fn encoder(&mut self) -> Bytewise {
        Bytewise
    }

    fn decoder(&mut self) -> Bytewise {
        Bytewise
    }
}

impl Encoder for Bytewise {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Bytewise {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
