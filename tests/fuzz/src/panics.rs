//! The panics of this process, also of tasks, which tokio would swallow.

use std::backtrace::Backtrace;
use std::panic;

use parking_lot::Mutex;

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes each panic from now on, and prints none.
pub(crate) fn watch() {
    panic::set_hook(Box::new(|info| {
        SEEN.lock().push(format!("{info}\n{}", Backtrace::capture()));
    }));
}

/// Returns the first panic since the last call.
pub(crate) fn take() -> Option<String> {
    SEEN.lock().drain(..).next()
}
