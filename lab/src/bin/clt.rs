//! The client: one GET or PUT.

use std::process::ExitCode;

fn main() -> ExitCode {
    skv_lab::clt(std::env::args_os())
}
