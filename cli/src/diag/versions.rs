//! The versions of the programs of a store.

use std::collections::BTreeMap;

use futures::future::join_all;
use skv_proto::v1;
use tokio::time::timeout;

use crate::target::{Target, explain};
use crate::{admin, complaint};

/// A program, and its version if it is known.
type Program = (String, anyhow::Result<String>);

/// Returns a line for this program, one for each server of the map, if there is one, and one for the API server in
/// Kubernetes.
pub(super) async fn text(target: &Target, map: Option<&v1::ShardMap>) -> String {
    let mut programs: Vec<Program> = vec![("skv".to_owned(), Ok(env!("CARGO_PKG_VERSION").to_owned()))];
    let servers = map.map(servers).unwrap_or_default();
    let asked =
        servers.into_iter().map(async |(name, address)| (name.to_owned(), ask(target, address).await));
    programs.extend(join_all(asked).await);
    if let Some(store) = target.in_cluster() {
        programs.push(("Kubernetes".to_owned(), store.kubernetes_version().await));
    }
    lines(programs)
}

/// Returns the peer address of each server by its name: one that is in several groups is asked once.
fn servers(map: &v1::ShardMap) -> BTreeMap<&str, &str> {
    let replicas = map.groups.iter().flat_map(|group| &group.replicas);
    replicas.map(|replica| (replica.server.as_str(), replica.peer_address.as_str())).collect()
}

/// Returns the version that the server at this peer address reports.
async fn ask(target: &Target, address: &str) -> anyhow::Result<String> {
    let asked = async {
        let mut client = admin::connect(target, address).await?;
        let answer = client.status(v1::StatusRequest {}).await;
        anyhow::Ok(answer.map_err(|status| explain(&status, address))?.into_inner().version)
    };
    let answered = timeout(target.timeout(), asked).await;
    answered.unwrap_or_else(|_| Err(anyhow::anyhow!("{address} doesn't answer")))
}

fn lines(programs: Vec<Program>) -> String {
    let lines = programs.into_iter().map(|(name, version)| match version {
        Ok(version) => format!("{name} {version}"),
        Err(error) => format!("{name} unknown: {}", complaint::text(&error)),
    });
    lines.fold(String::new(), |all, line| all + &line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_cant_be_reached_is_told_beside_the_others() {
        let known = |name: &str, version: &str| (name.to_owned(), Ok(version.to_owned()));
        let silent = anyhow::anyhow!("connection refused").context("can't connect to kv-g0-1:7001");
        let programs = vec![
            known("skv", "0.2.0"),
            known("kv-g0-0", "0.1.0"),
            ("kv-g0-1".to_owned(), Err(silent)),
            known("kv-g0-2", "0.2.0"),
        ];
        assert_eq!(
            lines(programs),
            "skv 0.2.0\nkv-g0-0 0.1.0\nkv-g0-1 unknown: can't connect to kv-g0-1:7001: connection refused\n\
             kv-g0-2 0.2.0\n"
        );
    }

    #[test]
    fn a_server_of_several_groups_is_asked_once() {
        let replica = |server: &str| v1::Replica {
            server: server.to_owned(),
            peer_address: format!("{server}:7001"),
            ..v1::Replica::default()
        };
        let group = |servers: [&str; 2]| v1::Group {
            replicas: servers.map(replica).to_vec(),
            ..v1::Group::default()
        };
        let groups = vec![group(["s0", "s1"]), group(["s1", "s2"])];
        let map = v1::ShardMap { groups, ..v1::ShardMap::default() };
        let expected = [("s0", "s0:7001"), ("s1", "s1:7001"), ("s2", "s2:7001")];
        assert_eq!(servers(&map), BTreeMap::from(expected));
    }
}
