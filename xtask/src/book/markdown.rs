//! Reading Markdown: links, headings and inline code. Pure.
//!
//! Links in this repository are inline ones, `[text](target)`, so that no parser of the whole language is
//! needed.

use std::ops::Range;

/// An inline link, or an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    /// The whole link, `!` included.
    pub(super) whole: Range<usize>,
    /// The text between the brackets.
    pub(super) text: Range<usize>,
    /// The target, without a title.
    pub(super) target: Range<usize>,
}

/// Returns the links of a page in their order; those in code aren't links.
pub(super) fn links(page: &str) -> Vec<Link> {
    let masked = mask_code(page);
    let mut links = Vec::new();
    let mut at = 0;
    while let Some(found) = masked[at..].find("](") {
        let close = at + found;
        at = close + 2;
        let Some(open) = opening(&masked[..close]) else { continue };
        let Some(end) = closing(&masked[at..]).map(|end| at + end) else { continue };
        let inner = &masked[at..end];
        let target = inner.split_whitespace().next().unwrap_or_default();
        let begin = at + inner.find(target).unwrap_or_default();
        let image = masked[..open].ends_with('!');
        links.push(Link {
            whole: open - usize::from(image)..end + 1,
            text: open + 1..close,
            target: begin..begin + target.len(),
        });
        at = end + 1;
    }
    links
}

/// Returns the anchors of a page's headings, as mdBook and code hosts make them.
pub(super) fn anchors(page: &str) -> Vec<String> {
    let masked = mask_fences(page);
    let headings = masked.lines().filter_map(|line| {
        let text = line.trim_start_matches('#');
        (line.starts_with('#') && text.starts_with(' ')).then(|| text.trim())
    });
    let mut anchors: Vec<String> = Vec::new();
    for heading in headings {
        let slug = slug(heading);
        let numbered = (1..).map(|number| format!("{slug}-{number}"));
        let free = std::iter::once(slug.clone()).chain(numbered).find(|anchor| !anchors.contains(anchor));
        anchors.extend(free);
    }
    anchors
}

/// Returns the contents of all inline code, each with its offset.
pub(super) fn inline_code(page: &str) -> Vec<(usize, &str)> {
    let masked = mask_fences(page);
    code_spans(&masked).into_iter().map(|span| (span.start, &page[span])).collect()
}

/// Returns the line of an offset, from 1.
pub(super) fn line_of(page: &str, offset: usize) -> usize {
    page[..offset].matches('\n').count() + 1
}

fn slug(heading: &str) -> String {
    heading
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

/// Returns the offset of the bracket that belongs to one behind the text.
fn opening(text: &str) -> Option<usize> {
    balanced(text.char_indices().rev(), ']', '[')
}

/// Returns the offset of the parenthesis that ends a target.
fn closing(text: &str) -> Option<usize> {
    balanced(text.char_indices(), '(', ')')
}

/// Returns the first `wanted` that doesn't belong to a `nested` before it.
fn balanced(chars: impl Iterator<Item = (usize, char)>, nested: char, wanted: char) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in chars {
        if c == nested {
            depth += 1;
        } else if c == wanted && depth == 0 {
            return Some(at);
        } else if c == wanted {
            depth -= 1;
        }
    }
    None
}

/// Returns the page with spaces in the place of all code. Offsets stay.
fn mask_code(page: &str) -> String {
    let mut masked = mask_fences(page);
    for span in code_spans(&masked) {
        blank(&mut masked, span);
    }
    masked
}

/// Returns the page with spaces in the place of fenced code. Offsets stay.
fn mask_fences(page: &str) -> String {
    let mut masked = page.to_owned();
    let mut fence: Option<&str> = None;
    let mut at = 0;
    for line in page.split_inclusive('\n') {
        let text = line.trim_start();
        let marker = ["```", "~~~"].into_iter().find(|marker| text.starts_with(marker));
        if fence.is_some() || marker.is_some() {
            blank(&mut masked, at..at + line.len());
        }
        fence = match fence {
            None => marker,
            Some(open) if text.starts_with(open) => None,
            open => open,
        };
        at += line.len();
    }
    masked
}

/// Returns the insides of inline code: between runs of backticks of the same length, in one paragraph.
fn code_spans(page: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut at = 0;
    while let Some(found) = page[at..].find('`') {
        let begin = at + found;
        let run = page[begin..].len() - page[begin..].trim_start_matches('`').len();
        let inside = begin + run;
        let paragraph = page[inside..].find("\n\n").map_or(page.len(), |end| inside + end);
        match closing_run(&page[inside..paragraph], run) {
            Some(length) => {
                spans.push(inside..inside + length);
                at = inside + length + run;
            }
            None => at = inside,
        }
    }
    spans
}

fn closing_run(text: &str, run: usize) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = text[at..].find('`') {
        let begin = at + found;
        let length = text[begin..].len() - text[begin..].trim_start_matches('`').len();
        if length == run {
            return Some(begin);
        }
        at = begin + length;
    }
    None
}

/// Puts a space in the place of each byte but the ends of lines.
fn blank(text: &mut String, range: Range<usize>) {
    let spaces: String =
        text[range.clone()].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect();
    text.replace_range(range, &spaces);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(page: &str) -> Vec<&str> {
        links(page).into_iter().map(|link| &page[link.target]).collect()
    }

    #[test]
    fn links_are_found_over_lines_with_code_and_titles_in_them() {
        let page = "See [the\nlog](log.md), [`x`](a/b.md#c \"title\") and ![picture](p.svg).\n[one](f(1).md)";
        assert_eq!(targets(page), ["log.md", "a/b.md#c", "p.svg", "f(1).md"]);
        let link = links(page).remove(2);
        assert_eq!((&page[link.whole], &page[link.text]), ("![picture](p.svg)", "picture"));
    }

    #[test]
    fn what_is_code_is_no_link() {
        let page = "`[a](b)` and ``[`c](d)``\n```\n[e](f)\n```\n  ~~~ text\n[g](h)\n~~~\nindex[0](x) [i](j)";
        assert_eq!(targets(page), ["x", "j"]);
    }

    #[test]
    fn a_backtick_alone_hides_nothing_beyond_its_paragraph() {
        assert_eq!(targets("a ` b\n\n[c](d) ` e"), ["d"]);
    }

    #[test]
    fn letters_of_several_bytes_in_code_change_no_offset() {
        let page = "`\u{e4}\u{20ac}` [a](b)";
        assert_eq!(targets(page), ["b"]);
        assert_eq!(inline_code(page), [(1, "\u{e4}\u{20ac}")]);
    }

    #[test]
    fn headings_have_the_anchors_that_browsers_know() {
        let page =
            "# The log\n## I changed X, run Y\n```\n# no heading\n```\n### A `b_c`\n## The log\n#tag\n";
        assert_eq!(anchors(page), ["the-log", "i-changed-x-run-y", "a-b_c", "the-log-1"]);
    }

    #[test]
    fn lines_count_from_one() {
        assert_eq!((line_of("a\nb", 0), line_of("a\nb", 2)), (1, 2));
    }
}
