//! Openings of doc comments: a comment begins with a verb or with the thing itself, not with a
//! clause about it ("Returns true if it may wait", not "Whether it may wait").

use super::sources::{Sources, doc_line, for_each_attribute};

/// Words that a clause begins with.
const CLAUSES: [&str; 16] = [
    "How",
    "If",
    "Of",
    "One",
    "What",
    "Whatever",
    "When",
    "Where",
    "Whether",
    "Which",
    "Who",
    "Whoever",
    "Whom",
    "Whose",
    "Why",
    "Whichever",
];

/// Returns the places of doc comments that begin with a clause, and the number of all.
pub(super) fn find(sources: &Sources) -> (Vec<String>, usize) {
    let (mut clauses, mut all) = (Vec::new(), 0);
    for (path, source) in sources.files() {
        let mut last = None;
        for_each_attribute(&source.syntax, |attribute| {
            let Some((text, line)) = doc_line(attribute) else { return };
            // A line right below another one belongs to the same comment.
            if last.replace(line).is_none_or(|last| last + 1 != line) {
                all += 1;
                let word = text.split(|c: char| !c.is_alphabetic()).find(|word| !word.is_empty());
                if word.is_some_and(|word| CLAUSES.contains(&word)) {
                    clauses.push(format!("{path}:{line} begins with a clause:{text}"));
                }
            }
        });
    }
    (clauses, all)
}

/// Returns the share in words.
pub(super) fn summary(clauses: usize, all: usize) -> String {
    let percent = 100.0 * clauses as f64 / all.max(1) as f64;
    format!("{clauses} of {all} doc comments begin with a clause ({percent:.1} %)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(text: &str) -> (usize, usize) {
        let (clauses, all) = find(&Sources::parse([("a.rs", text)]).unwrap());
        (clauses.len(), all)
    }

    #[test]
    fn a_comment_is_judged_by_its_first_word() {
        let text = "//! Whether files begin well.\n\n\
                    /// Returns what it is.\n/// What follows doesn't matter.\nfn f() {}\n\
                    struct A {\n/// Who it is.\na: u8,\n/// The name.\nb: u8 }\n\
                    // What isn't for readers of the documentation.\n\
                    impl A { /** `Of` many. */ fn g() {} }";
        assert_eq!(counted(text), (3, 5));
    }

    #[test]
    fn texts_in_quotes_are_no_comments() {
        assert_eq!(counted("const A: &str = \"\n/// What it is.\n\";"), (0, 0));
    }
}
