//! The rules that all clerks share: the cases of `testdata/clerk`.

mod case;

use std::fmt::Debug;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use serde::Deserialize;
use skv_client::{Clerk, Error, Options, Transport};
use skv_fake::{Fake, Seen};
use skv_proto::v1;
use skv_sharding::Hash;

use crate::{PATIENT, TRANSPORTS};
use case::{Call, Case, Patience, Sent, Target};

const CALLS: &str = include_str!("../../../../testdata/clerk/calls.yaml");
const PLACEMENT: &str = include_str!("../../../../testdata/clerk/placement.yaml");
/// A low number, so that no transmission takes long on a small machine.
const AT_ONCE: usize = 4;

#[tokio::test]
async fn calls_keep_the_rules_that_all_clerks_share() {
    let cases: Vec<Case> = serde_saphyr::from_str(CALLS).unwrap();
    for transport in TRANSPORTS {
        let runs = stream::iter(&cases).map(async |case| {
            let result = play(case, transport).await;
            result.err().map(|why| format!("{transport:?}, {}: {why}", case.name))
        });
        let failures: Vec<String> = runs.buffer_unordered(AT_ONCE).filter_map(async |f| f).collect().await;
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }
}

async fn play(case: &Case, transport: Transport) -> Result<(), String> {
    let mut fake = Fake::groups(&case.groups, &case.owners);
    fake.publish(v1::ShardMap { hash: v1::Hash::Integer as i32, ..fake.map() });
    fake.sessions_open_as(case.opens.iter().copied());
    if !case.copies {
        fake = fake.without_copies();
    }
    let clerk = connect(case, &fake, transport);
    case.dead.iter().for_each(|&index| fake.kill_server(index));
    if let Target::Manager = case.target {
        wait_for_the_map(&clerk).await;
    }
    let mut sessions = Vec::new();
    for call in &case.calls {
        let (seen, applied) = (fake.seen().len(), fake.applied());
        set_fates(&fake, call);
        let (ends, text) = make(&clerk, call).await;
        expect(&text, &ends, &call.ends)?;
        for words in &call.says {
            let addresses = (0..case.groups.iter().sum()).map(|index| (index, fake.server(index)));
            let words = addresses.fold(words.clone(), |words, (index, address)| {
                words.replace(&format!("{{{index}}}"), &address)
            });
            expect(&format!("{words:?} is in {text:?}"), &text.contains(&words), &true)?;
        }
        if let Some(sent) = &call.sent {
            compare(sent, &fake.seen()[seen..], &mut sessions)?;
        }
        let mutates = call.append.is_some() && ends == "answered";
        let applications = call.applied.unwrap_or(u64::from(mutates));
        expect("how often it is applied", &(fake.applied() - applied), &applications)?;
    }
    Ok(())
}

fn connect(case: &Case, fake: &Fake, transport: Transport) -> Clerk {
    let servers = (0..case.groups.iter().sum()).map(|index| fake.server(index));
    let mut options = match case.target {
        Target::Manager => Options::manager([fake.manager()]),
        Target::Servers => Options::seeds(servers),
        Target::Nobody => Options::manager(["127.0.0.1:1"]),
    };
    options.transport = transport;
    // Stopped servers refuse at once; a running one isn't passed by because the machine is busy.
    options.connect_timeout = PATIENT / 2;
    (options.deadline, options.attempt_timeout) = match case.calls.iter().find_map(|call| call.patience) {
        None => (PATIENT, PATIENT / 2),
        Some(Patience::Attempt) => (PATIENT, Duration::from_secs(1)),
        Some(Patience::Short) => (Duration::from_secs(2), Duration::from_millis(500)),
    };
    Clerk::connect(options).unwrap()
}

/// Returns when keys can be placed, so that a short call isn't over before. Nothing is sent for a
/// key that the hash can't take.
async fn wait_for_the_map(clerk: &Clerk) {
    while !matches!(clerk.get("not a number").await, Err(Error::Invalid(_))) {}
}

fn set_fates(fake: &Fake, call: &Call) {
    let of = |fate: &case::Fate| fate.of(fake);
    let mut first = call.first.iter().map(of).collect::<Vec<_>>().into_iter();
    let (later, at) = (of(&call.later), call.later_at.iter().map(of).collect::<Vec<_>>());
    fake.rule(move |seen| {
        first.next().unwrap_or_else(|| at.get(seen.server).cloned().unwrap_or_else(|| later.clone()))
    });
}

