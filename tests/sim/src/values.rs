//! Values that are long in the store and short in a history: one token many times.

use skv_checker::Event;

/// The size of a value. All of a shard's are several chunks of a move (32 KiB), and more than a
/// move may still leave for its last step (256 KiB).
const VALUE_BYTES: usize = 40 << 10;

/// Returns the value of a token.
pub(crate) fn repeated(token: &str) -> String {
    token.repeat(VALUE_BYTES / token.len())
}

/// Returns the event with a token in place of its many repetitions. A value that isn't exactly the
/// repetitions of one token stays as it is, and is then one that no client wrote.
pub(crate) fn shortened(event: Event) -> Event {
    let short = |text: String| {
        let token = text.split_inclusive(';').next().unwrap_or_default();
        let whole = !token.is_empty() && repeated(token) == text;
        if whole { token.to_owned() } else { text }
    };
    Event { value: event.value.map(short), output: event.output.map(short), ..event }
}
