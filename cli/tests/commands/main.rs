//! The command line as a user meets it: its output, and its exit codes.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod resets;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use skv_checker::{Options, judge, read_history};
use skv_fake::{AdminCall, Fake, Fate, Reserved};
use skv_proto::v1::ReplicaState;
use tokio::time::Instant;

/// Runs skv against a store.
fn skv(fake: &Fake, arguments: &[&str]) -> Output {
    let manager = fake.manager();
    bare_skv(&[&["--manager", &manager], arguments].concat(), b"")
}

/// Returns the command that runs skv with this home, and keeps what it says.
fn skv_in(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skv"));
    command.args(arguments).env("SKV_HOME", home).env_remove("SKV_MANAGER");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs skv as if no store had ever been started here.
fn bare_skv(arguments: &[&str], input: &[u8]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let mut child = skv_in(home.path(), arguments).stdin(Stdio::piped()).spawn().unwrap();
    // The program may have ended without reading.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn keys_are_put_read_appended_to_and_deleted() {
    let fake = Fake::group(1, 4);
    let put = skv(&fake, &["put", "k", "hello"]);
    assert_eq!((code(&put), out(&put)), (0, "revision 1\n".into()), "{put:?}");
    let append = skv(&fake, &["append", "k", ", world"]);
    assert_eq!((code(&append), out(&append)), (0, "hello".into()));
    let get = skv(&fake, &["get", "k"]);
    assert_eq!((code(&get), out(&get)), (0, "hello, world".into()));
    let delete = skv(&fake, &["delete", "k"]);
    assert_eq!((code(&delete), out(&delete)), (0, "deleted\n".into()));
}

#[test]
fn a_missing_key_has_an_exit_code_of_its_own() {
    let fake = Fake::group(1, 4);
    let get = skv(&fake, &["get", "k"]);
    assert_eq!((code(&get), out(&get), err(&get)), (2, String::new(), String::new()));
    assert_eq!(code(&skv(&fake, &["delete", "k"])), 2);
}

#[test]
fn a_failed_condition_changes_nothing_and_says_so() {
    let fake = Fake::group(1, 4);
    assert_eq!(code(&skv(&fake, &["put", "k", "a", "--if-revision", "0"])), 0);
    let put = skv(&fake, &["put", "k", "b", "--if-revision", "0"]);
    assert_eq!((code(&put), out(&put)), (3, "not changed: the key has revision 1\n".into()));
    let put = skv(&fake, &["put", "missing", "b", "--if-revision", "7"]);
    assert_eq!((code(&put), out(&put)), (3, "not changed: there is no such key\n".into()));
    assert_eq!(code(&skv(&fake, &["delete", "k", "--if-revision", "9"])), 3);
    assert_eq!(fake.value(b"k"), b"a");
    assert_eq!(code(&skv(&fake, &["delete", "k", "--if-revision", "1"])), 0);
}

#[test]
fn values_come_from_files_and_standard_input() {
    let fake = Fake::group(1, 4);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"\0\xff\n").unwrap();
    assert_eq!(code(&skv(&fake, &["put", "file", &format!("@{}", file.path().display())])), 0);
    assert_eq!(fake.value(b"file"), b"\0\xff\n");
    assert_eq!(skv(&fake, &["get", "file"]).stdout, b"\0\xff\n");
    let manager = fake.manager();
    assert_eq!(code(&bare_skv(&["put", "stdin", "-", "--manager", &manager], b"@piped")), 0);
    assert_eq!(fake.value(b"stdin"), b"@piped");
    let missing = skv(&fake, &["put", "k", "@/no/such/file"]);
    assert_eq!(code(&missing), 1);
    assert!(err(&missing).contains("/no/such/file"), "{missing:?}");
}

#[test]
fn numbers_below_zero_are_keys_and_values() {
    let fake = Fake::group(1, 4);
    assert_eq!(code(&skv(&fake, &["put", "-5", "-7"])), 0);
    assert_eq!(out(&skv(&fake, &["get", "-5"])), "-7");
}

