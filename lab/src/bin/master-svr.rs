//! The master: servers join it, and clients learn from it where keys are.

use std::process::ExitCode;

fn main() -> ExitCode {
    skv_lab::master_svr(std::env::args_os())
}
