//! Fail points: named places of the product at which a test can have a process die, or stand still.
//!
//! A test arms a point by a file of that name in the directory `$SKV_FAIL_POINTS`. The first
//! process that passes the point removes the file, prints a line, and dies on the spot: nothing is
//! flushed, closed or answered. So exactly one process dies, whichever it is, and its successor
//! passes the point unharmed.
//!
//! If the file's content is `wait`, the process renames it to `POINT.reached` instead, and the task
//! that got there stands until that file is gone; everything else in the process continues.
//!
//! In builds without debug assertions, such as releases, a point is nothing. All others have them,
//! so that tests need no builds of their own.
//! The crate `fail` is for another need: its points are set from within a process or at its
//! start, so that every leader that follows would die as well.

/// A point of this name, given as for `format!`. The caller's crate has tokio.
#[cfg(debug_assertions)]
#[macro_export]
macro_rules! fail_point {
    ($($name:tt)+) => {
        $crate::reached(|| format!($($name)+), |stand| tokio::task::block_in_place(stand))
    };
}

/// A point of this name, given as for `format!`.
#[cfg(not(debug_assertions))]
#[macro_export]
macro_rules! fail_point {
    ($($name:tt)+) => {
        if false {
            let _ = format_args!($($name)+);
        }
    };
}

/// Dies here if the point is armed, or has `block` run what stands here until it is released. Tasks
/// that stand need a runtime of several threads.
#[cfg(debug_assertions)]
pub fn reached(point: impl FnOnce() -> String, block: impl FnOnce(&mut dyn FnMut())) {
    let Some(directory) = std::env::var_os("SKV_FAIL_POINTS") else { return };
    let point = point();
    let armed = std::path::Path::new(&directory).join(&point);
    let Ok(content) = std::fs::read(&armed) else { return };
    // Only one of several processes that get here at the same time can take the file.
    if content == b"wait" {
        let reached = armed.with_file_name(format!("{point}.reached"));
        if std::fs::rename(&armed, &reached).is_ok() {
            eprintln!("stands at the fail point {point}");
            block(&mut || {
                while reached.exists() {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
            });
        }
    } else if std::fs::remove_file(&armed).is_ok() {
        eprintln!("died at the fail point {point}");
        std::process::abort();
    }
}
