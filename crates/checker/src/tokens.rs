//! The token oracle: counts what the search only infers.
//!
//! If all clients append tokens that no other client appends, the longest value that any client saw
//! contains the whole history of the key: each acknowledged token must stand in it once, each other
//! one at most once, and everything seen earlier must be a beginning of it. This takes one pass,
//! for any number of clients and unanswered calls.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use crate::{Event, Op, Outcome};

/// A text that one client appends once: `CLIENT.NUMBER;`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// The client that appends it.
    pub client: u64,
    /// The number of this token among the client's tokens.
    pub number: u64,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{};", self.client, self.number)
    }
}

/// A text that isn't a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a token, such as \"3.17;\"")]
pub struct NotAToken(String);

impl FromStr for Token {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Token, NotAToken> {
        let parse = || {
            let (client, number) = text.strip_suffix(';')?.split_once('.')?;
            let token = Token { client: client.parse().ok()?, number: number.parse().ok()? };
            // Only the canonical text, so that different texts are different tokens.
            (token.to_string() == text).then_some(token)
        };
        parse().ok_or_else(|| NotAToken(text.to_owned()))
    }
}

/// A fault of a key to which only tokens are appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// A value that no client can have made.
    #[error("the value {value:?} contains {text:?}, which nobody appended")]
    Phantom {
        /// The end of the value, from the phantom on.
        value: String,
        /// The text that is no token of this history.
        text: String,
    },
    /// A token stands in the value more than once.
    #[error("token {token} was applied twice: at bytes {first} and {second} of the value")]
    Doubled {
        /// The token.
        token: Token,
        /// The place where it stands first.
        first: usize,
        /// The place where it stands again.
        second: usize,
    },
    /// A token was refused and applied all the same.
    #[error("token {0} was refused, and still stands in the value")]
    RefusedButApplied(Token),
    /// An acknowledged token isn't in a value that was read later.
    #[error(
        "token {token} of client {client} was acknowledged, but isn't in the {length} bytes that client {reader} read later"
    )]
    Lost {
        /// The token.
        token: Token,
        /// The client that appended it.
        client: u64,
        /// The client that missed it.
        reader: u64,
        /// The length of the value in which it was missing.
        length: usize,
    },
    /// A call that began later took effect earlier.
    #[error(
        "client {reader} saw {length} bytes, although {seen} bytes had been seen before it asked: an old value"
    )]
    Stale {
        /// The client that saw the old value.
        reader: u64,
        /// The length of the old value.
        length: usize,
        /// The length that the value was known to have before.
        seen: usize,
    },
    /// Two values of which neither continues the other.
    #[error("client {reader} saw a value that isn't a beginning of the longest one: they part at byte {at}")]
    Parted {
        /// The client that saw it.
        reader: u64,
        /// The first byte that differs.
        at: usize,
    },
}

/// A value that a call saw or made, and its time.
struct Sight<'a> {
    reader: u64,
    called: u64,
    text: &'a str,
    /// The token that follows the text, if the call is an append.
    token: Option<Token>,
}

impl Sight<'_> {
    fn token_text(&self) -> String {
        self.token.map(|token| token.to_string()).unwrap_or_default()
    }

    /// Returns the length of the value right after the call.
    fn length(&self) -> usize {
        self.text.len() + self.token_text().len()
    }
}

/// Judges the events of one key; `None` if they aren't all gets and appends of different
/// tokens to a key that was absent at first.
pub(crate) fn count(events: &[&Event]) -> Option<Vec<TokenFault>> {
    let appended = appended_tokens(events)?;
    let mut sights: Vec<Sight<'_>> = events.iter().filter_map(|&event| sight(event)).collect();
    let Some(last) = sights.iter().max_by_key(|sight| sight.length()) else { return Some(Vec::new()) };
    let longest = format!("{}{}", last.text, last.token_text());
    let mut faults = Vec::new();
    let ends = token_ends(&longest, &appended, &mut faults);
    find_parted(&sights, &longest, &mut faults);
    find_old_values(events, &mut sights, &ends, &mut faults);
    Some(faults)
}