/// Makes a call; returns its end, as the cases name it, and its error's text.
async fn make(clerk: &Clerk, call: &Call) -> (String, String) {
    let result = match (&call.append, &call.get) {
        (Some(key), None) => clerk.append(key.clone(), "x").await.map(|_| ()),
        (None, Some(key)) => clerk.get(key.clone()).await.map(|_| ()),
        _ => panic!("a call is an append or a get: {call:?}"),
    };
    let Err(error) = result else { return ("answered".to_owned(), String::new()) };
    let ends = match &error {
        Error::Invalid(_) => "invalid".to_owned(),
        Error::Refused(refusal) => {
            format!("refused: {}", refusal.reason().as_str_name().trim_start_matches("REASON_"))
        }
        Error::NoLeader(_) => "no leader".to_owned(),
        Error::Unreachable(_) => "unreachable".to_owned(),
        Error::OutcomeUnknown(_) => "outcome unknown".to_owned(),
        Error::AlreadyApplied { revision } => format!("already applied: {}", revision.0),
        Error::Deadline(_) => "no answer".to_owned(),
    };
    (ends, error.to_string())
}

/// Compares the fields that a case names of each transmission. Sessions are numbered as they appear.
fn compare(sent: &[Sent], seen: &[Seen], sessions: &mut Vec<v1::SessionId>) -> Result<(), String> {
    for transmission in seen.iter().filter(|seen| seen.id().is_some()) {
        if !sessions.contains(&transmission.session()) {
            sessions.push(transmission.session());
        }
    }
    for (expected, seen) in sent.iter().zip(seen) {
        let id = seen.id().unwrap_or_default();
        let session = id.session.unwrap_or_default();
        let number = sessions.iter().position(|known| *known == session).map_or(0, |index| index + 1);
        let is_later = expected.opened_after.map(|bound| session.opened_at > bound);
        let what = format!("of {seen:?}");
        expect_if(&what, &seen.server, expected.to.as_ref())?;
        expect_if(&what, &seen.is_direct(), expected.direct.as_ref())?;
        expect_if(&what, &number, expected.session.as_ref())?;
        expect_if(&what, &id.seq, expected.seq.as_ref())?;
        expect_if(&what, &id.acked_below, expected.acked_below.as_ref())?;
        expect_if(&what, &true, is_later.as_ref())?;
    }
    expect(&format!("how many are sent: {seen:?}"), &seen.len(), &sent.len())
}

fn expect_if<T: PartialEq + Debug>(what: &str, found: &T, expected: Option<&T>) -> Result<(), String> {
    expected.map_or(Ok(()), |expected| expect(what, found, expected))
}

fn expect<T: PartialEq + Debug + ?Sized>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{found:?} instead of {expected:?}: {what}")) }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Placed {
    hash: Hash,
    key: String,
    shard: Option<u32>,
    invalid: Option<String>,
}

const SHARDS: u32 = 60;
const GROUPS: u32 = 3;

#[tokio::test]
async fn keys_are_placed_as_all_clerks_place_them() {
    let cases: Vec<Placed> = serde_saphyr::from_str(PLACEMENT).unwrap();
    let owners: Vec<u32> = (0..SHARDS).map(|shard| shard % GROUPS).collect();
    for hash in Hash::ALL {
        let mut fake = Fake::groups(&[1; GROUPS as usize], &owners);
        fake.publish(v1::ShardMap { hash: v1::Hash::from(hash) as i32, ..fake.map() });
        let clerk = Clerk::connect(Options::manager([fake.manager()])).unwrap();
        for case in cases.iter().filter(|case| case.hash == hash) {
            let before = fake.seen().len();
            let got = clerk.get(case.key.clone()).await;
            let servers: Vec<_> = fake.seen()[before..].iter().map(|seen| seen.server).collect();
            match (case.shard, &case.invalid) {
                (Some(shard), None) => {
                    assert!(got.is_ok(), "{case:?}: {got:?}");
                    assert_eq!(servers, [(shard % GROUPS) as usize], "{case:?}");
                }
                (None, Some(text)) => {
                    let error = got.unwrap_err();
                    assert!(matches!(error, Error::Invalid(_)), "{case:?}: {error}");
                    assert!(error.to_string().contains(text), "{case:?}: {error}");
                    assert_eq!(servers, [0; 0], "{case:?}");
                }
                _ => panic!("a key has a shard or is invalid: {case:?}"),
            }
        }
    }
}
