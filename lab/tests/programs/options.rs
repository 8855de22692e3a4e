//! Options and exit codes of the programs, as a shell sees them. All the combinations are tested
//! where options are read.

use std::path::Path;
use std::process::Command;

use skv_process::free_port;

use crate::lab::{Lab, Programs};

/// Runs a program that must refuse its arguments: usage, and exit code 1.
#[track_caller]
fn assert_refused(program: &Path, arguments: &[&str]) {
    let ended = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{arguments:?}: {said}");
    assert!(said.contains("Usage: "), "{arguments:?}: {said}");
    assert!(ended.stdout.is_empty(), "{arguments:?}");
}

#[test]
fn wrong_missing_and_repeated_options_get_the_usage() {
    let Programs { master, server, client } = Programs::of_the_tests();
    for arguments in
        [&[][..], &["-p"], &["-p", "0"], &["-p", "http"], &["-p", "70000"], &["-p", "1", "-p", "1"]]
    {
        assert_refused(&master, arguments);
    }
    for arguments in [&["-x", "1"][..], &["-p", "5000", "rest"], &["-p", "5000", "-m", "1"], &["--help"]] {
        assert_refused(&master, arguments);
    }
    for arguments in [
        &[][..],
        &["-p", "5000"],
        &["-m", "5000"],
        &["-p", "0", "-m", "1"],
        &["-p", "5", "-m", "1", "-m", "1"],
    ] {
        assert_refused(&server, arguments);
    }
    for arguments in [
        &[][..],
        &["-o", "GET", "-k", "1", "-d", "0"],
        &["-o", "GET", "-k", "1", "-m", "9000", "-d", "1"],
        &["-o", "PUT", "-k", "1", "-m", "9000", "-d", "0"],
        &["-o", "get", "-k", "1", "-m", "9000", "-d", "0"],
        &["-o", "GET", "-k", "1", "-m", "9000", "-d", "2"],
        &["-o", "GET", "-k", "1", "-k", "1", "-m", "9000", "-d", "0"],
        &["-o", "GET", "-k", "1", "-m", "9000", "-d", "0", "-v"],
    ] {
        assert_refused(&client, arguments);
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let mut lab = Lab::start();
    lab.grow_to(1).await;
    let taken = lab.servers[0].port.to_string();
    for (program, arguments) in [
        (&lab.programs.master, vec!["-p", &*taken]),
        (&lab.programs.server, vec!["-p", &*taken, "-m", &*lab.master_port.to_string()]),
    ] {
        let ended = tokio::process::Command::new(program).args(&arguments).output().await.unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("can't listen on 127.0.0.1:{taken}")), "{said}");
    }
}

#[tokio::test]
async fn a_client_that_gets_no_answer_ends_and_has_failed() {
    let mut lab = Lab::start();
    lab.grow_to(1).await;
    let (nobody, master) = (free_port().to_string(), lab.master_port.to_string());
    let server = lab.servers[0].port.to_string();
    let unheard = async |option: &str, port: &str, direct: &str| {
        lab.client(&["-o", "GET", "-k", "1", option, port, "-d", direct]).await.assert_code(1);
    };
    // No process listens; master and server are stopped and don't answer; only the server is stopped.
    tokio::join!(unheard("-m", &nobody, "0"), unheard("-p", &nobody, "1"));
    lab.master.pause();
    lab.servers[0].process.pause();
    tokio::join!(unheard("-m", &master, "0"), unheard("-p", &server, "1"));
    lab.master.resume();
    unheard("-m", &master, "0").await;
    lab.servers[0].process.resume();
    lab.get("1").await.assert_code(2);
    lab.client(&["-o", "PUT", "-k", "", "-v", "no key", "-m", &master, "-d", "0"]).await.assert_code(1);
}
