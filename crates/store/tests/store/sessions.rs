//! Sessions: at most once, whatever is sent again, late or out of order (invariants 3 and 4).

use skv_proto::v1;
use skv_proto::v1::snapshot_item::Item;
use skv_sharding::Revision;
use skv_store::{Answer, Applied, Rejection, Store, encode_tick};

use crate::support::*;

const A: (u64, u64) = (100, 1);
const B: (u64, u64) = (200, 2);
const C: (u64, u64) = (300, 3);

fn limits() -> v1::Limits {
    v1::Limits { session_ttl_ms: 1000, max_sessions_per_shard: 2, ..v1::Limits::default() }
}

fn key() -> String {
    keys_of(0, 1).remove(0)
}

fn written(revision: u64) -> Answer {
    Answer::Put { success: true, revision: Revision(revision) }
}

/// Applies a command that must be rejected, and checks that nothing changed.
fn rejected(store: &Store, time: u64, command: v1::Command) -> Rejection {
    store.apply(&encode_tick(time)).unwrap();
    let before = dump(store);
    let rejection = apply(store, time, command).unwrap_err();
    assert_eq!(dump(store), before, "{rejection:?} consumed something");
    rejection
}

#[test]
fn a_repeated_request_gets_its_answer_again() {
    let store = founded(1, limits());
    let requests = [
        by(A, 1, 1, put(&key(), "1")),
        by(A, 2, 1, append(&key(), "2")),
        by(A, 3, 1, if_revision(1, put(&key(), "3"))),
        by(A, 4, 1, delete(&key())),
    ];
    let first: Vec<_> = requests.iter().map(|r| apply(&store, 150, r.clone())).collect();
    apply(&store, 150, put(&key(), "other")).unwrap();
    let before = dump(&store);
    for _ in 0..2 {
        for (request, answer) in requests.iter().zip(&first).rev() {
            assert_eq!(apply(&store, 150, request.clone()), *answer);
        }
    }
    assert_eq!(dump(&store), before);
    assert_eq!(first[2], Ok(Answer::Put { success: false, revision: Revision(2) }));
    assert_eq!(value(&store, &key()).as_deref(), Some("other"));
}

#[test]
fn a_request_rejected_for_any_reason_can_be_sent_again() {
    let store = founded(1, v1::Limits { max_value_bytes: 2, ..limits() });
    let long = by(A, 1, 1, put(&key(), "long"));
    assert_eq!(rejected(&store, 150, long), Rejection::ValueTooLarge { limit: 2 });
    assert_eq!(apply(&store, 150, by(A, 1, 1, put(&key(), "ok"))), Ok(written(1)));
}

#[test]
fn requests_may_come_out_of_order_within_the_window() {
    let store = founded(1, limits());
    assert_eq!(apply(&store, 150, by(A, 1024, 1, put(&key(), "x"))), Ok(written(1)));
    let beyond = by(A, 1025, 1, put(&key(), "x"));
    assert_eq!(
        rejected(&store, 150, beyond.clone()),
        Rejection::WindowExceeded { seq: 1025, acked_below: 1 }
    );
    for seq in (1..1024).rev() {
        assert_eq!(apply(&store, 150, by(A, seq, 1, put(&key(), "x"))), Ok(written(1025 - seq)));
    }
    // Acknowledging moves the window.
    assert_eq!(apply(&store, 150, by(A, 1025, 2, put(&key(), "x"))), Ok(written(1025)));
    assert_eq!(
        rejected(&store, 150, by(A, 1, 1, put(&key(), "x"))),
        Rejection::StaleSequence { seq: 1, acked_below: 2 }
    );
}

#[test]
fn what_was_acknowledged_never_executes_again() {
    let store = founded(1, limits());
    apply(&store, 150, by(A, 1, 1, append(&key(), "a"))).unwrap();
    apply(&store, 150, by(A, 3, 3, append(&key(), "c"))).unwrap();
    // 1 was answered; 2 was given up by the clerk and arrives late.
    for seq in [1, 2] {
        assert_eq!(
            rejected(&store, 150, by(A, seq, 1, append(&key(), "x"))),
            Rejection::StaleSequence { seq, acked_below: 3 }
        );
    }
    // A request can't acknowledge itself.
    assert_eq!(
        rejected(&store, 150, by(A, 4, 5, append(&key(), "x"))),
        Rejection::StaleSequence { seq: 4, acked_below: 5 }
    );
    assert_eq!(value(&store, &key()).as_deref(), Some("ac"));
}

