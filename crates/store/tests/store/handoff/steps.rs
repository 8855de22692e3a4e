//! The rules of handoffs, one by one.

mod copies;

use prost::Message as _;
use skv_proto::v1;
use skv_proto::v1::handoff_step::{Chunk, Install, Step};
use skv_proto::v1::snapshot_item::Item;
use skv_sharding::{Epoch, Incarnation, MapRevision, Revision};
use skv_store::{
    Answer, Applied, CopyId, Move, Progress, Rejection, StepRefusal, Store, encode_reset, encode_retire,
    encode_tick,
};

use super::world::{
    SHARD, abort, assign, begin, begin_copy, chunk, drop_it, execute, freeze, freeze_copy, limited, limits,
    pause, receive, step, store, take, to,
};
use crate::support::{append, by, delete, dump, put, restored};

const S1: (u64, u64) = (101, 1);

fn commanded(command: v1::Command) -> v1::Command {
    v1::Command { shard: SHARD.0, ..command }
}

fn run(store: &Store, command: v1::Command) -> skv_store::Outcome {
    execute(store, commanded(command))
}

fn value(store: &Store, key: &str) -> Result<Option<String>, Rejection> {
    let found = store.get(key.as_bytes())?;
    Ok(found.map(|(value, _)| String::from_utf8(value.to_vec()).unwrap()))
}

/// A source that copies the shard to group 1 under epoch 2, and the target, which has promised.
fn copying() -> (Store, Store) {
    begun(store(0, true), store(1, false))
}

fn begun(source: Store, target: Store) -> (Store, Store) {
    list(&source, 2, &[to(2, 1)]);
    take(&source, &begin(2)).unwrap();
    take(&target, &receive(2, 0)).unwrap();
    (source, target)
}

fn list(store: &Store, version: u64, moves: &[Move]) -> Vec<Move> {
    match store.apply(&assign(version, moves)).unwrap() {
        Applied::Assigned { accepted: true, frozen, .. } => frozen,
        other => panic!("{other:?}"),
    }
}

/// The whole shard in one chunk and the last step, of a source that is frozen first.
fn frozen(source: &Store, to: Move) -> (Chunk, Install) {
    let base = source.base_copy(&to).unwrap();
    let position = base.position();
    let chunks: Vec<Chunk> = base.into_chunks(usize::MAX).collect();
    take(source, &freeze_copy(to.epoch.0, position.copy())).unwrap();
    let install = source.installation(&to, position).unwrap();
    (chunks.into_iter().next().unwrap_or_default(), install)
}

/// Moves the shard from beginning to end.
fn hand_over(source: &Store, target: &Store, version: u64, to: Move) {
    list(source, version, &[to]);
    take(source, &begin(to.epoch.0)).unwrap();
    take(target, &receive(to.epoch.0, source.facts().unwrap().group.0)).unwrap();
    let (base, install) = frozen(source, to);
    take(target, &chunk(to.epoch.0, base)).unwrap();
    take(target, &step(to.epoch.0, Step::Install(install))).unwrap();
    take(source, &drop_it(to.epoch.0)).unwrap();
}

#[test]
fn a_frozen_shard_answers_nobody_and_consumes_nothing() {
    let (source, target) = copying();
    run(&source, put("key", "old")).unwrap();
    let (base, install) = frozen(&source, to(2, 1));
    let moving = Rejection::Moving { to: to(2, 1) };
    let write = by(S1, 1, 0, append("key", "+"));
    assert_eq!(run(&source, write.clone()), Err(moving));
    assert_eq!(value(&source, "key"), Err(moving));
    assert_eq!(source.departures()[0].progress, Progress::Frozen);
    take(&target, &chunk(2, base)).unwrap();
    take(&target, &step(2, Step::Install(install))).unwrap();
    run(&target, write.clone()).unwrap();
    run(&target, write).unwrap();
    assert_eq!(value(&target, "key"), Ok(Some("old+".to_owned())));
}

#[test]
fn a_shard_is_invisible_until_it_is_whole() {
    let (source, target) = copying();
    run(&source, put("key", "value")).unwrap();
    let (base, install) = frozen(&source, to(2, 1));
    take(&target, &chunk(2, base)).unwrap();
    let arriving = Rejection::Arriving { epoch: Epoch(2) };
    assert_eq!(value(&target, "key"), Err(arriving));
    assert_eq!(run(&target, put("key", "mine")), Err(arriving));
    assert_eq!((target.owns(SHARD), target.stats().keys), (None, 0));
    take(&target, &step(2, Step::Install(install))).unwrap();
    assert_eq!((target.owns(SHARD), target.stats().keys), (Some(Epoch(2)), 1));
}

