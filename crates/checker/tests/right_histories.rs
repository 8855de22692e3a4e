//! Histories that are right, however odd they look.

use std::time::Duration;

use skv_checker::{Event, Finding, Options, Token, Verdict, judge};

fn verdict(events: &[Event]) -> Verdict {
    judge(events, &Options::default())
}

#[track_caller]
fn assert_right(events: &[Event]) {
    let verdict = verdict(events);
    assert!(verdict.is_linearizable(), "{verdict}");
}

#[test]
fn an_empty_history() {
    assert_right(&[]);
}

#[test]
fn one_client_after_itself() {
    assert_right(&[
        Event::get(1, "k", 0).got("", 0, 1),
        Event::put(1, "k", "a", 2).stored(true, 1, 3),
        Event::append(1, "k", "b", 4).appended("a", true, 2, 5),
        Event::get(1, "k", 6).got("ab", 2, 7),
        Event::delete(1, "k", 8).deleted(true, true, 0, 9),
        Event::get(1, "k", 10).got("", 0, 11),
        Event::append(1, "k", "c", 12).appended("", false, 5, 13),
        Event::get(1, "k", 14).got("c", 5, 15),
    ]);
}

#[test]
fn a_read_beside_a_write_may_see_either_value() {
    let write = Event::put(1, "k", "a", 0).stored(true, 1, 10);
    assert_right(&[write.clone(), Event::get(2, "k", 5).got("", 0, 6)]);
    assert_right(&[write.clone(), Event::get(2, "k", 5).got("a", 1, 6)]);
    assert_right(&[write, Event::get(2, "k", 2).got("a", 1, 3), Event::get(3, "k", 4).got("a", 1, 6)]);
}

#[test]
fn an_empty_value_is_not_an_absent_one() {
    assert_right(&[
        Event::put(1, "k", "", 0).if_revision(0).stored(true, 4, 1),
        Event::get(1, "k", 2).got("", 4, 3),
        Event::put(1, "k", "x", 4).if_revision(0).stored(false, 4, 5),
    ]);
}

#[test]
fn a_write_without_an_answer_may_take_effect_at_any_time_or_never() {
    let lost = Event::put(1, "k", "late", 0);
    let before = Event::get(2, "k", 10).got("", 0, 11);
    let after = Event::get(2, "k", 20).got("late", 3, 21);
    assert_right(std::slice::from_ref(&lost));
    assert_right(&[lost.clone(), before.clone()]);
    assert_right(&[lost.clone(), before.clone(), after.clone()]);
    assert_right(&[lost.unknown(5), before, after]);
}

#[test]
fn a_read_without_an_answer_says_nothing() {
    assert_right(&[Event::get(1, "k", 0), Event::get(1, "k", 1).unknown(2)]);
}

#[test]
fn a_refused_write_has_no_effect() {
    assert_right(&[Event::put(1, "k", "a", 0).refused(1), Event::get(1, "k", 2).got("", 0, 3)]);
}

#[test]
fn a_failed_condition_changes_nothing_and_tells_the_revision() {
    assert_right(&[
        Event::put(1, "k", "a", 0).stored(true, 3, 1),
        Event::put(2, "k", "b", 2).if_revision(2).stored(false, 3, 3),
        Event::delete(2, "k", 4).if_revision(9).deleted(false, true, 3, 5),
        Event::get(1, "k", 6).got("a", 3, 7),
        Event::put(2, "k", "c", 8).if_revision(3).stored(true, 6, 9),
    ]);
}

#[test]
fn a_conditional_write_without_an_answer_may_have_held_or_failed() {
    let unanswered = Event::put(1, "k", "b", 2).if_revision(1);
    for (value, revision) in [("a", 1), ("b", 2)] {
        assert_right(&[
            Event::put(1, "k", "a", 0).stored(true, 1, 1),
            unanswered.clone(),
            Event::get(2, "k", 5).got(value, revision, 6),
        ]);
    }
}

#[test]
fn an_append_whose_answer_was_not_kept_counts_as_applied() {
    assert_right(&[
        Event::append(1, "k", "1.0;", 0).already_applied(1, 5),
        Event::get(1, "k", 6).got("1.0;", 1, 7),
    ]);
}

#[test]
fn a_history_that_goes_on_from_earlier_data() {
    let events = [
        Event::get(1, "k", 0).got("old", 7, 1),
        Event::append(1, "k", "1.0;", 2).appended("old", true, 8, 3),
        Event::append(1, "other", "1.0;", 2).appended("older", true, 2, 3),
    ];
    assert!(!verdict(&events).is_linearizable());
    let verdict = judge(&events, &Options { starts_empty: false, ..Options::default() });
    assert!(verdict.is_linearizable(), "{verdict}");
}

