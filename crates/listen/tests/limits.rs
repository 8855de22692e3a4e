//! A listener takes as many connections as it may, and those that come later once there is place.

use std::io;
use std::time::Duration;

use futures::StreamExt as _;
use skv_listen::{Counted, Listener, Silence};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn listener(limit: usize, counted: Counted) -> Listener {
    Listener::bind("test", "127.0.0.1:0", limit, counted).await.expect("a port is free")
}

/// Returns true if the other side closes the connection.
async fn is_closed(mut stream: TcpStream) -> bool {
    match stream.read(&mut [0]).await {
        Ok(read) => read == 0,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_later_ones_are_taken() {
    let counted = Counted::default();
    let listener = listener(2, counted.clone()).await;
    let address = listener.local_addr().unwrap();
    let mut incoming = listener.incoming();
    let mut clients = Vec::new();
    let mut taken = Vec::new();
    for _ in 0..2 {
        clients.push(TcpStream::connect(address).await.unwrap());
        taken.push(incoming.next().await.unwrap().unwrap());
    }
    let third = TcpStream::connect(address).await.unwrap();
    tokio::select! {
        closed = is_closed(third) => assert!(closed),
        _ = incoming.next() => panic!("a third connection was taken"),
    }
    assert_eq!((counted.open.get(), counted.refused.get()), (2, 1));

    taken.pop();
    let _fourth = TcpStream::connect(address).await.unwrap();
    taken.push(incoming.next().await.unwrap().unwrap());
    assert_eq!((counted.open.get(), counted.refused.get()), (2, 1));
    drop(taken);
    assert_eq!(counted.open.get(), 0);
}

/// The first words of every client that speaks HTTP/2.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const LIMIT: Duration = Duration::from_millis(200);

/// Has a client say this, and reads what comes until the connection ends or nothing more was said for
/// five times the limit. Returns the number of bytes that came, and the kind of the error if it ended.
async fn hear(silence: Silence, said: &[&[u8]], counted: &Counted) -> (usize, Option<io::ErrorKind>) {
    let mut listener = listener(1, counted.clone()).await.with_silence(silence);
    let mut client =
        TcpStream::connect(listener.local_addr().expect("it is bound")).await.expect("it listens");
    let (mut connection, _) = listener.accept().await;
    let said: Vec<Vec<u8>> = said.iter().map(|words| words.to_vec()).collect();
    let speaking = tokio::spawn(async move {
        for words in said {
            client.write_all(&words).await.expect("it reads");
            tokio::time::sleep(LIMIT / 2).await;
        }
        client
    });
    let (mut heard, mut words) = (0, [0; 64]);
    let end = loop {
        match tokio::time::timeout(5 * LIMIT, connection.read(&mut words)).await {
            Ok(Ok(bytes)) => heard += bytes,
            Ok(Err(error)) => break Some(error.kind()),
            Err(_) => break None,
        }
    };
    drop(speaking);
    (heard, end)
}

#[tokio::test]
async fn who_connects_and_says_nothing_is_disconnected() {
    let (counted, timed_out) = (Counted::default(), Some(io::ErrorKind::TimedOut));
    let beginning = Silence::BeforeItsPreface(LIMIT);
    assert_eq!(hear(beginning, &[], &counted).await, (0, timed_out));
    // Nor does a word now and then help.
    let slowly: Vec<&[u8]> = PREFACE.chunks(2).collect();
    let (heard, end) = hear(beginning, &slowly, &counted).await;
    assert!(heard < PREFACE.len() && end == timed_out, "{heard} bytes, {end:?}");
    assert_eq!(counted.silent.get(), 2);
    assert_eq!(hear(beginning, &[PREFACE], &counted).await, (PREFACE.len(), None));
    assert_eq!((counted.silent.get(), counted.open.get()), (2, 0));
}

#[tokio::test]
async fn a_reader_of_pages_keeps_its_place_while_it_asks() {
    let counted = Counted::default();
    let (heard, end) =
        hear(Silence::AtAnyTime(LIMIT), &[b"GET ", b"/livez", b"\r\n", b"\r\n"], &counted).await;
    assert_eq!((heard, end), (14, Some(io::ErrorKind::TimedOut)));
    assert_eq!(counted.silent.get(), 1);
}
