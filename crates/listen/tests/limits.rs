//! A listener takes as many connections as it may, and those that come later once there is place.

use std::io;

use futures::StreamExt as _;
use skv_listen::{Counted, Listener};
use tokio::io::AsyncReadExt as _;
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