/// Returns the history of a run against a right store: each operation takes effect at one moment of
/// its interval, and some answers get lost.
fn honest_history(clients: u64, operations: u64, keys: u64, lost: impl Fn(u64) -> bool) -> Vec<Event> {
    let mut values = vec![String::new(); keys as usize];
    let mut revisions = vec![0u64; keys as usize];
    (0..operations)
        .map(|n| {
            let client = n % clients;
            let number = n / clients;
            // The moment of effect is 1000 n; the interval around it overlaps those of the others.
            let (called, returned) = (
                1000 * clients + 1000 * n - n * 7919 % (900 * clients / 2),
                1000 * clients + 1000 * n + n * 104_729 % (900 * clients / 2),
            );
            let index = (n * 31 + n / 7) as usize % keys as usize;
            let (key, value, revision) = (format!("k{index}"), &mut values[index], &mut revisions[index]);
            if n % 3 == 0 {
                return Event::get(client, key, called).got(value.clone(), *revision, returned);
            }
            let token = Token { client, number }.to_string();
            let event = Event::append(client, key, &token, called);
            let (old, found) = (value.clone(), *revision != 0);
            *value += &token;
            *revision += 1;
            if lost(n) { event } else { event.appended(old, found, *revision, returned) }
        })
        .collect()
}

#[test]
fn a_hundred_thousand_operations_of_twenty_clients() {
    assert_right(&honest_history(20, 100_000, 500, |_| false));
}

#[test]
fn many_operations_of_which_some_are_never_answered() {
    assert_right(&honest_history(20, 20_000, 50, |n| n % 100 == 1));
}

#[test]
fn one_busy_key_without_help_from_tokens() {
    let mut events = honest_history(20, 5_000, 1, |n| n % 50 == 1);
    events.push(Event::delete(99, "k0", u64::MAX / 2).deleted(true, true, 0, u64::MAX / 2 + 1));
    assert_right(&events);
}

/// Returns puts, deletes and conditional puts on one key. Many get no answer; of those one third is
/// applied late and one third never. Answers have revisions or not.
fn history_of_lost_answers(operations: u64, with_revisions: bool) -> Vec<Event> {
    const SPAN: u64 = 20;
    let moment = |n: u64| 1000 * (n + SPAN);
    let mut late: Vec<(u64, String)> = Vec::new();
    let (mut value, mut revision, mut counter) = (String::new(), 0, 0);
    let mut events = Vec::new();
    for n in 0..operations {
        while let Some(index) = late.iter().position(|(due, _)| *due <= n) {
            counter += 1;
            (revision, value) = (counter, late.remove(index).1);
        }
        let spread = n * 7919 % SPAN;
        let (called, returned) = (moment(n) - 400 * spread, moment(n) + 400 * (n * 31 % SPAN));
        let new = format!("v{n}");
        let mut event = match n % 5 {
            0 | 3 => Event::get(n, "k", called).got(value.clone(), revision, returned),
            1 => {
                counter += 1;
                (revision, value) = (counter, new.clone());
                Event::put(n, "k", new, called).stored(true, revision, returned)
            }
            2 => {
                match n % 3 {
                    0 => late.push((n + n % 50, new.clone())),
                    1 => {
                        counter += 1;
                        (revision, value) = (counter, new.clone());
                    }
                    _ => {}
                }
                Event::put(n, "k", new, called).unknown(returned)
            }
            _ => {
                counter += 1;
                let wanted = if n % 2 == 0 { revision } else { revision + 1 };
                let success = wanted == revision;
                if success {
                    (revision, value) = (counter, new.clone());
                }
                Event::put(n, "k", new, called).if_revision(wanted).stored(success, revision, returned)
            }
        };
        if !with_revisions && event.if_revision.is_none() {
            event.revision = None;
        }
        events.push(event);
    }
    events
}

#[test]
fn hundreds_of_unanswered_puts_of_one_key() {
    assert_right(&history_of_lost_answers(3000, true));
    let mut unconditional = history_of_lost_answers(3000, false);
    unconditional.retain(|event| event.if_revision.is_none());
    // Calls that saw the value of a conditional put are removed with it.
    let written: Vec<String> = unconditional.iter().filter_map(|event| event.value.clone()).collect();
    unconditional
        .retain(|event| event.output.as_ref().is_none_or(|seen| seen.is_empty() || written.contains(seen)));
    assert_right(&unconditional);
}

#[test]
fn a_search_that_has_no_time_left_is_no_proof() {
    let options = Options { deadline: Duration::ZERO, ..Options::default() };
    let verdict = judge(&[Event::put(1, "k", "a", 0).stored(true, 1, 1)], &options);
    assert!(
        matches!(verdict.faulty[..], [ref report] if matches!(report.finding, Finding::Undecided(_))),
        "{verdict}"
    );
}
