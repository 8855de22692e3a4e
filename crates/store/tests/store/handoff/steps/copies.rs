//! Copies of a shard: what of them arrives, is given up, or is begun again.

use super::*;

#[test]
fn an_older_word_neither_revives_a_deleted_key_nor_undoes_a_write() {
    let (source, target) = copying();
    run(&source, put("deleted", "old")).unwrap();
    run(&source, put("written", "old")).unwrap();
    let base = source.base_copy(&to(2, 1)).unwrap();
    let position = base.position();
    let base: Vec<Chunk> = base.into_chunks(1).collect();
    run(&source, delete("deleted")).unwrap();
    run(&source, put("written", "new")).unwrap();
    let difference = source.difference(&to(2, 1), position, usize::MAX).unwrap();
    assert_eq!((difference.chunk.keys.len(), difference.chunk.tombstones.len()), (1, 1));
    take(&target, &chunk(2, difference.chunk)).unwrap();
    for part in base {
        take(&target, &chunk(2, part)).unwrap();
    }
    take(&source, &freeze(2)).unwrap();
    let install = source.installation(&to(2, 1), difference.position).unwrap();
    take(&target, &step(2, Step::Install(install))).unwrap();
    assert_eq!(value(&target, "deleted"), Ok(None));
    assert_eq!(value(&target, "written"), Ok(Some("new".to_owned())));
}

/// All sessions of a shard may be more than goes into one entry of the target's log.
#[test]
fn sessions_are_sent_in_parts_too() {
    let sessions = 2000;
    let limits = v1::Limits { max_sessions_per_shard: sessions, ..limits() };
    let (source, target) = begun(limited(0, true, limits), limited(1, false, limits));
    for session in 0..sessions {
        let key = (session % 7).to_string();
        run(&source, by((101 + session, 1), 1, 0, put(&key, "value"))).unwrap();
    }
    let (mut position, mut parts) = (source.beginning(&to(2, 1)).unwrap(), 0);
    loop {
        let difference = source.difference(&to(2, 1), position, 4096).unwrap();
        if !difference.more {
            break;
        }
        assert!(difference.chunk.encoded_len() < 2 * 4096, "{} bytes", difference.chunk.encoded_len());
        take(&target, &chunk(2, difference.chunk)).unwrap();
        (position, parts) = (difference.position, parts + 1);
    }
    assert!(parts > 10, "{parts}");
    take(&source, &freeze(2)).unwrap();
    let install = source.installation(&to(2, 1), position).unwrap();
    assert!(install.encoded_len() < 3 * 4096, "{} bytes", install.encoded_len());
    take(&target, &step(2, Step::Install(install))).unwrap();
    for session in 0..sessions {
        let key = (session % 7).to_string();
        let (again, revision) = (by((101 + session, 1), 1, 0, put(&key, "value")), Revision(session + 1));
        assert_eq!(run(&target, again), Ok(Answer::Put { success: true, revision }));
    }
}

/// Its last request would else be taken for a new one: the copy is older than that.
#[test]
fn a_session_that_was_forgotten_while_it_was_copied_stays_forgotten() {
    let (source, target) = copying();
    run(&source, by(S1, 1, 0, append("key", "a"))).unwrap();
    let base = source.base_copy(&to(2, 1)).unwrap();
    let position = base.position();
    let base: Vec<Chunk> = base.into_chunks(usize::MAX).collect();
    let last = by(S1, 2, 0, append("key", "b"));
    run(&source, last.clone()).unwrap();
    for other in 2..5 {
        run(&source, by((100 + other, other), 1, 0, append("key", "x"))).unwrap();
    }
    let expired = Rejection::SessionExpired { floor: 101 };
    assert_eq!(run(&source, last.clone()), Err(expired), "there is room for three");
    take(&source, &freeze(2)).unwrap();
    let install = source.installation(&to(2, 1), position).unwrap();
    for part in &base {
        take(&target, &chunk(2, part.clone())).unwrap();
    }
    take(&target, &step(2, Step::Install(install))).unwrap();
    assert_eq!(run(&target, last), Err(expired));
}

/// Deletions that one copy has forgotten must not come back by another.
#[test]
fn a_copy_that_is_given_up_leaves_nothing_to_the_next_one() {
    let (source, target) = copying();
    for key in ["stays", "goes", "comes again"] {
        run(&source, put(key, "old")).unwrap();
    }
    let position = source.base_copy(&to(2, 1)).unwrap().position();
    let first: Vec<Chunk> = source.base_copy(&to(2, 1)).unwrap().into_chunks(1).collect();
    for part in &first {
        take(&target, &chunk(2, part.clone())).unwrap();
    }
    run(&source, delete("goes")).unwrap();
    run(&source, delete("comes again")).unwrap();
    let given_up = pause(2, source.backlog(&to(2, 1)).unwrap().copy);
    take(&source, &given_up).unwrap();
    assert_eq!(source.departures()[0].progress, Progress::Queued);
    assert_eq!(source.backlog(&to(2, 1)), None);
    let is_kept = |item: v1::SnapshotItem| matches!(item.item, Some(Item::Tombstone(_) | Item::Forgotten(_)));
    assert!(!source.view().into_items().any(is_kept), "nothing is kept for a target that is away");
    assert!(value(&source, "stays").is_ok(), "it is served");

    let later = begin_copy(2, CopyId(77));
    take(&source, &later).unwrap();
    run(&source, put("comes again", "new")).unwrap();
    assert!(source.difference(&to(2, 1), position, usize::MAX).is_none(), "that was of another copy");
    assert_eq!(take(&source, &given_up), Ok(()), "it is done");
    assert_eq!(source.departures()[0].progress, Progress::Copying, "a later copy goes on");
    let (base, install) = frozen(&source, to(2, 1));
    take(&target, &chunk(2, base)).unwrap();
    let target = restored(&target, 9);
    take(&target, &step(2, Step::Install(install))).unwrap();
    assert_eq!(value(&target, "stays"), Ok(Some("old".to_owned())));
    assert_eq!(value(&target, "goes"), Ok(None));
    assert_eq!(value(&target, "comes again"), Ok(Some("new".to_owned())));
}

