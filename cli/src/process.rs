//! A process of a store, wherever it runs, and the pages that it shows on its HTTP port.

use anyhow::Context as _;
use bytes::Bytes;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use skv_net::Connector;

/// A server or a shard manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) http_address: String,
    pub(crate) is_manager: bool,
}

/// Asks a process for a page, as a browser would.
pub(crate) async fn page(
    connector: &Connector,
    address: &str,
    path: &str,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let name = skv_net::authority(address);
    let request = Request::get(path).header(HOST, &*name).body(Empty::<Bytes>::new())?;
    let answered = async {
        let stream = connector(address.to_owned()).await?;
        let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the answer; a fault of it is the answer's too.
        tokio::spawn(connection);
        anyhow::Ok(requests.send_request(request).await?)
    };
    let answer = answered.await.with_context(|| format!("can't ask http://{address}{path}"))?;
    let status = answer.status();
    let body = answer.into_body().collect().await;
    let body = body.with_context(|| format!("can't read http://{address}{path}"))?;
    Ok((status, body.to_bytes()))
}