/// Returns the sequence numbers of which the only session keeps the answers.
fn answers_kept(store: &Store) -> Vec<u64> {
    let sessions = dump(store).into_iter().filter_map(|item| match item.item {
        Some(Item::Session(session)) => Some(session),
        _ => None,
    });
    sessions.flat_map(|session| session.decided).map(|decided| decided.seq).collect()
}

#[test]
fn answers_are_freed_as_soon_as_a_request_says_that_they_have_come() {
    let store = founded(1, limits());
    // A clerk with one call at a time.
    for seq in 1..=500 {
        apply(&store, 150, by(A, seq, seq, append(&key(), "x"))).unwrap();
        assert_eq!(answers_kept(&store), [seq]);
    }
    // With three calls in flight, of which the first is answered last.
    for seq in 501..=503 {
        apply(&store, 150, by(A, seq, 501, append(&key(), "x"))).unwrap();
    }
    assert_eq!(answers_kept(&store), [501, 502, 503]);
    apply(&store, 150, by(A, 504, 503, append(&key(), "x"))).unwrap();
    assert_eq!(answers_kept(&store), [503, 504]);
    apply(&store, 150, by(A, 505, 505, append(&key(), "x"))).unwrap();
    assert_eq!(answers_kept(&restored(&store, 5)), [505]);
}

#[test]
fn a_request_id_is_for_one_request() {
    let store = founded(1, limits());
    apply(&store, 150, by(A, 1, 1, put(&key(), "a"))).unwrap();
    assert_eq!(rejected(&store, 150, by(A, 1, 1, delete(&key()))), Rejection::ReusedRequestId);
    assert_eq!(rejected(&store, 150, by(A, 0, 0, put(&key(), "b"))), Rejection::InvalidRequestId);
    let nameless = v1::RequestId { session: None, seq: 2, acked_below: 1 };
    let nameless = v1::Command { id: Some(nameless), ..put(&key(), "b") };
    assert_eq!(rejected(&store, 150, nameless), Rejection::InvalidRequestId);
}

#[test]
fn ownership_is_checked_before_the_session() {
    let store = founded(1, limits());
    let foreign = by(A, 1, 5, put(&keys_of(3, 1)[0], "x"));
    assert_eq!(rejected(&store, 150, foreign), ELSEWHERE);
}

#[test]
fn the_session_is_checked_before_the_condition() {
    let store = founded(1, limits());
    let request = by(A, 1, 1, if_revision(0, put(&key(), "x")));
    assert_eq!(apply(&store, 150, request.clone()), Ok(written(1)));
    // The condition no longer holds, but the answer is what it was.
    assert_eq!(apply(&store, 150, request), Ok(written(1)));
}

#[test]
fn an_unused_session_is_forgotten_and_never_accepted_again() {
    let store = founded(1, limits());
    let request = by(A, 1, 1, append(&key(), "a"));
    apply(&store, 150, request.clone()).unwrap();
    assert!(!store.sessions_due(1149));
    assert_eq!(store.apply(&encode_tick(1149)), Ok(Applied::Nothing));
    assert_eq!(store.stats().sessions, 1);

    assert!(store.sessions_due(1150));
    store.apply(&encode_tick(1150)).unwrap();
    assert_eq!(store.stats().sessions, 0);
    assert!(!store.sessions_due(u64::MAX));
    for late in [request, by(A, 2, 1, append(&key(), "b")), by((99, 9), 1, 1, append(&key(), "c"))] {
        assert_eq!(rejected(&store, 1150, late), Rejection::SessionExpired { floor: 100 });
    }
    apply(&store, 1150, by((101, 9), 1, 1, append(&key(), "d"))).unwrap();
    assert_eq!(value(&store, &key()).as_deref(), Some("ad"));
}