#[test]
fn nothing_undoes_a_freeze() {
    let (source, _) = copying();
    take(&source, &freeze(2)).unwrap();
    assert_eq!(list(&source, 3, &[to(3, 2)]), [to(2, 1)], "a redirect hears where the shard goes");
    assert_eq!(list(&source, 4, &[]), [to(2, 1)], "and so does a cancellation");
    assert_eq!(list(&source, 5, &[to(2, 1)]), []);
    assert_eq!(source.departures()[0].to, to(2, 1));
    assert_eq!(take(&source, &begin(3)), Err(StepRefusal::NotDue));
    assert!(source.get(b"key").is_err());
}

#[test]
fn a_move_is_redirected_or_cancelled_until_it_is_frozen() {
    let (source, target) = copying();
    run(&source, put("key", "value")).unwrap();
    list(&source, 3, &[to(3, 2)]);
    assert_eq!(take(&source, &freeze(2)), Err(StepRefusal::Passed(Epoch(3))));
    assert_eq!(source.base_copy(&to(2, 1)).map(|base| base.bytes()), None);
    list(&source, 4, &[]);
    assert_eq!(source.departures(), []);
    assert_eq!(value(&source, "key"), Ok(Some("value".to_owned())));
    assert_eq!(list(&source, 5, &[to(3, 2)]), [], "an epoch isn't given twice");
    assert_eq!(source.departures(), []);
    take(&target, &abort(2)).unwrap();
    assert_eq!(target.arrivals(), []);
    assert_eq!(take(&target, &receive(2, 0)), Err(StepRefusal::Passed(Epoch(2))));
}

#[test]
fn a_retry_gets_its_first_answer_however_often_the_shard_moved() {
    let (a, b) = (store(0, true), store(1, false));
    let lost = by(S1, 1, 0, append("key", "once"));
    let answer = run(&a, lost.clone()).unwrap();
    hand_over(&a, &b, 2, to(2, 1));
    hand_over(&b, &a, 2, to(3, 0));
    hand_over(&a, &b, 3, to(4, 1));
    assert_eq!(run(&b, lost), Ok(answer));
    assert_eq!(value(&b, "key"), Ok(Some("once".to_owned())));
}

#[test]
fn old_messages_change_nothing() {
    let (a, b) = (store(0, true), store(1, false));
    run(&a, put("key", "1")).unwrap();
    list(&a, 2, &[to(2, 1)]);
    take(&a, &begin(2)).unwrap();
    take(&b, &receive(2, 0)).unwrap();
    let (base, install) = frozen(&a, to(2, 1));
    let messages = [chunk(2, base), step(2, Step::Install(install))];
    for message in &messages {
        take(&b, message).unwrap();
    }
    take(&a, &drop_it(2)).unwrap();
    run(&b, put("key", "2")).unwrap();
    for message in &messages {
        assert_eq!(take(&b, message), Ok(()), "it is done");
    }
    assert_eq!(take(&b, &abort(2)), Err(StepRefusal::Passed(Epoch(2))));
    assert_eq!(value(&b, "key"), Ok(Some("2".to_owned())));
    hand_over(&b, &a, 2, to(3, 0));
    run(&a, put("key", "3")).unwrap();
    for message in [begin(2), freeze(2), drop_it(2)] {
        assert_eq!(take(&a, &message), Err(StepRefusal::Passed(Epoch(3))));
    }
    for message in &messages {
        assert_eq!(take(&b, message), Ok(()), "it was done once, and nothing comes of it");
    }
    assert_eq!(value(&a, "key"), Ok(Some("3".to_owned())));
    assert_eq!(run(&b, put("key", "4")), Err(Rejection::WrongGroup { next: Some(to(3, 0)) }));
}

#[test]
fn of_a_shard_that_went_only_the_fence_is_left() {
    let (a, b) = (store(0, true), store(1, false));
    run(&a, by(S1, 1, 0, put("key", "value"))).unwrap();
    hand_over(&a, &b, 2, to(2, 1));
    let items: Vec<_> = a.view().into_items().filter_map(|item| item.item).collect();
    assert!(
        matches!(&items[..], [Item::Group(_), Item::Shard(state)] if state.holding.is_none()),
        "{items:?}"
    );
    assert_eq!(a.stats(), skv_store::Stats::default());
    let elsewhere = Rejection::WrongGroup { next: Some(to(2, 1)) };
    assert_eq!(value(&a, "key"), Err(elsewhere));
}

