//! Tests of the programs master-svr, svr and clt, run as processes.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod build_script;
mod growth;
mod lab;
mod options;
mod processes;
mod restarts;
mod scenarios;
