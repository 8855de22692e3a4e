//! The names that shells complete.

use crate::place::{Place, address, run};

/// Returns the completions of the last word, one in a line.
fn completions<const N: usize>(place: &Place, words: [&str; N]) -> String {
    let mut asked = place.home.command(["--", "skv"].into_iter().chain(words));
    asked.env("SKV_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", N.to_string());
    String::from_utf8(run(&mut asked).stdout).unwrap()
}

#[test]
fn shells_complete_stores_groups_and_servers() {
    let mut place = Place::new();
    place.up("first");
    place.up("second");
    assert_eq!(completions(&place, ["gr"]), "group");
    assert_eq!(completions(&place, ["use", "f"]), "first");
    assert_eq!(completions(&place, ["groups", "remove", "g"]), "g0");
    assert_eq!(completions(&place, ["group", "transfer-leader", "g0", "--to", "s"]), "second-g0-0");
    let of_first = address(&place.data("first"), 0);
    for naming in [["--store", "first"], ["--manager", &of_first]] {
        let [option, value] = naming;
        assert_eq!(completions(&place, ["group", "reset", option, value, "--from", "f"]), "first-g0-0");
    }
    assert_eq!(completions(&place, ["group", "reset", "--store", "third", "g"]), "");
}