/// Returns the tokens that clients tried to append, and the outcomes.
fn appended_tokens(events: &[&Event]) -> Option<HashMap<Token, Outcome>> {
    let mut appended = HashMap::new();
    for event in events {
        match event.op {
            Op::Get => {}
            Op::Append => {
                let token = event.value.as_deref()?.parse().ok()?;
                if appended.insert(token, event.outcome).is_some() {
                    return None;
                }
            }
            Op::Put | Op::Delete => return None,
        }
    }
    (!appended.is_empty()).then_some(appended)
}

fn sight(event: &Event) -> Option<Sight<'_>> {
    if event.outcome != Outcome::Ok {
        return None;
    }
    let token = match event.op {
        Op::Append => event.value.as_deref()?.parse().ok(),
        _ => None,
    };
    Some(Sight { reader: event.client, called: event.call_ns, text: event.output.as_deref()?, token })
}

/// Returns the end of each token in the value.
fn token_ends(
    value: &str,
    appended: &HashMap<Token, Outcome>,
    faults: &mut Vec<TokenFault>,
) -> HashMap<Token, usize> {
    let mut ends = HashMap::new();
    let mut start = 0;
    for text in value.split_inclusive(';') {
        let end = start + text.len();
        match text.parse::<Token>().ok().and_then(|token| Some((token, appended.get(&token)?))) {
            None => faults.push(TokenFault::Phantom {
                value: value[start..].chars().take(40).collect(),
                text: text.to_owned(),
            }),
            Some((token, outcome)) => {
                if *outcome == Outcome::Refused {
                    faults.push(TokenFault::RefusedButApplied(token));
                }
                if let Some(first_end) = ends.insert(token, end) {
                    faults.push(TokenFault::Doubled { token, first: first_end - text.len(), second: start });
                }
            }
        }
        start = end;
    }
    ends
}

/// Each value seen must be a beginning of the longest one.
fn find_parted(sights: &[Sight<'_>], longest: &str, faults: &mut Vec<TokenFault>) {
    for sight in sights {
        let value = format!("{}{}", sight.text, sight.token_text());
        if !longest.starts_with(&value) {
            let at = value.bytes().zip(longest.bytes()).take_while(|(a, b)| a == b).count();
            faults.push(TokenFault::Parted { reader: sight.reader, at });
        }
    }
}

/// A fact that all later calls must see.
struct Fact {
    since: u64,
    client: u64,
    /// The least length of the value; `usize::MAX` if it never got there.
    length: usize,
    /// The acknowledged token that ends there; `None` if the value was only read.
    token: Option<Token>,
}

fn fact(event: &Event, ends: &HashMap<Token, usize>) -> Option<Fact> {
    if event.outcome != Outcome::Ok {
        return None;
    }
    let token = event.value.as_deref().and_then(|text| text.parse().ok());
    let length = match token {
        Some(token) => ends.get(&token).copied().unwrap_or(usize::MAX),
        None => event.output.as_deref()?.len(),
    };
    Some(Fact { since: event.return_ns?, client: event.client, length, token })
}

/// Finds calls that didn't see what was known before they began.
fn find_old_values(
    events: &[&Event],
    sights: &mut [Sight<'_>],
    ends: &HashMap<Token, usize>,
    faults: &mut Vec<TokenFault>,
) {
    sights.sort_by_key(|sight| sight.called);
    let mut facts: Vec<Fact> = events.iter().filter_map(|event| fact(event, ends)).collect();
    facts.sort_by_key(|fact| fact.since);
    let mut facts = facts.into_iter().peekable();
    let mut known: Option<Fact> = None;
    for sight in sights {
        while let Some(fact) = facts.next_if(|fact| fact.since < sight.called) {
            if known.as_ref().is_none_or(|known| known.length < fact.length) {
                known = Some(fact);
            }
        }
        let Some(known) = known.as_ref().filter(|known| known.length > sight.text.len()) else { continue };
        let (reader, length) = (sight.reader, sight.text.len());
        faults.push(match known.token {
            Some(token) => TokenFault::Lost { token, client: known.client, reader, length },
            None => TokenFault::Stale { reader, length, seen: known.length },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_is_written() {
        let token = Token { client: 3, number: 17 };
        assert_eq!(token.to_string(), "3.17;");
        assert_eq!("3.17;".parse(), Ok(token));
        for text in ["", "3.17", "3;", "03.17;", "3.17;;", "a.1;", "3.1.7;"] {
            assert!(text.parse::<Token>().is_err(), "{text}");
        }
    }
}
