//! The readiness of a process, by its /readyz.

use std::io;
use std::time::Duration;

use futures::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::record::Member;
use crate::screen::Screen;

const POLL: Duration = Duration::from_millis(100);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The length at which answers are cut: they are only shown.
const MAX_ANSWER: u64 = 16 << 10;

/// The answer of /readyz.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// The process is ready.
    Ready,
    /// The process reports why it isn't ready, or can't be asked.
    Waiting(String),
}

/// Waits until the process that listens here is ready; calls `tell` with each new reason why it isn't.
pub async fn wait(address: &str, mut tell: impl FnMut(String)) {
    let mut told = None;
    loop {
        let reason = match probe(address).await {
            Readiness::Ready => return,
            Readiness::Waiting(reason) => reason,
        };
        if told.as_ref() != Some(&reason) {
            tell(reason.clone());
            told = Some(reason);
        }
        sleep(POLL).await;
    }
}

/// Waits until all of these are ready, and shows their progress where there is a screen for it.
pub async fn wait_for_all(members: &[Member], screen: Option<&Screen>) {
    if let Some(screen) = screen {
        screen.begin(members.iter().map(|member| member.name.clone()));
    }
    join_all(members.iter().map(async |member| {
        let show =
            |reason: String| screen.into_iter().for_each(|screen| screen.not_ready(&member.name, &reason));
        wait(&member.http_address(), show).await;
        if let Some(screen) = screen {
            screen.ready(&member.name);
        }
    }))
    .await;
}

/// Asks a process once.
pub async fn probe(address: &str) -> Readiness {
    match timeout(ANSWER_WITHIN, get(address, "/readyz")).await {
        Ok(Ok((200, _))) => Readiness::Ready,
        Ok(Ok((_, body))) if !body.trim().is_empty() => {
            Readiness::Waiting(body.lines().next().unwrap_or_default().trim().to_owned())
        }
        Ok(Ok((status, _))) => Readiness::Waiting(format!("not ready (HTTP {status})")),
        Ok(Err(_)) => Readiness::Waiting("starting".to_owned()),
        Err(_) => Readiness::Waiting("no answer".to_owned()),
    }
}

/// Sends a GET over HTTP/1.0, whose answer ends with the connection.
async fn get(address: &str, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    parse(&String::from_utf8_lossy(&answer)).ok_or_else(|| io::Error::other("not an answer of HTTP"))
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn answering(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 512];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn only_200_is_ready() {
        let address = answering("HTTP/1.0 200 OK\r\n\r\nready\n").await;
        assert_eq!(probe(&address).await, Readiness::Ready);
        let address = answering("HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\nno leader\n").await;
        assert_eq!(probe(&address).await, Readiness::Waiting("no leader".to_owned()));
        let address = answering("SSH-2.0-x\r\n").await;
        assert_eq!(probe(&address).await, Readiness::Waiting("starting".to_owned()));
    }
}
