//! The scenarios for which the programs were made: one server, two, the law, and one that joins.

use crate::lab::Lab;

#[tokio::test]
async fn one_server_has_every_key() {
    let mut lab = Lab::start();
    lab.grow_to(1).await;
    lab.put("7", "seven").await.assert_code(0);
    lab.get("7").await.assert_found("seven");
    lab.get_at(0, "7").await.assert_found("seven");
    lab.put_at(0, "8", "eight").await.assert_code(0);
    lab.get("8").await.assert_found("eight");
    lab.put("7", "another").await.assert_code(0);
    lab.get_at(0, "7").await.assert_found("another");
    lab.get("9").await.assert_code(2);
    lab.get_at(0, "9").await.assert_code(2);
    // A value may be empty, which isn't the same as no value.
    lab.put("10", "").await.assert_code(0);
    lab.get("10").await.assert_found("");
}

#[tokio::test]
async fn two_servers_share_the_keys() {
    let mut lab = Lab::start();
    lab.grow_to(2).await;
    for key in ["1", "2", "3", "4"] {
        lab.put(key, &format!("value of {key}")).await.assert_code(0);
    }
    for key in ["1", "2", "3", "4"] {
        lab.get(key).await.assert_found(&format!("value of {key}"));
    }
    lab.get("5").await.assert_code(2);
}

#[tokio::test]
async fn a_server_that_is_asked_directly_has_its_own_keys_and_no_others() {
    let mut lab = Lab::start();
    lab.grow_to(3).await;
    // FNV-1 of "word" % 3 is 1, of "" it would be 0.
    let word = usize::try_from(skv_sharding::fnv1(b"word") % 3).unwrap();
    for (key, server) in [("0", 0), ("4", 1), ("299", 2), ("-1", 2), ("-5", 1), ("+6", 0), ("word", word)] {
        let located = lab.locate(key).await;
        assert_eq!((located.shard as usize, located.settled), (server + 1, true), "{key}");
        assert_eq!(located.port, u32::from(lab.servers[server].port), "{key}");

        lab.put_at(server, key, "its own").await.assert_code(0);
        lab.get_at(server, key).await.assert_found("its own");
        for other in (0..3).filter(|other| *other != server) {
            lab.get_at(other, key).await.assert_code(2);
            let refused = lab.put_at(other, key, "foreign").await;
            refused.assert_code(1);
            assert!(refused.errors.contains("doesn't hold the key"), "{refused:?}");
        }
        lab.get_at(server, key).await.assert_found("its own");
        lab.get(key).await.assert_found("its own");
    }
}

#[tokio::test]
async fn a_server_that_joins_gets_its_share() {
    let mut lab = Lab::start();
    lab.grow_to(1).await;
    let keys: Vec<String> = (0..10).map(|key| key.to_string()).collect();
    for key in &keys {
        lab.put(key, &format!("value of {key}")).await.assert_code(0);
    }
    let new = lab.start_server();
    // The test doesn't wait for the end: a client that asks for a key on its way has to wait.
    lab.answer_at(new, "1").await.assert_found("value of 1");
    for key in &keys {
        lab.get(key).await.assert_found(&format!("value of {key}"));
    }
    lab.settled(2).await;
    for (number, key) in keys.iter().enumerate() {
        lab.get_at(number % 2, key).await.assert_found(&format!("value of {key}"));
        lab.get_at((number + 1) % 2, key).await.assert_code(2);
    }
}