/// An old part that comes late costs time, and nothing else.
#[test]
fn parts_of_two_copies_are_never_one_shard() {
    let (source, target) = copying();
    run(&source, put("goes", "old")).unwrap();
    let first: Vec<Chunk> = source.base_copy(&to(2, 1)).unwrap().into_chunks(usize::MAX).collect();
    take(&source, &pause(2, CopyId(2))).unwrap();
    run(&source, delete("goes")).unwrap();
    run(&source, put("stays", "new")).unwrap();
    take(&source, &begin_copy(2, CopyId(3))).unwrap();
    let (base, install) = frozen(&source, to(2, 1));
    let install = step(2, Step::Install(install));
    take(&target, &chunk(2, base.clone())).unwrap();
    take(&target, &chunk(2, first[0].clone())).unwrap();
    assert_eq!(take(&target, &install), Err(StepRefusal::Incomplete));
    take(&target, &chunk(2, base)).unwrap();
    take(&target, &install).unwrap();
    assert_eq!((value(&target, "goes"), value(&target, "stays")), (Ok(None), Ok(Some("new".to_owned()))));
}

/// The target's copy may be of a history that the survivor never heard of.
#[test]
fn a_group_that_is_reset_begins_its_copies_anew() {
    let (source, target) = copying();
    let survivor = restored(&source, 9);
    run(&source, put("key", "lost")).unwrap();
    for part in source.base_copy(&to(2, 1)).unwrap().into_chunks(usize::MAX) {
        take(&target, &chunk(2, part)).unwrap();
    }
    let position = survivor.beginning(&to(2, 1)).unwrap();
    survivor.apply(&encode_reset(1000, Incarnation(1))).unwrap();
    // Under the same revision as what was lost.
    run(&survivor, put("key", "kept")).unwrap();
    assert!(survivor.difference(&to(2, 1), position, usize::MAX).is_none());
    let (base, install) = frozen(&survivor, to(2, 1));
    take(&target, &chunk(2, base)).unwrap();
    take(&target, &step(2, Step::Install(install))).unwrap();
    assert_eq!(value(&target, "key"), Ok(Some("kept".to_owned())));

    let (source, _) = copying();
    take(&source, &freeze(2)).unwrap();
    let position = source.beginning(&to(2, 1)).unwrap();
    source.apply(&encode_reset(1000, Incarnation(1))).unwrap();
    assert_eq!(source.departures()[0].progress, Progress::Frozen, "a freeze is never undone");
    assert!(source.installation(&to(2, 1), position).is_none(), "the whole shard has to be sent");
}

/// A leader that leads again may still have a word on its way about what was given up since.
#[test]
fn a_freeze_is_of_the_copy_that_it_names() {
    let (source, _target) = copying();
    take(&source, &pause(2, CopyId(2))).unwrap();
    take(&source, &begin_copy(2, CopyId(3))).unwrap();
    assert_eq!(
        take(&source, &freeze(2)),
        Err(StepRefusal::NotDue),
        "the target may have nothing of this one"
    );
    assert_eq!(source.departures()[0].progress, Progress::Copying);
    run(&source, put("key", "value")).unwrap();
    assert_eq!(take(&source, &freeze_copy(2, CopyId(3))), Ok(()));
    assert_eq!(take(&source, &freeze(2)), Ok(()), "what is frozen stays so");
    assert_eq!(source.departures()[0].progress, Progress::Frozen);
}

#[test]
fn a_freeze_is_not_undone_by_giving_up_its_copy() {
    let (source, _target) = copying();
    let copy = source.backlog(&to(2, 1)).unwrap().copy;
    take(&source, &freeze(2)).unwrap();
    assert_eq!(source.backlog(&to(2, 1)), None, "it gets no longer");
    assert_eq!(take(&source, &pause(2, copy)), Ok(()));
    assert_eq!(source.departures()[0].progress, Progress::Frozen);
}

/// Deleted keys are kept for the target only, as long as that costs less than the shard.
#[test]
fn a_backlog_is_too_much_when_it_costs_more_than_another_copy() {
    let limits = v1::Limits { max_value_bytes: 10 << 20, ..limits() };
    let (source, _target) = begun(limited(0, true, limits), limited(1, false, limits));
    let is_too_much = |source: &Store| source.backlog(&to(2, 1)).unwrap().is_too_much();
    let key = |number: u32| format!("{number:0>90}");
    let mut deleted = 0;
    while !is_too_much(&source) {
        run(&source, put(&key(deleted), "")).unwrap();
        run(&source, delete(&key(deleted))).unwrap();
        deleted += 1;
        assert!(deleted < 100_000, "nobody notices");
    }
    assert!(deleted > 10_000, "{deleted}: so much may always be kept");
    assert!(is_too_much(&restored(&source, 9)), "a snapshot tells as much");
    run(&source, put("large", &"v".repeat(9 << 20))).unwrap();
    assert!(!is_too_much(&source), "a new copy would cost more");
    run(&source, delete("large")).unwrap();
    assert!(is_too_much(&source));
    for number in 0..100 {
        run(&source, put(&key(number), "")).unwrap();
    }
    assert!(!is_too_much(&source), "what is there again isn't gone");
}
