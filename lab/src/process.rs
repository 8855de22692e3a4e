//! The common parts of the three programs: arguments, execution and exit.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory, Parser};
use skv_listen::{Counted, Listener, MOST_CONNECTIONS, Shares};
use skv_startup::{LogFormat, LogTo, start_log};

use crate::{Port, address};

/// Reads the arguments; a fault in them is printed with the usage, and is exit code 1.
pub(crate) fn parse<T: Parser>(arguments: impl IntoIterator<Item = OsString>) -> Result<T, ExitCode> {
    T::try_parse_from(arguments).map_err(|error| refuse::<T>(&error))
}

/// Prints the fault of the arguments, and the usage.
pub(crate) fn refuse<T: CommandFactory>(error: &clap::Error) -> ExitCode {
    // A failure to print can't be reported to anybody.
    let _ = error.print();
    if !error.to_string().contains("Usage: ") {
        eprintln!("{}", T::command().render_usage());
    }
    ExitCode::FAILURE
}

/// Runs a program on this thread alone. `log` is the filter of the log on standard error, unless
/// RUST_LOG is set.
pub(crate) fn run(
    program: &str,
    log: &str,
    main: impl Future<Output = anyhow::Result<ExitCode>>,
) -> ExitCode {
    start_log(LogFormat::Text, LogTo::Stderr, log);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.context("starting the runtime").and_then(|runtime| runtime.block_on(main));
    ended.unwrap_or_else(|error| {
        eprintln!("{program}: {error:#}");
        ExitCode::FAILURE
    })
}

/// Listens on a port of loopback, for users and servers alike.
pub(crate) async fn listen(port: Port) -> anyhow::Result<Listener> {
    let limit = Shares::of(skv_listen::raise_limit(), MOST_CONNECTIONS).users_and_servers();
    let address = address(port);
    Listener::bind("port", &address, limit, Counted::default())
        .await
        .with_context(|| format!("can't listen on {address}; is another program listening there?"))
}
