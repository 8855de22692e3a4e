//! The command line of each process, from the manifest and the record. Pure.

use std::path::{Path, PathBuf};

use skv_resource::{CommandLine, Manifest, ShardedKvSpec};

use crate::binaries::Binaries;
use crate::data_dir::{log_file, member_dir};
use crate::record::{Member, Record};

/// A process to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) log: PathBuf,
}

/// Returns the command line of one member on a machine with this number of processors.
pub(crate) fn launch(
    resource: &Manifest,
    record: &Record,
    member: &Member,
    dir: &Path,
    binaries: &Binaries,
    processors: u32,
) -> Launch {
    let mut line = CommandLine::default();
    line.option("--http-listen", member.http_address());
    let data_dir = member_dir(dir, member);
    let program = match member.peer_address() {
        None => {
            manager_arguments(&mut line, resource, record, member, &data_dir);
            &binaries.manager
        }
        Some(peer_address) => {
            line.option("--peer-listen", peer_address);
            server_arguments(&mut line, resource, record, member, &data_dir, processors);
            &binaries.server
        }
    };
    Launch { program: program.clone(), arguments: line.into_arguments(), log: log_file(dir, &member.name) }
}

fn manager_arguments(
    line: &mut CommandLine,
    resource: &Manifest,
    record: &Record,
    member: &Member,
    data_dir: &Path,
) {
    line.option("--listen", member.client_address());
    line.option("--data-dir", data_dir.display());
    // The manifest's number of groups is the wanted one: those that are new join later.
    line.shard_manager(&ShardedKvSpec { groups: record.countable_groups(), ..resource.spec.clone() });
}

fn server_arguments(
    line: &mut CommandLine,
    resource: &Manifest,
    record: &Record,
    member: &Member,
    data_dir: &Path,
    processors: u32,
) {
    let spec = &resource.spec;
    line.option("--server", &member.name);
    match (member.group(), record.shape.ring()) {
        (Some(group), _) => line.option("--group", group),
        (None, Some(ring)) => line.option("--ring", ring),
        (None, None) => {}
    }
    line.option("--client-listen", member.client_address());
    if let Some(manager) = record.manager_address() {
        line.option("--shard-manager", manager);
    }
    let peers = peers(record, member);
    line.option("--worker-threads", worker_threads(spec, processors, peers.len()));
    line.option("--peers", peers.join(","));
    line.server(spec);
    line.data(&spec.storage, data_dir.display());
}

/// Returns the number of threads of each server. The servers of a group, or of a ring, share this
/// machine's processors: threads beyond them would only wait for each other.
fn worker_threads(spec: &ShardedKvSpec, processors: u32, servers: usize) -> u32 {
    spec.server.worker_threads.map_or_else(|| processors.div_ceil(servers as u32), u32::from)
}

/// Returns all members of the same group, or of the ring, each `NAME=CLIENT/PEER`.
fn peers(record: &Record, member: &Member) -> Vec<String> {
    let same = record.members.iter().filter(|other| other.group() == member.group());
    let peers = same.filter_map(|other| {
        Some(format!("{}={}/{}", other.name, other.client_address(), other.peer_address()?))
    });
    peers.collect()
}

#[cfg(test)]
mod tests {
    use skv_sharding::GroupId;

    use super::*;
    use crate::record::Shape;

    fn arguments(spec: &str, name: &str) -> Vec<String> {
        let yaml = format!(
            "{{apiVersion: shardedkv.io/v1alpha1, kind: ShardedKV, metadata: {{name: demo}}, spec: {spec}}}"
        );
        let resource = skv_resource::parse(&yaml).unwrap();
        let groups = [GroupId(0), GroupId(1)].into();
        let mut record = Record::new(Shape::of(&resource), &groups);
        for (port, place) in (1..).zip(record.members.iter_mut().flat_map(|member| member.ports_mut())) {
            *place = port;
        }
        let binaries = Binaries { manager: "/bin/shardmanager".into(), server: "/bin/kvserver".into() };
        let member = record.members.iter().find(|member| member.name == name).unwrap();
        let launch = launch(&resource, &record, member, Path::new("/data"), &binaries, 4);
        assert_eq!(launch.log, Path::new("/data/logs").join(format!("{name}.log")));
        launch.arguments
    }

