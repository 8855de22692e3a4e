//! The end of every call.

use skv_client::{Clerk, Error, Options, Transport};
use skv_fake::{Fake, Fate};
use skv_sharding::Revision;
use tokio::sync::watch;

use crate::{TRANSPORTS, careful_clerk, clerk, hasty_clerk};

#[tokio::test]
async fn every_operation_is_answered() {
    for transport in TRANSPORTS {
        let fake = Fake::group(1, 4);
        let clerk = clerk(&fake, transport);
        let missing = clerk.get("k").await.unwrap();
        assert_eq!((missing.found, missing.revision, missing.value.len()), (false, Revision(0), 0));
        let put = clerk.put("k", "a").await.unwrap();
        assert!(put.success);
        let append = clerk.append("k", "b").await.unwrap();
        assert_eq!((&append.old_value[..], append.found), (&b"a"[..], true));
        let got = clerk.get("k").await.unwrap();
        assert_eq!((&got.value[..], got.found, got.revision), (&b"ab"[..], true, append.revision));
        let failed = clerk.put_if("k", "c", put.revision).await.unwrap();
        assert_eq!((failed.success, failed.revision), (false, append.revision));
        assert!(clerk.put_if("k", "c", append.revision).await.unwrap().success);
        assert!(!clerk.delete_if("k", Revision(0)).await.unwrap().success);
        let deleted = clerk.delete("k").await.unwrap();
        assert_eq!((deleted.success, deleted.found, deleted.revision), (true, true, Revision(0)));
        assert!(!clerk.get("k").await.unwrap().found);
        assert!(
            fake.seen()
                .iter()
                .all(|seen| seen.is_direct() && seen.streamed == (transport == Transport::Stream))
        );
    }
}

