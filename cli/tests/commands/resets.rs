//! `skv group reset`: it says what there is, chooses a survivor, and revives a group only once.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use skv_fake::{AdminCall, Fake};
use skv_process::signal;
use skv_proto::v1;

use super::{code, err, json, out, skv, skv_in};

#[test]
fn a_group_is_reset_only_without_a_quorum_and_only_on_purpose() {
    let mut fake = Fake::groups(&[3], &[0]);
    let healthy = skv(&fake, &["group", "reset", "g0", "--accept-data-loss"]);
    assert!(code(&healthy) == 1 && err(&healthy).contains("needs no reset"), "{healthy:?}");
    fake.kill_server(0);
    // The former leader has much that was never acknowledged.
    fake.status(1, |replica| replica.last_log.as_mut().unwrap().index = 120);
    fake.status(2, |replica| {
        *replica.last_log.as_mut().unwrap() = v1::LogId { term: 2, replica: 3, index: 110 }
    });
    let asked = skv(&fake, &["group", "reset", "g0"]);
    assert!(code(&asked) == 1 && err(&asked).contains("--accept-data-loss"), "{asked:?}");
    assert_eq!(fake.admin_calls(), []);
    let reset = skv(&fake, &["group", "reset", "g0", "--accept-data-loss"]);
    assert_eq!(code(&reset), 0, "{reset:?}");
    assert_eq!(fake.admin_calls(), [AdminCall::Reset { server: 2 }], "the newest log is chosen");
    assert!(out(&reset).contains("with its log up to 110"), "{reset:?}");
    assert!(out(&reset).contains("/data/former/g0-1"), "{reset:?}");
    let named = skv(&fake, &["group", "reset", "g0", "--from", "kv-1", "--accept-data-loss"]);
    assert_eq!(code(&named), 0, "{named:?}");
    assert_eq!(fake.admin_calls().last(), Some(&AdminCall::Reset { server: 1 }));
    let dead = skv(&fake, &["group", "reset", "g0", "--from", "kv-0", "--accept-data-loss"]);
    assert_eq!(code(&dead), 1, "{dead:?}");
}

#[test]
fn a_reset_says_before_what_is_left_and_what_would_be_lost() {
    let mut fake = Fake::groups(&[3], &[0]);
    fake.kill_server(0);
    let id = |term, index| Some(v1::LogId { term, replica: 1, index });
    fake.status(1, |replica| (replica.last_log, replica.committed) = (id(1, 120), id(1, 115)));
    fake.status(2, |replica| (replica.last_log, replica.committed) = (id(2, 110), id(2, 108)));
    let reset = ["group", "reset", "g0"];
    let asked = skv(&fake, &reset);
    let lost = "Entries up to 115 are known to be committed: at least 5 of them would be lost with kv-2";
    assert!(out(&asked).contains(lost) && out(&asked).contains("doesn't answer"), "{asked:?}");

    // A leader that is gone now told the manager of more.
    let mut map = fake.map();
    map.groups[0].committed = 117;
    fake.publish(map);
    let asked = skv(&fake, &[&reset[..], &["-o", "json"]].concat());
    assert_eq!(code(&asked), 1);
    let left = json(&asked);
    assert_eq!((&left["chosen"], &left["known_lost"]), (&"kv-2".into(), &7.into()), "{left}");
    assert_eq!((&left["committed_index"], &left["revived"]), (&117.into(), &Value::Null), "{left}");
    assert_eq!(left["replicas"][1]["last_log_index"], 120, "{left}");
    assert_eq!(fake.admin_calls(), []);

    let done = json(&skv(&fake, &[&reset[..], &["-o", "json", "--accept-data-loss"]].concat()));
    assert_eq!(done["revived"]["last_log_index"], 110, "{done}");
    assert_eq!(done["revived"]["former_dir"], "/data/former/g0-1", "{done}");
}

