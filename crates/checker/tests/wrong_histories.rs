//! Histories that are wrong, each in its own way, and must be found so.

use proptest::prelude::*;
use skv_checker::{Event, Finding, Op, Options, Outcome, TokenFault, Verdict, judge};

fn verdict(events: &[Event]) -> Verdict {
    judge(events, &Options::default())
}

/// Adds a delete that never returned and can't have happened: it keeps the token oracle
/// from speaking first.
fn without_tokens(events: &[Event]) -> Vec<Event> {
    let mut events = events.to_vec();
    events.push(Event::delete(99, "k", u64::MAX));
    events
}

#[track_caller]
fn assert_not_linearizable(events: &[Event]) -> String {
    let verdict = verdict(&without_tokens(events));
    assert!(
        matches!(verdict.faulty[..], [ref report] if matches!(report.finding, Finding::NotLinearizable(_))),
        "{verdict}"
    );
    verdict.to_string()
}

#[track_caller]
fn token_faults(events: &[Event]) -> Vec<TokenFault> {
    let mut verdict = verdict(events);
    match verdict.faulty.pop().map(|report| report.finding) {
        Some(Finding::Tokens(faults)) => faults,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stale_read() {
    let report = assert_not_linearizable(&[
        Event::put(1, "k", "a", 0).stored(true, 1, 1),
        Event::put(1, "k", "b", 2).stored(true, 2, 3),
        Event::get(2, "k", 4).got("a", 1, 5),
    ]);
    assert!(report.contains("saw a lower revision\n    client 2 get -> \"a\""), "{report}");
}

#[test]
fn a_read_that_goes_back() {
    assert_not_linearizable(&[
        Event::put(1, "k", "a", 0).stored(true, 1, 100),
        Event::get(2, "k", 10).got("a", 1, 20),
        Event::get(3, "k", 30).got("", 0, 40),
    ]);
}

#[test]
fn a_lost_write() {
    assert_not_linearizable(&[
        Event::put(1, "k", "a", 0).stored(true, 1, 1),
        Event::get(2, "k", 4).got("", 0, 5),
    ]);
}

#[test]
fn a_phantom_value() {
    assert_not_linearizable(&[
        Event::put(1, "k", "a", 0).stored(true, 1, 1),
        Event::get(2, "k", 4).got("b", 2, 5),
    ]);
}

#[test]
fn a_refused_write_that_was_applied() {
    assert_not_linearizable(&[Event::put(1, "k", "a", 0).refused(1), Event::get(2, "k", 4).got("a", 1, 5)]);
}

#[test]
fn a_write_seen_before_it_was_asked_for() {
    assert_not_linearizable(&[
        Event::get(2, "k", 0).got("a", 1, 1),
        Event::put(1, "k", "a", 2).stored(true, 1, 3),
    ]);
}

#[test]
fn an_unanswered_append_that_was_applied_twice() {
    assert_not_linearizable(&[Event::append(1, "k", "x", 0), Event::get(2, "k", 4).got("xx", 2, 5)]);
}

#[test]
fn an_unanswered_write_that_comes_back_after_it_was_overwritten() {
    assert_not_linearizable(&[
        Event::put(1, "k", "late", 0),
        Event::get(2, "k", 1).got("late", 1, 2),
        Event::put(2, "k", "new", 3).stored(true, 2, 4),
        Event::get(2, "k", 5).got("late", 3, 6),
    ]);
}

#[test]
fn two_appends_that_both_saw_the_same_value() {
    assert_not_linearizable(&[
        Event::append(1, "k", "a", 0).appended("", false, 1, 10),
        Event::append(2, "k", "b", 0).appended("", false, 2, 10),
    ]);
}

#[test]
fn a_condition_that_held_twice() {
    assert_not_linearizable(&[
        Event::put(1, "k", "a", 0).if_revision(0).stored(true, 1, 10),
        Event::put(2, "k", "b", 0).if_revision(0).stored(true, 2, 10),
    ]);
}

#[test]
fn a_condition_that_failed_although_it_was_met() {
    assert_not_linearizable(&[
        Event::put(1, "k", "a", 0).stored(true, 1, 1),
        Event::put(2, "k", "b", 2).if_revision(1).stored(false, 1, 3),
    ]);
}

#[test]
fn a_failed_condition_that_changed_the_value() {
    assert_not_linearizable(&[
        Event::put(1, "k", "a", 0).stored(true, 1, 1),
        Event::put(2, "k", "b", 2).if_revision(7).stored(false, 1, 3),
        Event::get(2, "k", 4).got("b", 2, 5),
    ]);
}

#[test]
fn an_unconditional_write_that_answers_failed() {
    assert_not_linearizable(&[Event::put(1, "k", "a", 0).stored(false, 0, 1)]);
}

#[test]
fn a_revision_that_falls() {
    assert_not_linearizable(&[
        Event::put(1, "k", "a", 0).stored(true, 5, 1),
        Event::put(1, "k", "a", 2).stored(true, 4, 3),
    ]);
    assert_not_linearizable(&[
        Event::put(1, "k", "a", 0).stored(true, 5, 1),
        Event::delete(1, "k", 2).deleted(true, true, 0, 3),
        Event::put(1, "k", "a", 4).stored(true, 5, 5),
    ]);
}

#[test]
fn a_revision_that_changes_by_itself() {
    assert_not_linearizable(&[
        Event::put(1, "k", "a", 0).stored(true, 5, 1),
        Event::get(1, "k", 2).got("a", 6, 3),
    ]);
}

#[test]
fn a_delete_that_found_nothing_to_delete() {
    assert_not_linearizable(&[
        Event::put(1, "k", "a", 0).stored(true, 1, 1),
        Event::delete(1, "k", 2).deleted(true, false, 0, 3),
    ]);
}

#[test]
fn a_deleted_value_that_is_read_again() {
    assert_not_linearizable(&[
        Event::put(1, "k", "a", 0).stored(true, 1, 1),
        Event::delete(1, "k", 2).deleted(true, true, 0, 3),
        Event::get(1, "k", 4).got("a", 1, 5),
    ]);
}

#[test]
fn only_the_faulty_key_is_named() {
    let verdict =
        verdict(&[Event::put(1, "good", "a", 0).stored(true, 1, 1), Event::get(1, "bad", 2).got("a", 1, 3)]);
    assert_eq!(verdict.keys, 2);
    assert!(matches!(verdict.faulty[..], [ref report] if report.key == "bad"), "{verdict}");
}

#[test]
fn a_lost_token() {
    let faults = token_faults(&[
        Event::append(1, "k", "1.0;", 0).appended("", false, 1, 1),
        Event::append(1, "k", "1.1;", 2).appended("1.0;", true, 2, 3),
        Event::get(2, "k", 4).got("1.0;", 1, 5),
    ]);
    let token = "1.1;".parse().unwrap();
    assert_eq!(faults, [TokenFault::Lost { token, client: 1, reader: 2, length: 4 }]);
}

#[test]
fn a_lost_token_whose_answer_was_not_kept() {
    let faults = token_faults(&[
        Event::append(1, "k", "1.0;", 0).already_applied(1, 1),
        Event::get(2, "k", 4).got("", 0, 5),
    ]);
    assert!(matches!(faults[..], [TokenFault::Lost { client: 1, reader: 2, .. }]), "{faults:?}");
}

#[test]
fn a_doubled_token() {
    let faults = token_faults(&[
        Event::append(1, "k", "1.0;", 0).unknown(1),
        Event::get(2, "k", 4).got("1.0;1.0;", 2, 5),
    ]);
    assert!(matches!(faults[..], [TokenFault::Doubled { first: 0, second: 4, .. }]), "{faults:?}");
}

#[test]
fn a_refused_token_that_was_applied() {
    let faults =
        token_faults(&[Event::append(1, "k", "1.0;", 0).refused(1), Event::get(2, "k", 4).got("1.0;", 1, 5)]);
    assert!(matches!(faults[..], [TokenFault::RefusedButApplied(_)]), "{faults:?}");
}

#[test]
fn a_phantom_token() {
    let faults =
        token_faults(&[Event::append(1, "k", "1.0;", 0).unknown(1), Event::get(2, "k", 4).got("7.7;", 1, 5)]);
    assert!(matches!(faults[..], [TokenFault::Phantom { .. }]), "{faults:?}");
}

#[test]
fn a_clerks_tokens_in_the_wrong_order() {
    let faults = token_faults(&[
        Event::append(1, "k", "1.0;", 0).already_applied(2, 1),
        Event::append(1, "k", "1.1;", 2).appended("", false, 1, 3),
        Event::get(2, "k", 4).got("1.1;1.0;", 2, 5),
    ]);
    assert!(matches!(faults[..], [TokenFault::Lost { client: 1, reader: 1, length: 0, .. }]), "{faults:?}");
}

#[test]
fn two_reads_that_part() {
    let faults = token_faults(&[
        Event::append(1, "k", "1.0;", 0),
        Event::append(2, "k", "2.0;", 0),
        Event::get(3, "k", 4).got("1.0;2.0;", 2, 6),
        Event::get(4, "k", 5).got("2.0;", 1, 7),
    ]);
    assert_eq!(faults, [TokenFault::Parted { reader: 4, at: 0 }]);
}

#[test]
fn a_read_of_tokens_that_goes_back() {
    let faults = token_faults(&[
        Event::append(1, "k", "1.0;", 0),
        Event::get(3, "k", 4).got("1.0;", 1, 5),
        Event::get(3, "k", 6).got("", 0, 7),
    ]);
    assert_eq!(faults, [TokenFault::Stale { reader: 3, length: 0, seen: 4 }]);
}

#[test]
fn events_that_contradict_themselves() {
    let good = Event::get(1, "k", 5).got("", 0, 6);
    for bad in [
        Event { return_ns: Some(1), ..good.clone() },
        Event { return_ns: None, ..good.clone() },
        Event { value: Some("x".to_owned()), ..good.clone() },
        Event { output: None, ..good },
        Event { value: None, ..Event::put(1, "k", "v", 1) },
    ] {
        let verdict = verdict(&[bad]);
        assert!(
            matches!(verdict.faulty[..], [ref report] if matches!(report.finding, Finding::Malformed(_)))
        );
    }
}

/// The highest revision in the histories that are tried out.
const MAX_REVISION: u64 = 6;

/// Tries every order of the open calls, with every choice of the unanswered ones and of the
/// revisions that nobody saw.
fn some_order_explains(events: &[Event], open: &[usize], value: Option<(&str, u64)>, last: u64) -> bool {
    let Some(latest) = open.iter().filter_map(|&index| events[index].return_ns).min() else {
        return true;
    };
    open.iter().any(|&index| {
        let event = &events[index];
        let (old, current) = value.unwrap_or(("", 0));
        if event.call_ns > latest || event.output.as_deref().is_some_and(|seen| seen != old) {
            return false;
        }
        let rest: Vec<usize> = open.iter().copied().filter(|&other| other != index).collect();
        if event.op == Op::Get {
            return event.revision.is_none_or(|seen| seen == current)
                && some_order_explains(events, &rest, value, last);
        }
        let new = match event.op {
            Op::Append => format!("{old}{}", event.value.as_deref().unwrap_or_default()),
            _ => event.value.clone().unwrap_or_default(),
        };
        // Calls without an answer may make revisions beyond all that were seen.
        (last + 1..=MAX_REVISION + events.len() as u64)
            .filter(|&made| event.op == Op::Delete || event.revision.is_none_or(|seen| seen == made))
            .any(|made| {
                let next = (event.op != Op::Delete).then_some((new.as_str(), made));
                some_order_explains(events, &rest, next, made)
            })
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    let text = || prop::sample::select(vec!["", "a", "b", "ab", "ba", "aa"]);
    let revision = prop::option::of(1..=MAX_REVISION);
    let fields = (0u8..4, text(), text(), revision, 0u64..12, 0u64..6, any::<bool>());
    fields.prop_map(|(op, value, output, revision, called, takes, answered)| {
        let returned = called + takes;
        let mut event = match op {
            0 => Event::get(1, "k", called).got(output, 1, returned),
            1 => Event::put(1, "k", value, called).stored(true, 1, returned),
            2 => Event::append(1, "k", value, called).appended(output, true, 1, returned),
            _ => Event::delete(1, "k", called).deleted(true, true, 0, returned),
        };
        (event.found, event.success, event.revision) = (None, None, revision.filter(|_| op < 3));
        if !answered && op != 0 {
            event =
                Event { outcome: Outcome::Unknown, return_ns: None, output: None, revision: None, ..event };
        }
        event
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn the_search_agrees_with_trying_every_order(events in prop::collection::vec(any_event(), 1..7)) {
        let verdict = verdict(&events);
        prop_assert_eq!(
            verdict.is_linearizable(),
            some_order_explains(&events, &(0..events.len()).collect::<Vec<_>>(), None, 0),
            "{}", verdict
        );
    }
}
