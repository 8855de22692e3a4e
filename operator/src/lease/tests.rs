//! Several operators and one Lease. Time is simulated.

use kube::Api;

use super::*;
use crate::testing::FakeApiServer;

fn candidate(server: &FakeApiServer, identity: &str) -> Candidate {
    let leases = Api::namespaced(server.client(), "operators");
    Candidate { leases, lease: "skv-operator".to_owned(), identity: identity.to_owned() }
}

fn holder_of(server: &FakeApiServer) -> String {
    let lease = server.get("/apis/coordination.k8s.io/v1/namespaces/operators/leases/skv-operator").unwrap();
    lease["spec"]["holderIdentity"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn the_first_gets_it_and_keeps_it_while_it_renews() {
    let server = FakeApiServer::default();
    let (a, b) = (candidate(&server, "a"), candidate(&server, "b"));
    a.acquire().await;
    assert_eq!(holder_of(&server), "a");
    tokio::select! {
        () = a.hold() => panic!("a holder that renews loses nothing"),
        () = b.acquire() => panic!("there is a holder"),
        () = sleep(DURATION * 4) => {}
    }
    assert_eq!(holder_of(&server), "a");
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_gone_is_followed_after_the_leases_duration() {
    let server = FakeApiServer::default();
    candidate(&server, "a").acquire().await;
    let began = Instant::now();
    candidate(&server, "b").acquire().await;
    assert!(began.elapsed() >= DURATION && began.elapsed() < DURATION + 2 * PAUSE, "{:?}", began.elapsed());
    assert_eq!(holder_of(&server), "b");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_given_up_is_taken_at_once() {
    let server = FakeApiServer::default();
    let a = candidate(&server, "a");
    a.acquire().await;
    a.release().await.unwrap();
    let began = Instant::now();
    candidate(&server, "b").acquire().await;
    assert!(began.elapsed() < PAUSE);
    a.release().await.unwrap();
    assert_eq!(holder_of(&server), "b", "what isn't ours isn't given up");
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_can_not_renew_stops_before_others_begin() {
    let server = FakeApiServer::default();
    let a = candidate(&server, "a");
    a.acquire().await;
    server.refuse("/leases/skv-operator", 500);
    let began = Instant::now();
    a.hold().await;
    assert!(began.elapsed() < DURATION, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_finds_another_in_its_place_stops() {
    let server = FakeApiServer::default();
    let a = candidate(&server, "a");
    a.acquire().await;
    candidate(&server, "b").acquire().await;
    let began = Instant::now();
    a.hold().await;
    assert!(began.elapsed() <= 2 * PAUSE);
    assert_eq!(holder_of(&server), "b");
}