#[test]
fn programs_get_json() {
    let fake = Fake::group(1, 4);
    assert_eq!(json(&skv(&fake, &["put", "k", "v", "-o", "json"]))["revision"], 1);
    let append = json(&skv(&fake, &["append", "k", "w", "-o", "json"]));
    assert_eq!((&append["old"]["value"], &append["found"]), (&"v".into(), &true.into()));
    let get = json(&skv(&fake, &["get", "k", "-o", "json"]));
    assert_eq!((&get["value"], &get["revision"]), (&"vw".into(), &2.into()));
    let missing = skv(&fake, &["get", "missing", "-o", "json"]);
    assert_eq!((code(&missing), &json(&missing)["found"]), (2, &false.into()));
    assert_eq!(json(&skv(&fake, &["delete", "k", "-o", "json"]))["success"], true);
}

#[test]
fn a_server_is_asked_without_a_manager() {
    let mut fake = Fake::group(1, 4);
    fake.kill_manager();
    let server = fake.server(0);
    assert_eq!(code(&bare_skv(&["put", "k", "v", "--server", &server], b"")), 0);
    assert_eq!(out(&bare_skv(&["get", "k", "--server", &server], b"")), "v");
    let map = bare_skv(&["map", "--server", &server, "-o", "json"], b"");
    assert_eq!(json(&map)["shards"], 4);
}

#[test]
fn without_a_store_the_error_says_what_to_do() {
    let get = bare_skv(&["get", "k"], b"");
    assert_eq!(code(&get), 1);
    assert!(err(&get).contains("skv up") && err(&get).contains("--manager"), "{get:?}");
}

#[test]
fn a_store_that_is_gone_is_an_error_that_names_it() {
    let mut fake = Fake::group(1, 4);
    fake.kill_manager();
    let get = skv(&fake, &["get", "k", "--timeout", "200ms"]);
    assert_eq!(code(&get), 1);
    assert!(err(&get).contains(&fake.manager()), "{get:?}");
    let status = skv(&fake, &["status", "--timeout", "200ms"]);
    assert_eq!(code(&status), 1);
    assert!(err(&status).contains(&fake.manager()), "{status:?}");
}

#[test]
fn errors_of_the_store_are_shown() {
    let fake = Fake::group(1, 4);
    fake.rule(|_| Fate::Refuse(skv_proto::Error::InvalidArgument("the key is too long".into())));
    let put = skv(&fake, &["put", "k", "v"]);
    assert_eq!((code(&put), err(&put)), (1, "error: refused: the key is too long\n".into()));
}

#[test]
fn the_workload_does_what_its_seed_says_and_its_history_is_right() {
    let directory = tempfile::tempdir().unwrap();
    let run = |name: &str, seed: &str| {
        let fake = Fake::group(3, 4);
        let path = directory.path().join(name);
        let history = path.to_str().unwrap();
        let run =
            skv(&fake, &["workload", "--ops", "30", "--keys", "3", "--seed", seed, "--history", history]);
        assert_eq!(code(&run), 0, "{run:?}");
        assert_eq!(out(&run).lines().count(), 5 * 30 + 1);
        assert!(out(&run).ends_with(&format!("150 answered, 0 refused, 0 unknown (seed {seed})\n")));
        let events = read_history(&path).unwrap();
        assert!(judge(&events, &Options::default()).is_linearizable());
        let mut asked: Vec<String> =
            events.iter().map(|e| format!("{} {:?} {} {:?}", e.client, e.op, e.key, e.value)).collect();
        asked.sort_by_key(|line| line.split(' ').next().map(str::to_owned));
        asked
    };
    assert_eq!(run("a", "1"), run("b", "1"));
    assert_ne!(run("a", "1"), run("c", "2"));
}

#[test]
fn the_workload_runs_on_one_key_of_one_server() {
    let fake = Fake::group(1, 4);
    let server = fake.server(0);
    let run =
        bare_skv(&["workload", "--key", "K1", "--server", &server, "--clients", "2", "--ops", "10"], b"");
    assert_eq!(code(&run), 0, "{run:?}");
    assert!(fake.seen().iter().all(|seen| seen.key() == b"K1"));
}