#[test]
fn old_messages_change_nothing_after_a_snapshot_either() {
    let (a, b) = (store(0, true), store(1, false));
    run(&a, by(S1, 1, 0, put("key", "1"))).unwrap();
    list(&a, 2, &[to(2, 1)]);
    take(&a, &begin(2)).unwrap();
    take(&b, &receive(2, 0)).unwrap();
    let (base, install) = frozen(&a, to(2, 1));
    let coming = [chunk(2, base), step(2, Step::Install(install))];
    for message in &coming {
        take(&b, message).unwrap();
    }
    run(&b, put("key", "2")).unwrap();
    let installed = restored(&b, 9);
    let before = dump(&installed);
    assert_eq!(before, dump(&b));
    for message in coming.iter().chain([&receive(2, 0)]) {
        assert_eq!(take(&installed, message), Ok(()), "it is done");
    }
    assert_eq!(take(&installed, &abort(2)), Err(StepRefusal::Passed(Epoch(2))));
    assert_eq!(dump(&installed), before);
    assert_eq!(value(&installed, "key"), Ok(Some("2".to_owned())));

    take(&a, &drop_it(2)).unwrap();
    let dropped = restored(&a, 9);
    let before = dump(&dropped);
    for message in [begin(2), freeze(2), drop_it(2), receive(2, 1)] {
        assert_eq!(take(&dropped, &message), Err(StepRefusal::Passed(Epoch(2))));
    }
    for message in &coming {
        assert_eq!(take(&dropped, message), Err(StepRefusal::Passed(Epoch(2))));
    }
    assert_eq!(list(&dropped, 2, &[to(2, 1)]), [], "it has nothing to give");
    assert_eq!(dump(&dropped), before);
    assert_eq!(value(&dropped, "key"), Err(Rejection::WrongGroup { next: Some(to(2, 1)) }));
}

#[test]
fn what_a_shard_leaves_behind_is_freed_bit_by_bit() {
    let [empty, full] = [0, 2000].map(|keys| {
        let (a, b) = (store(0, true), store(1, false));
        for key in 0..keys {
            run(&a, put(&key.to_string(), "value")).unwrap();
        }
        assert!(!a.free_some(), "nothing has gone yet");
        hand_over(&a, &b, 2, to(2, 1));
        std::iter::from_fn(|| a.free_some().then_some(())).count()
    });
    // Of some 256 keys at a time.
    assert!(full >= empty + 2000 / 256 - 1, "{empty}, {full}");
}

#[test]
fn what_is_not_what_was_sent_is_refused_and_may_be_sent_again() {
    let (source, target) = copying();
    run(&source, put("key", "value")).unwrap();
    let (base, install) = frozen(&source, to(2, 1));
    let install = step(2, Step::Install(install));
    assert_eq!(take(&target, &install), Err(StepRefusal::Incomplete), "the base is missing");
    let mut wrong = base.clone();
    wrong.keys[0].revision += 1;
    take(&target, &chunk(2, wrong)).unwrap();
    assert_eq!(take(&target, &install), Err(StepRefusal::Incomplete));
    assert_eq!(value(&target, "key"), Err(Rejection::Arriving { epoch: Epoch(2) }));
    take(&target, &chunk(2, base)).unwrap();
    take(&target, &install).unwrap();
    assert_eq!(value(&target, "key"), Ok(Some("value".to_owned())));
}

#[test]
fn a_group_takes_nothing_back_while_it_holds_it() {
    let (a, b) = (store(0, true), store(1, false));
    list(&a, 2, &[to(2, 1)]);
    take(&a, &begin(2)).unwrap();
    take(&b, &receive(2, 0)).unwrap();
    let (base, install) = frozen(&a, to(2, 1));
    take(&b, &chunk(2, base)).unwrap();
    take(&b, &step(2, Step::Install(install))).unwrap();
    assert_eq!(take(&a, &receive(3, 1)), Err(StepRefusal::Busy), "it hasn't heard that the shard arrived");
    take(&a, &drop_it(2)).unwrap();
    take(&a, &receive(3, 1)).unwrap();
}

#[test]
fn what_a_group_sends_that_was_revived_without_a_drop_changes_nothing() {
    let target = store(1, false);
    hand_over(&store(0, true), &target, 2, to(2, 1));
    run(&target, by(S1, 1, 0, put("key", "new"))).unwrap();
    let before = dump(&target);
    let revived = store(0, true);
    run(&revived, by(S1, 1, 0, put("key", "old"))).unwrap();
    hand_over(&revived, &target, 9, to(2, 1));
    assert_eq!((revived.owns(SHARD), dump(&target)), (None, before));
}

