//! Each program is one process of one thread, which listens on its one port of loopback.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;

use skv_process::{eventually, free_port};
use tokio::process::Command;

use crate::lab::Lab;

/// Returns the number of its threads.
fn threads(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/task")).unwrap().count()
}

/// Returns the processes that it has started.
fn children(process: u32) -> Vec<u32> {
    let all =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(|other: &u32| {
        // PID (NAME) STATE PARENT ...
        let stat = fs::read_to_string(format!("/proc/{other}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        parent == Some(process)
    })
    .collect()
}

/// Returns the addresses on which it listens, as the kernel writes them.
fn listening(process: u32) -> BTreeSet<String> {
    let files = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let links: Vec<String> =
        files.filter_map(|file| Some(fs::read_link(file.ok()?.path()).ok()?.to_str()?.to_owned())).collect();
    let mut addresses = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        let table = fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (address, state, inode) = (fields[1], fields[3], fields[9]);
            if state == "0A" && links.contains(&format!("socket:[{inode}]")) {
                addresses.insert(address.to_owned());
            }
        }
    }
    addresses
}

fn loopback(port: u16) -> BTreeSet<String> {
    BTreeSet::from([format!("0100007F:{port:04X}")])
}

#[tokio::test]
async fn master_and_servers_have_one_thread_and_one_port_each() {
    let mut lab = Lab::start();
    lab.grow_to(2).await;
    // This holds also with everything that joins, moves and requests make them do.
    lab.start_server();
    for key in 0..20 {
        lab.put(&key.to_string(), "value").await.assert_code(0);
        let all = lab.servers.iter().map(|server| (server.port, &server.process));
        for (_, process) in all.chain([(lab.master_port, &lab.master)]) {
            assert_eq!((threads(process.id()), children(process.id())), (1, vec![]));
        }
    }
    lab.settled(3).await;
    let all = lab.servers.iter().map(|server| (server.port, &server.process));
    for (port, process) in all.chain([(lab.master_port, &lab.master)]) {
        assert_eq!((threads(process.id()), children(process.id())), (1, vec![]));
        assert_eq!(listening(process.id()), loopback(port));
    }
}

#[tokio::test]
async fn a_client_has_one_thread_and_listens_nowhere() {
    let lab = Lab::start();
    let (nobody, master) = (free_port().to_string(), lab.master_port.to_string());
    for target in [["-d", "1", "-p", &*nobody], ["-d", "0", "-m", &*master]] {
        let mut client = Command::new(&lab.programs.client);
        client.args(["-o", "GET", "-k", "1"]).args(target).stdin(Stdio::null()).kill_on_drop(true);
        let mut client = client.stderr(Stdio::null()).spawn().unwrap();
        let process = client.id().unwrap();
        // The client has begun to look for a server that answers.
        eventually("the client runs its program", || async move {
            let links = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
            let mut links = links.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
            links.find(|link| link.to_string_lossy().contains("[eventpoll]"))
        })
        .await;
        assert_eq!((threads(process), children(process)), (1, vec![]));
        assert_eq!(listening(process), BTreeSet::new());
        client.kill().await.unwrap();
    }
}
