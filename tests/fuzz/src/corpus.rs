//! Inputs and seeds that found something once, or lead near to where something was found. They are played
//! before anything is drawn.

use crate::report::Report;
use crate::targets::{Kind, entries, messages};
use crate::trial::Trial;

/// `KIND SEED`, one a line.
const SEEDS: &str = include_str!("../corpus/seeds");
/// `MESSAGE HEX`, one a line.
const MESSAGES: &str = include_str!("../corpus/messages");
/// Log entries in hex, one a line. Between empty lines they are of one log.
const ENTRIES: &str = include_str!("../corpus/entries");

/// Plays all of it; false: it found something.
pub(crate) fn replay(report: &mut Report) -> bool {
    let mut seeds = lines(SEEDS).filter_map(|line| {
        let (kind, seed) = line.split_once(' ')?;
        Some((Kind::named(kind)?, seed.parse().ok()?))
    });
    let again = || "skv-fuzz --seconds 0".to_owned();
    report.play(Kind::Messages, again(), all_messages)
        && report.play(Kind::Entries, again(), all_entries)
        && seeds.all(|(kind, seed)| report.round(kind, seed))
}

fn all_messages(trial: &mut Trial) -> Result<(), String> {
    for line in lines(MESSAGES) {
        let (name, bytes) = line.split_once(' ').ok_or_else(|| format!("the corpus has {line:?}"))?;
        messages::read(trial, name, unhex(bytes)?)?;
    }
    Ok(())
}

fn all_entries(trial: &mut Trial) -> Result<(), String> {
    for log in ENTRIES.split("\n\n") {
        let log = lines(log).map(unhex).collect::<Result<Vec<_>, _>>()?;
        entries::apply_all(trial, log)?;
    }
    Ok(())
}

/// Returns the lines of a file that are no comments.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    };
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
    bytes.ok_or_else(|| format!("the corpus has {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_corpus_is_played() {
        for line in lines(SEEDS) {
            let (kind, seed) = line.split_once(' ').unwrap();
            assert!(Kind::named(kind).is_some() && seed.parse::<u64>().is_ok(), "{line}");
        }
        for line in lines(MESSAGES) {
            let (name, bytes) = line.split_once(' ').unwrap();
            assert!(messages::decoder(name).is_some() && unhex(bytes).is_ok(), "{line}");
        }
        assert!(lines(ENTRIES).all(|line| unhex(line).is_ok()));
    }
}