#[test]
fn a_step_before_its_time_is_refused() {
    let (source, target) = (store(0, true), store(1, false));
    assert_eq!(take(&source, &begin(2)), Err(StepRefusal::NotDue));
    list(&source, 2, &[to(2, 1)]);
    assert_eq!(take(&source, &freeze(2)), Err(StepRefusal::NotDue), "nothing is copied yet");
    take(&source, &begin(2)).unwrap();
    assert_eq!(take(&source, &drop_it(2)), Err(StepRefusal::NotDue), "it would be lost");
    assert_eq!(take(&target, &chunk(2, Chunk::default())), Err(StepRefusal::NotDue), "nothing is promised");
    let contents = Some(v1::Contents::default());
    let install = step(2, Step::Install(Install { contents, ..Install::default() }));
    assert_eq!(take(&target, &install), Err(StepRefusal::NotDue));
    assert_eq!(target.owns(SHARD), None);
}

#[test]
fn a_group_retires_only_when_it_holds_nothing_and_then_takes_nothing() {
    let (source, target) = copying();
    let retire = |store: &Store| store.apply(&encode_retire(0)).unwrap();
    assert_eq!(retire(&source), Applied::Retired(false), "it owns the shard");
    assert_eq!(retire(&target), Applied::Retired(false), "it has promised to take it");
    let (base, install) = frozen(&source, to(2, 1));
    assert_eq!(retire(&source), Applied::Retired(false), "the target may not have it yet");
    take(&target, &chunk(2, base)).unwrap();
    take(&target, &step(2, Step::Install(install))).unwrap();
    take(&source, &drop_it(2)).unwrap();
    assert_eq!(retire(&source), Applied::Retired(true));
    assert_eq!(take(&source, &receive(3, 1)), Err(StepRefusal::Retired));
    assert!(source.facts().unwrap().retired);
}

#[test]
fn the_list_of_an_older_manager_is_refused() {
    let source = store(0, true);
    list(&source, 7, &[to(2, 1)]);
    let older = Applied::Assigned { accepted: false, revision: MapRevision(7), frozen: Vec::new() };
    assert_eq!(source.apply(&assign(6, &[])), Ok(older));
    assert_eq!(source.departures().len(), 1);
    assert_eq!(source.obeyed_revision(), MapRevision(7));
    assert!(!source.would_assign(&[to(2, 1)]) && source.would_assign(&[]));
}

#[test]
fn a_move_to_the_group_itself_ends_another_and_is_told_by_its_epoch() {
    let (source, target) = copying();
    let stays = to(3, 0);
    assert!(source.would_assign(&[stays]));
    list(&source, 3, &[stays]);
    assert_eq!((source.departures(), source.owns(SHARD)), (Vec::new(), Some(Epoch(3))));
    assert!(!source.would_assign(&[stays]), "once is enough");
    assert_eq!(take(&source, &freeze(2)), Err(StepRefusal::Passed(Epoch(3))));
    run(&source, by(S1, 9, 0, put("key", "later"))).unwrap();
    // The target never has more than parts of the shard.
    take(&target, &abort(2)).unwrap();
    assert_eq!((target.owns(SHARD), target.highest_epoch()), (None, Epoch(2)));
    // It can go again.
    list(&source, 4, &[to(4, 1)]);
    assert_eq!(source.departures().len(), 1);
}

#[test]
fn a_move_to_the_group_itself_comes_too_late_for_a_frozen_shard() {
    let (source, _target) = copying();
    take(&source, &freeze(2)).unwrap();
    let stays = to(3, 0);
    assert!(!source.would_assign(&[stays]));
    let too_late = Applied::Assigned { accepted: true, revision: MapRevision(3), frozen: vec![to(2, 1)] };
    assert_eq!(source.apply(&assign(3, &[stays])), Ok(too_late));
    assert_eq!(source.owns(SHARD), Some(Epoch(1)));
    take(&source, &drop_it(2)).unwrap();
    assert_eq!(source.owns(SHARD), None);
}

#[test]
fn a_session_lives_on_in_the_time_of_its_new_group() {
    let (source, target) = copying();
    let request = by(S1, 1, 0, put("key", "value"));
    let answer = run(&source, request.clone()).unwrap();
    let (base, install) = frozen(&source, to(2, 1));
    // The target's clock is far ahead: by it the session would be due at once.
    target.apply(&encode_tick(u64::MAX / 2 + 5_000)).unwrap();
    take(&target, &chunk(2, base)).unwrap();
    take(&target, &step(2, Step::Install(install))).unwrap();
    assert_eq!(run(&target, request), Ok(answer.clone()));
    assert_eq!(answer, Answer::Put { success: true, revision: Revision(1) });
}
