//! Many keys while the cluster grows.

use skv_client::{Clerk, Options};
use skv_proto::v1::GetRequest;
use skv_proto::v1::kv_client::KvClient;
use tonic::Code;

use crate::lab::Lab;

const KEYS: usize = 1000;

#[tokio::test]
async fn a_thousand_keys_are_where_they_belong_with_one_to_five_servers() {
    let mut lab = Lab::start();
    lab.grow_to(1).await;
    let clerk = Clerk::connect(Options::manager([format!("127.0.0.1:{}", lab.master_port)])).unwrap();
    for key in 0..KEYS {
        clerk.put(key.to_string(), value(key)).await.unwrap();
    }
    assert_placed(&lab).await;
    for servers in 2..=5 {
        lab.grow_to(servers).await;
        assert_placed(&lab).await;
        let key = KEYS - servers;
        lab.get_at(key % servers, &key.to_string()).await.assert_found(&value(key));
        lab.get_at((key + 1) % servers, &key.to_string()).await.assert_code(2);
    }
}

#[tokio::test]
async fn two_servers_that_join_at_once_each_get_their_share() {
    let mut lab = Lab::start();
    lab.grow_to(1).await;
    let clerk = Clerk::connect(Options::manager([format!("127.0.0.1:{}", lab.master_port)])).unwrap();
    for key in 0..KEYS {
        clerk.put(key.to_string(), value(key)).await.unwrap();
    }
    lab.start_server();
    lab.start_server();
    lab.settled(3).await;
    // The server that came first of the two is the second server.
    if lab.locate("1").await.port != u32::from(lab.servers[1].port) {
        lab.servers.swap(1, 2);
    }
    assert_placed(&lab).await;
    for key in ["3", "4", "5"] {
        lab.get(key).await.assert_found(&value(key.parse().unwrap()));
    }
}

fn value(key: usize) -> String {
    format!("value of {key}")
}

/// Asks every server directly for every key, as `clt -d 1` does.
async fn assert_placed(lab: &Lab) {
    let count = lab.servers.len();
    for (index, server) in lab.servers.iter().enumerate() {
        let mut kv = KvClient::connect(format!("http://127.0.0.1:{}", server.port)).await.unwrap();
        for key in 0..KEYS {
            let get = GetRequest { key: key.to_string().into(), direct: true, ..GetRequest::default() };
            let answer = kv.get(get).await;
            if key % count == index {
                assert_eq!(answer.unwrap().into_inner().value, value(key), "{key} at {index} of {count}");
            } else {
                let refused = answer.unwrap_err();
                assert_eq!(
                    refused.code(),
                    Code::FailedPrecondition,
                    "{key} at {index} of {count}: {refused}"
                );
            }
        }
    }
}