#[test]
fn former_lives_are_removed_on_every_server_that_answers_and_only_on_purpose() {
    let mut fake = Fake::groups(&[2], &[0]);
    let remove = ["group", "reset", "g0", "--remove-former"];
    let removed = skv(&fake, &remove);
    assert_eq!(code(&removed), 0, "{removed:?}");
    assert!(out(&removed).contains("kv-1: 1.0 MiB of former lives of g0 are removed"), "{removed:?}");
    let asked = [AdminCall::RemoveFormer { server: 0 }, AdminCall::RemoveFormer { server: 1 }];
    assert_eq!(fake.admin_calls(), asked);
    fake.kill_server(0);
    let removed = skv(&fake, &remove);
    assert!(code(&removed) == 1 && err(&removed).contains("kv-0"), "{removed:?}");
    assert_eq!(code(&skv(&fake, &[&remove[..], &["--accept-data-loss"]].concat())), 1, "not with a reset");
}

#[test]
fn servers_that_are_not_asked_to_remove_former_lives_are_named() {
    let fake = Fake::groups(&[2], &[0]);
    fake.status(1, |replica| {
        let member = |replica, server: &str| v1::membership::Member { replica, server: server.into() };
        let members = vec![member(1, "kv-0"), member(9, "kv-9")];
        let membership = Some(v1::Membership { configs: Vec::new(), members });
        replica.membership = Some(v1::StoredMembership { log_id: None, membership });
    });
    let removed = skv(&fake, &["group", "reset", "g0", "--remove-former"]);
    assert!(code(&removed) == 1 && err(&removed).contains("kv-9 wasn't asked"), "{removed:?}");
    assert!(out(&removed).contains("kv-1: 1.0 MiB") && !err(&removed).contains("kv-0"), "{removed:?}");
}

#[test]
fn a_group_that_was_revived_once_is_not_revived_from_what_it_was_before() {
    let mut fake = Fake::groups(&[3], &[0]);
    fake.kill_server(0);
    fake.status(1, |replica| replica.last_log.as_mut().unwrap().term = 12);
    fake.status(2, |replica| replica.incarnation = 1);
    let reset = ["group", "reset", "g0", "--accept-data-loss"];
    let old = skv(&fake, &[&reset[..], &["--from", "kv-1"]].concat());
    assert!(code(&old) == 1 && err(&old).contains("revived since, as incarnation 1"), "{old:?}");
    let newest = skv(&fake, &reset);
    assert_eq!(code(&newest), 0, "{newest:?}");
    assert_eq!(fake.admin_calls(), [AdminCall::Reset { server: 2 }]);

    // The replicas that were there when it was revived are all gone: the map knows of them.
    fake.kill_server(2);
    let mut map = fake.map();
    map.groups[0].incarnation = 1;
    fake.publish(map);
    let old = skv(&fake, &reset);
    assert!(code(&old) == 1 && err(&old).contains("revived since, as incarnation 1"), "{old:?}");
}

/// The one that makes itself the whole group must not get a twin because somebody repeats the command.
#[test]
fn while_a_reset_goes_on_no_other_replica_is_reset() {
    let mut fake = Fake::groups(&[3], &[0]);
    fake.kill_server(0);
    fake.status(1, |replica| {
        replica.state = v1::ReplicaState::Waiting as i32;
        replica.ready = false;
        replica.reset = Some(v1::ResetProgress::default());
    });
    fake.status(2, |replica| replica.last_log.as_mut().unwrap().index = 120);
    let reset = ["group", "reset", "g0", "--accept-data-loss"];
    let other = skv(&fake, &[&reset[..], &["--from", "kv-2"]].concat());
    assert!(code(&other) == 1 && err(&other).contains("revived from kv-1 already"), "{other:?}");
    let again = skv(&fake, &reset);
    assert_eq!(code(&again), 0, "{again:?}");
    let named = skv(&fake, &[&reset[..], &["--from", "kv-1"]].concat());
    assert_eq!(code(&named), 0, "{named:?}");
    assert_eq!(fake.admin_calls(), [AdminCall::Reset { server: 1 }, AdminCall::Reset { server: 1 }]);
}