#[tokio::test]
async fn one_silent_call_does_not_hold_up_the_others() {
    for transport in TRANSPORTS {
        let fake = Fake::group(1, 4);
        let (open, gate) = watch::channel(false);
        fake.rule(move |seen| if seen.key() == b"slow" { Fate::Hold(gate.clone()) } else { Fate::Serve });
        let clerk = clerk(&fake, transport);
        let slow = tokio::spawn({
            let clerk = clerk.clone();
            async move { clerk.put("slow", "v").await }
        });
        for i in 0..20 {
            clerk.put(format!("quick{i}"), "v").await.unwrap();
        }
        open.send_replace(true);
        slow.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn only_silence_gives_the_next_transmission_more_time() {
    for transport in TRANSPORTS {
        let fake = Fake::group(1, 4);
        fake.rule(|seen| match seen.nth {
            0..12 => Fate::Break,
            // Twice the time for each of those would be far beyond the deadline.
            12 => Fate::Lose,
            _ => Fate::Serve,
        });
        clerk(&fake, transport).put("k", "v").await.unwrap();
    }
}

async fn both_errors(clerk: &Clerk) -> (Error, Error) {
    let (get, append) = tokio::join!(clerk.get("k"), clerk.append("k", "x"));
    (get.unwrap_err(), append.unwrap_err())
}

#[tokio::test]
async fn no_call_ends_silently() {
    for transport in TRANSPORTS {
        let mut fake = Fake::group(2, 4);
        let clerk = careful_clerk(&fake, transport);

        fake.rule(|_| Fate::Refuse(skv_proto::Error::DiskFull("log".into())));
        let (get, append) = both_errors(&clerk).await;
        assert!(matches!(get, Error::Refused(skv_proto::Error::DiskFull(_)) | Error::Deadline(_)), "{get}");
        assert!(matches!(append, Error::Refused(skv_proto::Error::DiskFull(_))), "{append}");

        fake.rule(|_| Fate::Refuse(skv_proto::Error::InvalidArgument("empty key".into())));
        let (get, append) = both_errors(&clerk).await;
        assert!(matches!(get, Error::Refused(skv_proto::Error::InvalidArgument(_))), "{get}");
        assert!(matches!(append, Error::Refused(skv_proto::Error::InvalidArgument(_))), "{append}");

        let nobody = fake.not_leader(None, 0);
        fake.rule(move |_| nobody.clone());
        let (get, append) = both_errors(&clerk).await;
        assert!(matches!(get, Error::NoLeader(_) | Error::Deadline(_)), "{get}");
        assert!(matches!(append, Error::NoLeader(_)), "{append}");

        let clerk = hasty_clerk(&fake, transport);
        fake.rule(|_| Fate::Refuse(skv_proto::Error::OutcomeUnknown("deposed".into())));
        let (get, append) = both_errors(&clerk).await;
        assert!(matches!(get, Error::Deadline(_)), "{get}");
        assert!(matches!(append, Error::OutcomeUnknown(_)), "{append}");

        for fate in [Fate::Lose, Fate::Mute, Fate::Break] {
            fake.rule(move |_| fate.clone());
            let (get, append) = both_errors(&clerk).await;
            assert!(matches!(get, Error::Deadline(_)), "{get}");
            assert!(matches!(append, Error::OutcomeUnknown(_)), "{append}");
        }

        fake.kill_server(0);
        fake.kill_server(1);
        let later = hasty_clerk(&fake, transport);
        let error = later.append("k", "x").await.unwrap_err();
        assert!(matches!(error, Error::Unreachable(_)), "{error}");
        fake.kill_manager();
        let error = hasty_clerk(&fake, transport).get("k").await.unwrap_err();
        assert!(matches!(error, Error::Unreachable(_)), "{error}");
    }
}

#[tokio::test]
async fn without_a_majority_the_error_says_what_became_of_each_replica() {
    for transport in TRANSPORTS {
        let mut fake = Fake::group(3, 4);
        let nobody = fake.not_leader(None, 0);
        fake.rule(move |_| nobody.clone());
        let (alive, dead) = (fake.server(1), [fake.server(0), fake.server(2)]);
        fake.kill_server(0);
        fake.kill_server(2);
        let (get, append) = both_errors(&careful_clerk(&fake, transport)).await;
        for error in [get, append] {
            assert!(matches!(error, Error::NoLeader(_)), "{error}");
            let text = error.to_string();
            assert!(text.starts_with("no replica of group g0 serves: "), "{text}");
            assert!(text.contains(&format!("at {alive} says that it hears no leader")), "{text}");
            for dead in &dead {
                assert!(text.contains(&format!("at {dead} can't be reached (Connection refused")), "{text}");
            }
            assert!(text.contains("a majority of the group is needed"), "{text}");
        }
    }
}

#[tokio::test]
async fn what_was_lost_stays_unknown_also_if_nobody_serves_later() {
    let mut fake = Fake::group(3, 4);
    let nobody = fake.not_leader(None, 0);
    fake.rule(move |seen| if seen.nth == 0 { Fate::Break } else { nobody.clone() });
    fake.kill_server(2);
    let error = careful_clerk(&fake, Transport::Unary).append("k", "x").await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown(_)), "{error}");
    assert!(error.to_string().contains("a majority of the group is needed"), "{error}");
}

#[tokio::test]
async fn a_call_is_refused_only_if_every_transmission_was() {
    let fake = Fake::group(1, 4);
    fake.rule(|seen| match seen.nth {
        1 => Fate::Lose,
        _ => Fate::Refuse(skv_proto::Error::Overloaded("queue".into())),
    });
    let error = hasty_clerk(&fake, Transport::Stream).append("k", "x").await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown(_)), "{error}");
}

#[tokio::test]
async fn what_cannot_be_right_is_refused_before_it_is_sent() {
    assert!(matches!(Clerk::connect(Options::manager(Vec::<String>::new())), Err(Error::Invalid(_))));
    for address in ["", "localhost", "localhost:", "localhost:99999", "http://a:1", "a b:1"] {
        let error = Clerk::connect(Options::seeds([address])).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{address}");
    }
    let fake = Fake::group(1, 4);
    let error = clerk(&fake, Transport::Stream).put("k", vec![0; 33 << 20]).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn a_large_value_goes_there_and_back() {
    for transport in TRANSPORTS {
        let fake = Fake::group(1, 4);
        let clerk = clerk(&fake, transport);
        // The size passes the fake's own limit.
        let value = vec![7; 3 << 20];
        clerk.put("k", value.clone()).await.unwrap();
        assert_eq!(clerk.get("k").await.unwrap().value, value);
    }
}
