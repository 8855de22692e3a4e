//! A process without descriptors waits for them. It is a process of its own, since the limit is
//! one of the whole process.

use std::fs::File;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use skv_listen::{Counted, Listener};
use tokio::net::TcpStream;
use tokio::time::Instant;

#[tokio::test]
async fn without_a_descriptor_a_listener_pauses_and_takes_the_connection_later() {
    let counted = Counted::default();
    let mut listener = Listener::bind("test", "127.0.0.1:0", 10, counted.clone()).await.unwrap();
    // The operating system has it wait to be taken.
    let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();

    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum }).unwrap();
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    let started = Instant::now();
    {
        let mut accept = Box::pin(listener.accept());
        let mut polls = 0;
        while counted.failed.get() < 3 {
            assert!(futures::poll!(&mut accept).is_pending());
            polls += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let pauses = started.elapsed().as_millis() as u64 / 100;
        assert!(counted.failed.get() <= pauses + 1, "{polls} polls, {} attempts", counted.failed.get());
        drop(files);
        accept.await;
    }
    assert_eq!((counted.open.get(), counted.refused.get()), (0, 0), "it was taken, and dropped");
}
