//! An error as people read it: what happened, and why. Pure.

/// Returns the text of an error and of its causes. A cause whose text stands there already isn't repeated.
pub(crate) fn text(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(cause.trim()) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_is_in_the_text_isnt_told_again() {
        let cause = anyhow::anyhow!("No such file or directory (os error 2)");
        let error = cause.context("history x: No such file or directory (os error 2)").context("can't start");
        assert_eq!(text(&error), "can't start: history x: No such file or directory (os error 2)");
    }
}