#[test]
fn using_a_session_keeps_it() {
    let store = founded(1, limits());
    for (seq, time) in [(1, 150), (2, 1100), (3, 2000)] {
        apply(&store, time, by(A, seq, seq, put(&key(), "x"))).unwrap();
    }
    store.apply(&encode_tick(2999)).unwrap();
    assert_eq!(store.stats().sessions, 1);
    store.apply(&encode_tick(3000)).unwrap();
    assert_eq!(store.stats().sessions, 0);
}

#[test]
fn commands_forget_due_sessions_of_their_shard() {
    let store = founded(1, limits());
    apply(&store, 150, by(A, 1, 1, put(&key(), "x"))).unwrap();
    let late = by(A, 1, 1, put(&key(), "x"));
    assert_eq!(apply(&store, 1150, late), Err(Rejection::SessionExpired { floor: 100 }));
}

#[test]
fn past_the_limit_the_least_recently_used_session_is_forgotten() {
    let store = founded(1, limits());
    apply(&store, 250, by(A, 1, 1, append(&key(), "a"))).unwrap();
    apply(&store, 250, by(B, 1, 1, append(&key(), "b"))).unwrap();
    apply(&store, 250, by(A, 2, 1, append(&key(), "A"))).unwrap();
    apply(&store, 250, by(C, 1, 1, append(&key(), "c"))).unwrap();
    assert_eq!(store.stats().sessions, 2);
    assert_eq!(shard_state(&store, 0).floor, B.0);

    let expired = Rejection::SessionExpired { floor: B.0 };
    assert_eq!(rejected(&store, 250, by(B, 1, 1, append(&key(), "b"))), expired);
    // A lies below the floor, but it is known.
    apply(&store, 250, by(A, 3, 1, append(&key(), "a"))).unwrap();
    assert_eq!(value(&store, &key()).as_deref(), Some("abAca"));
}

#[test]
fn a_session_from_the_future_is_refused() {
    let store = founded(1, limits());
    let future = (60_151, 1);
    let request = by(future, 1, 1, put(&key(), "x"));
    assert_eq!(rejected(&store, 150, request.clone()), Rejection::ClockSkew { time: 150 });
    assert_eq!(apply(&store, 151, request), Ok(written(1)));
}

#[test]
fn sessions_count_for_each_shard() {
    let store = founded(1, limits());
    let other = &keys_of(1, 1)[0];
    assert_eq!(apply(&store, 150, by(A, 1, 1, put(&key(), "x"))), Ok(written(1)));
    assert_eq!(apply(&store, 150, by(A, 1, 1, put(other, "x"))), Ok(written(1)));
    assert_eq!(store.stats().sessions, 2);
}

#[test]
fn past_the_budget_the_oldest_old_values_are_given_up() {
    let key = key();
    let budget = (2 * (key.len() + 10)) as u64;
    let store = founded(1, v1::Limits { max_old_value_bytes_per_shard: budget, ..limits() });
    apply(&store, 150, put(&key, &"x".repeat(10))).unwrap();
    let requests: Vec<_> = (1..=3).map(|seq| by(A, seq, 1, append(&key, ""))).collect();
    let first: Vec<_> = requests.iter().map(|r| apply(&store, 150, r.clone())).collect();
    for store in [&store, &restored(&store, 5)] {
        let again: Vec<_> = requests.iter().map(|r| apply(store, 150, r.clone())).collect();
        assert_eq!(again[0], Err(Rejection::AlreadyApplied { revision: Revision(2) }));
        assert_eq!(again[1..], first[1..]);
    }

    // Acknowledged answers make room.
    let next = by(A, 4, 4, append(&key, ""));
    let answer = apply(&store, 150, next.clone());
    assert_eq!(
        apply(&store, 150, by(A, 5, 4, append(&key, ""))),
        apply(&store, 150, by(A, 5, 4, append(&key, "")))
    );
    assert_eq!(apply(&store, 150, next), answer);
}
