//! A server: it joins the cluster of its master and serves its share of the keys.

use std::process::ExitCode;

fn main() -> ExitCode {
    skv_lab::svr(std::env::args_os())
}
