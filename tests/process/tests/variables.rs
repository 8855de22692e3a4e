//! Environment variables of the programs.

use std::process::{Command, Output};

use skv_process::programs;

/// Runs a program without arguments, with these variables only.
fn run(program: &str, variables: &[(String, &str)]) -> Output {
    let mut command = Command::new(programs().kvserver.with_file_name(program));
    // Nothing of the machine, such as a cluster of Kubernetes that a file in the home directory names.
    command.env_clear().env("HOME", "/nonexistent").envs(variables.iter().map(|(name, value)| (name, value)));
    command.output().expect("it can be run")
}

/// Returns the variables that a program's help names.
fn variables(program: &str) -> Vec<String> {
    let help = Command::new(programs().kvserver.with_file_name(program)).arg("--help").env_clear().output();
    let help = String::from_utf8(help.expect("it can be run").stdout).expect("text");
    let names = help.split("[env: ").skip(1).filter_map(|rest| rest.split(['=', ']']).next());
    names.map(str::to_owned).collect()
}

#[test]
fn a_variable_without_a_value_counts_as_unset() {
    // Each ends because of what nobody told it.
    for (program, needs) in [
        ("kvserver", "--shard-manager <SHARD_MANAGER>"),
        ("shardmanager", "--data-dir <DIR>"),
        ("skv-operator", "finding the API server"),
    ] {
        let names = variables(program);
        assert!(names.len() > 5, "{program}: {names:?}");
        for value in ["", " \t"] {
            let blank: Vec<_> = names.iter().map(|name| (name.clone(), value)).collect();
            let (told, untold) = (run(program, &blank), run(program, &[]));
            let text = String::from_utf8_lossy(&told.stderr);
            assert!(!told.status.success() && text.contains(needs), "{program}: {told:?}");
            assert_eq!(told.status.code(), untold.status.code(), "{program}: {told:?}");
        }
    }
}

#[test]
fn the_items_of_a_list_may_have_blanks_around_them() {
    let list = |name: &str, value| (name.to_owned(), value);
    let given = [list("SKV_GROUPS", "g0, g1"), list("SKV_PEERS", " a=h:1/h:2 ,b=h:3/h:4")];
    let ended = run("kvserver", &given);
    let text = String::from_utf8_lossy(&ended.stderr);
    assert!(text.contains("--shard-manager <SHARD_MANAGER>"), "{text}");
}