    fn assert_has(arguments: &[String], expected: &str) {
        assert!(arguments.iter().any(|argument| argument == expected), "{expected}: {arguments:?}");
    }

    #[test]
    fn the_manager_knows_the_shape_and_the_limits_and_the_groups_that_there_are() {
        assert_eq!(
            arguments("{groups: 5, hash: fnv1a}", "demo-manager"),
            [
                "--http-listen=127.0.0.1:2",
                "--listen=127.0.0.1:1",
                "--data-dir=/data/manager",
                "--log-format=text",
                "--groups=2",
                "--replicas=3",
                "--shards=240",
                "--hash=fnv1a",
                "--policy=minimal",
                "--max-key-bytes=4096",
                "--max-value-bytes=1048576",
                "--max-sessions-per-shard=16384",
                "--session-ttl-ms=600000",
            ]
        );
    }

    #[test]
    fn a_server_knows_its_group_and_where_all_others_are() {
        assert_eq!(
            arguments("{replicas: 1}", "demo-g1-0"),
            [
                "--http-listen=127.0.0.1:7",
                "--peer-listen=127.0.0.1:8",
                "--server=demo-g1-0",
                "--group=g1",
                "--client-listen=127.0.0.1:6",
                "--shard-manager=127.0.0.1:1",
                "--worker-threads=4",
                "--peers=demo-g1-0=127.0.0.1:6/127.0.0.1:8",
                "--log-format=text",
                "--heartbeat-ms=50",
                "--election-timeout-ms=250",
                "--snapshot-log-bytes=67108864",
                "--transfer-bytes-per-second=8388608",
                "--data-dir=/data/demo-g1-0",
            ]
        );
        let of_three = arguments("{}", "demo-g0-1");
        assert!(
            of_three.contains(
                &"--peers=demo-g0-0=127.0.0.1:3/127.0.0.1:5,demo-g0-1=127.0.0.1:6/127.0.0.1:8,demo-g0-2=127.0.0.1:9/127.0.0.1:11"
                    .to_owned()
            ),
            "{of_three:?}"
        );
        assert!(of_three.contains(&"--worker-threads=2".to_owned()), "{of_three:?}");
    }

    #[test]
    fn a_server_of_a_ring_knows_the_ring_and_where_all_of_it_is() {
        let spec = "{placement: ring, groups: 3, shards: 3, replicas: 2}";
        let server = arguments(spec, "demo-1");
        for expected in [
            "--server=demo-1",
            "--ring=3,2",
            "--worker-threads=2",
            "--peers=demo-0=127.0.0.1:3/127.0.0.1:5,demo-1=127.0.0.1:6/127.0.0.1:8,demo-2=127.0.0.1:9/127.0.0.1:11",
        ] {
            assert_has(&server, expected);
        }
        assert!(!server.iter().any(|argument| argument.starts_with("--group")), "{server:?}");
        let manager = arguments(spec, "demo-manager");
        for expected in ["--groups=3", "--replicas=2", "--shards=3", "--ring"] {
            assert_has(&manager, expected);
        }
    }

    #[test]
    fn settings_of_the_server_become_flags() {
        let spec = "{server: {workerThreads: 2, memory: 256Mi, logOperations: true, logFormat: json}, storage: {memoryOnly: true}}";
        let arguments = arguments(spec, "demo-g0-0");
        for expected in [
            "--worker-threads=2",
            "--memory=268435456",
            "--log-operations",
            "--log-format=json",
            "--memory-only",
        ] {
            assert_has(&arguments, expected);
        }
        assert!(!arguments.iter().any(|argument| argument.starts_with("--data-dir")), "{arguments:?}");
    }
}