/// It may have more than the others, and may have been amid a reset when its server was started again.
#[test]
fn no_replica_is_chosen_while_another_one_opens_its_files() {
    let mut fake = Fake::groups(&[3], &[0]);
    fake.kill_server(0);
    let starting = v1::ReplicaStatus { state: v1::ReplicaState::Waiting as i32, ..Default::default() };
    fake.status(1, |replica| *replica = starting);
    let reset = ["group", "reset", "g0", "--accept-data-loss"];
    let too_early = skv(&fake, &reset);
    assert!(code(&too_early) == 4 && err(&too_early).contains("kv-1 answers"), "{too_early:?}");
    assert_eq!(fake.admin_calls(), []);
    let named = skv(&fake, &[&reset[..], &["--from", "kv-2"]].concat());
    assert_eq!(code(&named), 0, "{named:?}");
}

#[test]
fn a_leader_that_has_just_begun_is_asked_again_before_anything_is_said_of_its_majority() {
    let mut fake = Fake::groups(&[3], &[0]);
    fake.kill_server(1);
    fake.kill_server(2);
    fake.status(0, |replica| replica.ready = false);
    let reset = ["group", "reset", "g0", "--accept-data-loss"];
    let too_early = skv(&fake, &reset);
    assert!(code(&too_early) == 4 && err(&too_early).contains("ask again"), "{too_early:?}");
    let too_early = skv(&fake, &[&reset[..], &["-o", "json"]].concat());
    assert_eq!(code(&too_early), 4, "{too_early:?}");
    let said = json(&too_early);
    let is_said = said["not_yet"].as_str().is_some_and(|reason| reason.contains("kv-0"));
    assert!(said["group"] == 0 && is_said, "{said}");
    assert_eq!(fake.admin_calls(), []);
    fake.status(0, |replica| replica.quorum_lost_ms = 5000);
    let lost = skv(&fake, &reset);
    assert_eq!(code(&lost), 0, "{lost:?}");
    assert_eq!(fake.admin_calls(), [AdminCall::Reset { server: 0 }]);
}

#[test]
fn a_reset_may_take_longer_than_the_timeout() {
    let mut fake = Fake::groups(&[1], &[0]);
    fake.status(0, |replica| replica.quorum_lost_ms = 9000);
    fake.resets_take(Duration::from_millis(1200));
    let reset = ["group", "reset", "g0", "--accept-data-loss", "--timeout", "400ms"];
    let patient = skv(&fake, &reset);
    assert_eq!(code(&patient), 0, "{patient:?}");
    // This doesn't hold for a server that is gone.
    fake.kill_server(0);
    assert_eq!(code(&skv(&fake, &reset)), 1);
}

#[test]
fn a_reset_that_is_interrupted_says_that_it_goes_on() {
    let fake = Fake::groups(&[1], &[0]);
    fake.status(0, |replica| replica.quorum_lost_ms = 9000);
    fake.resets_take(Duration::from_hours(1));
    let home = tempfile::tempdir().unwrap();
    let arguments = ["--manager", &fake.manager(), "group", "reset", "g0", "--accept-data-loss"];
    let mut reset = skv_in(home.path(), &arguments).spawn().unwrap();
    while fake.admin_calls().is_empty() {
        assert_eq!(reset.try_wait().unwrap(), None, "it waits");
        std::thread::sleep(Duration::from_millis(10));
    }
    signal(u64::from(reset.id()), Signal::INT);
    let interrupted = reset.wait_with_output().unwrap();
    assert_eq!(code(&interrupted), 1, "{interrupted:?}");
    assert!(err(&interrupted).contains("kv-0 goes on with the reset of g0"), "{interrupted:?}");
}