#[test]
fn the_workload_tells_refused_from_unknown() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::group(1, 4);
    fake.rule(|seen| match seen.key() {
        b"K1" => Fate::Refuse(skv_proto::Error::InvalidArgument("no".into())),
        _ => Fate::Lose,
    });
    for (key, outcome) in [("K1", "refused"), ("K2", "unknown")] {
        let path = directory.path().join(key);
        let arguments = ["workload", "--key", key, "--clients", "1", "--ops", "6", "--timeout", "200ms"];
        let run = skv(&fake, &[&arguments[..], &["--history", path.to_str().unwrap()]].concat());
        assert_eq!(code(&run), 1, "{run:?}");
        assert!(out(&run).contains(&format!("6 {outcome}")), "{run:?}");
        let events = read_history(&path).unwrap();
        assert!(events.iter().all(|event| format!("{:?}", event.outcome).eq_ignore_ascii_case(outcome)));
    }
}

#[test]
fn the_benchmark_reports_what_it_measured() {
    let fake = Fake::group(1, 4);
    let short = ["--duration", "1s", "--warmup", "50ms", "--keys", "20", "-o", "json"];
    for arguments in [
        &["bench", "put"][..],
        &["bench", "get", "--transport", "unary", "--clients", "4"],
        &["bench", "mixed", "--rate", "500"],
    ] {
        let bench = skv(&fake, &[arguments, &short].concat());
        assert_eq!(code(&bench), 0, "{bench:?}");
        let report = json(&bench);
        assert!(report["answered"].as_u64() > Some(0), "{report}");
        assert_eq!(report["failed"], 0);
        assert!(report["latency_us"]["p50"].as_u64() <= report["latency_us"]["max"].as_u64());
    }
    let table = skv(&fake, &["bench", "put", "--duration", "1s", "--warmup", "10ms"]);
    assert!(out(&table).starts_with("REQUESTS/S"), "{table:?}");
}

#[test]
fn a_benchmark_of_failures_fails() {
    let fake = Fake::group(1, 4);
    fake.rule(|_| Fate::Refuse(skv_proto::Error::InvalidArgument("no".into())));
    let bench = skv(&fake, &["bench", "put", "--duration", "1s", "--warmup", "10ms"]);
    assert_eq!(code(&bench), 1);
    assert!(out(&bench).contains("the first failure: refused: no"), "{bench:?}");
}

#[test]
fn status_shows_every_replica() {
    let fake = Fake::groups(&[2, 1], &[0, 1, 0]);
    let status = skv(&fake, &["status"]);
    assert_eq!(code(&status), 0, "{status:?}");
    assert!(out(&status).contains("3 shards in 2 groups"));
    assert!(!out(&status).contains('\x1b'), "colour is for terminals");
    let groups = json(&skv(&fake, &["status", "-o", "json"]))["groups"].clone();
    assert_eq!((&groups[0]["leader"], &groups[0]["shards"]), (&"kv-0".into(), &2.into()));
    assert_eq!(groups[0]["replicas"][1]["state"], "follower");
}

#[test]
fn status_says_what_is_wrong() {
    let mut fake = Fake::groups(&[3], &[0]);
    fake.status(1, |replica| {
        replica.set_state(ReplicaState::Broken);
        replica.ready = false;
        replica.problem = "segment 3 is damaged at 4096".into();
    });
    fake.kill_server(2);
    let status = skv(&fake, &["status"]);
    assert_eq!(code(&status), 1);
    assert!(out(&status).contains("segment 3 is damaged at 4096"), "{status:?}");
    assert!(out(&status).contains("unreachable"), "{status:?}");
    fake.status(0, |replica| replica.quorum_lost_ms = 3000);
    let status = skv(&fake, &["status"]);
    assert!(out(&status).contains("no majority has answered for 3 s"), "{status:?}");
}

#[test]
fn the_map_shows_who_owns_what() {
    let fake = Fake::groups(&[1, 1], &[0, 0, 1, 0]);
    let map = skv(&fake, &["map"]);
    assert!(out(&map).contains("4 shards by fnv1"), "{map:?}");
    let owns: Vec<String> = out(&map)
        .lines()
        .skip(2)
        .map(|line| line.split("kv-").last().unwrap()[1..].trim().to_owned())
        .collect();
    assert_eq!(owns, ["0-1 3", "2"]);
    let json = json(&skv(&fake, &["map", "-o", "json"]));
    assert_eq!(json["ranges"][2]["group"], 1);
}

