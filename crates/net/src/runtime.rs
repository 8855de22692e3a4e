//! The runtime that suits many small requests over few connections.

use tokio::runtime::Builder;

/// Returns a multi-threaded runtime in which a connection writes what many tasks have for it at once.
///
/// By default tokio runs a task that was just woken next: the one that writes a connection then does
/// so after each request, with a system call for each.
pub fn runtime() -> Builder {
    let mut builder = Builder::new_multi_thread();
    #[cfg(tokio_unstable)]
    builder.disable_lifo_slot();
    builder.enable_all();
    builder
}