#[test]
fn leadership_is_transferred_by_the_leader() {
    let fake = Fake::groups(&[3], &[0]);
    let transfer = skv(&fake, &["group", "transfer-leader", "g0", "--to", "kv-2"]);
    assert_eq!((code(&transfer), out(&transfer)), (0, "g0 is led by kv-2; before by kv-0\n".into()));
    assert_eq!(fake.admin_calls(), [AdminCall::TransferLeader { server: 0, to: 3 }]);
    let unknown = skv(&fake, &["group", "transfer-leader", "g0", "--to", "kv-9"]);
    assert!(code(&unknown) == 1 && err(&unknown).contains("kv-0, kv-1, kv-2"), "{unknown:?}");
    let unknown = skv(&fake, &["group", "transfer-leader", "g7"]);
    assert!(code(&unknown) == 1 && err(&unknown).contains("no group g7"), "{unknown:?}");
}

#[test]
fn a_replica_is_removed_by_the_leader_and_only_on_purpose() {
    let fake = Fake::groups(&[3], &[0]);
    let asked = skv(&fake, &["group", "remove-replica", "g0", "kv-2"]);
    assert!(code(&asked) == 1 && err(&asked).contains("--yes"), "{asked:?}");
    assert_eq!(fake.admin_calls(), []);
    let removed = skv(&fake, &["group", "remove-replica", "g0", "kv-2", "--yes"]);
    assert_eq!((code(&removed), out(&removed)), (0, "kv-2 is no replica of g0 any more\n".into()));
    assert_eq!(fake.admin_calls(), [AdminCall::RemoveReplica { server: 0, replica: 3 }]);
}

#[test]
fn changes_of_the_map_need_a_shard_manager() {
    let mut fake = Fake::group(1, 4);
    let server = fake.server(0);
    for arguments in [&["groups", "add", "g1"][..], &["map", "--watch"], &["map", "--config", "0"]] {
        let asked = bare_skv(&[arguments, &["--server", &server]].concat(), b"");
        assert!(code(&asked) == 1 && err(&asked).contains("--manager instead of --server"), "{asked:?}");
    }
    fake.kill_manager();
    let started = Instant::now();
    let gone = skv(&fake, &["rebalance", "--timeout", "600ms"]);
    assert!(code(&gone) == 1 && err(&gone).contains(&fake.manager()), "{gone:?}");
    assert!(started.elapsed() >= Duration::from_millis(600), "one that starts meanwhile is asked again");
}

#[test]
fn bad_arguments_are_not_taken_for_a_missing_key() {
    for arguments in [&["get"][..], &["fly"], &[], &["put", "k", "v", "--if-revision", "-1"]] {
        assert_eq!(code(&bare_skv(arguments, b"")), 1, "{arguments:?}");
    }
    assert_eq!(code(&bare_skv(&["--help"], b"")), 0);
    assert_eq!(code(&bare_skv(&["--version"], b"")), 0);
}

#[test]
fn completions_are_offered_for_shells() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = bare_skv(&["completions", shell], b"");
        assert!(code(&script) == 0 && out(&script).contains("SKV_COMPLETE"), "{shell}");
    }
}

/// Serves one request for a page, in a thread of its own.
fn page(status: &'static str, text: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request = BufReader::new(stream.try_clone().unwrap());
        // A request for a page ends with an empty line.
        request.lines().map_while(Result::ok).find(String::is_empty);
        let length = text.len();
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{text}").unwrap();
    });
    address
}

#[test]
fn a_process_is_probed_by_its_pages() {
    let well = bare_skv(&["probe", &format!("http://{}/readyz", page("200 OK", "ok\n"))], b"");
    assert_eq!((code(&well), out(&well)), (0, "ok\n".into()), "{well:?}");

    let address = page("503 Service Unavailable", "no leader\n");
    let ill = bare_skv(&["probe", &format!("http://{address}/readyz")], b"");
    assert_eq!((code(&ill), out(&ill)), (1, String::new()), "{ill:?}");
    let expected = format!("error: http://{address}/readyz answers 503 Service Unavailable: no leader\n");
    assert_eq!(err(&ill), expected);

    let nobody = Reserved::new();
    let address = nobody.address();
    let gone = bare_skv(&["probe", &format!("http://{address}/readyz")], b"");
    assert_eq!(code(&gone), 1);
    assert!(err(&gone).starts_with(&format!("error: can't ask http://{address}/readyz")), "{gone:?}");
}
