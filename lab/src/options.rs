//! The options of the three programs: exactly these, each at most once.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use bytes::Bytes;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, ValueEnum};

use crate::{Port, process};

/// The master of a cluster: gives servers that start their place in it, and tells clients where
/// keys are. With SKV_LAB_DIR, all data is kept in that directory over restarts.
#[derive(Debug, Clone, Parser)]
#[command(name = "master-svr", disable_help_flag = true)]
pub(crate) struct Master {
    /// The port for servers and clients
    #[arg(short, value_name = "MASTER_PORT")]
    pub(crate) port: Port,
}

/// A server: joins the cluster of its master, and serves its share of the keys.
#[derive(Debug, Clone, Parser)]
#[command(name = "svr", disable_help_flag = true)]
pub(crate) struct Server {
    /// The port for clients and other servers
    #[arg(short, value_name = "PORT")]
    pub(crate) port: Port,
    /// The port of the master
    #[arg(short, value_name = "MASTER_PORT")]
    pub(crate) master: Port,
}

/// Sends one request. Exit codes: 0 done, 1 failed, 2 GET of a key that doesn't exist.
#[derive(Debug, Clone, Parser)]
#[command(name = "clt", disable_help_flag = true)]
struct Client {
    /// The server to talk to; only for -d 1
    #[arg(short, value_name = "PORT", allow_hyphen_values = true)]
    port: Option<OsString>,
    /// The operation
    #[arg(short, value_name = "OPERATION")]
    operation: Verb,
    /// The key
    #[arg(short, value_name = "KEY", allow_hyphen_values = true)]
    key: OsString,
    /// The value; only for PUT
    #[arg(short, value_name = "VALUE", allow_hyphen_values = true)]
    value: Option<OsString>,
    /// The port of the master; only for -d 0
    #[arg(short, value_name = "MASTER_PORT", allow_hyphen_values = true)]
    master: Option<OsString>,
    /// 1: talk to the server at PORT and to nobody else; 0: to whichever the master names
    #[arg(short, value_name = "DIRECT")]
    direct: Direct,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Verb {
    #[value(name = "GET")]
    Get,
    #[value(name = "PUT")]
    Put,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Direct {
    #[value(name = "0")]
    No,
    #[value(name = "1")]
    Yes,
}

/// A client's request, and its recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// The recipient.
    pub(crate) target: Target,
    /// The key.
    pub(crate) key: Bytes,
    /// The operation.
    pub(crate) operation: Operation,
}

/// The recipient of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The server that has the key, found by the master at this port.
    Cluster(Port),
    /// The server at this port, and no other.
    Server(Port),
}

/// The operation that a client requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    /// The value of the key.
    Get,
    /// To set the key to this value.
    Put(Bytes),
}

impl Request {
    /// Reads a client's arguments. Arguments that the mode doesn't need may be left out, or be anything.
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Request, std::process::ExitCode> {
        let client: Client = process::parse(arguments)?;
        client.request().map_err(|error| process::refuse::<Client>(&error))
    }
}

impl Client {
    fn request(self) -> Result<Request, clap::Error> {
        let target = match self.direct {
            Direct::No => Target::Cluster(port(self.master, "-m <MASTER_PORT>", "-d 0")?),
            Direct::Yes => Target::Server(port(self.port, "-p <PORT>", "-d 1")?),
        };
        let operation = match self.operation {
            Verb::Get => Operation::Get,
            Verb::Put => Operation::Put(bytes(self.value.ok_or_else(|| missing("-v <VALUE>", "PUT"))?)),
        };
        Ok(Request { target, key: bytes(self.key), operation })
    }
}

fn bytes(text: OsString) -> Bytes {
    text.into_vec().into()
}

fn port(text: Option<OsString>, option: &str, mode: &str) -> Result<Port, clap::Error> {
    let text = text.ok_or_else(|| missing(option, mode))?;
    text.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
        let problem = format!("{option} is {}, which is no port (1 to 65535)", text.display());
        Client::command().error(ErrorKind::InvalidValue, problem)
    })
}

fn missing(option: &str, mode: &str) -> clap::Error {
    Client::command().error(ErrorKind::MissingRequiredArgument, format!("{mode} needs {option}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &str) -> Result<Request, clap::Error> {
        let arguments = arguments.split(' ').map(|text| if text == "''" { "" } else { text });
        Client::try_parse_from(std::iter::once("clt").chain(arguments))?.request()
    }

    fn number(port: u16) -> Port {
        Port::new(port).unwrap()
    }

    #[test]
    fn the_options_are_consistent() {
        Master::command().debug_assert();
        Server::command().debug_assert();
        Client::command().debug_assert();
    }

    #[test]
    fn what_the_mode_does_not_need_may_be_left_out_or_be_anything() {
        let get = |target| Request { target, key: "7".into(), operation: Operation::Get };
        let through = get(Target::Cluster(number(9000)));
        assert_eq!(parsed("-o GET -k 7 -m 9000 -d 0").unwrap(), through);
        assert_eq!(parsed("-p none -o GET -k 7 -v -v -m 9000 -d 0").unwrap(), through);
        assert_eq!(parsed("-p 0 -o GET -k 7 -v '' -m 9000 -d 0").unwrap(), through);
        let straight = get(Target::Server(number(5000)));
        assert_eq!(parsed("-d 1 -p 5000 -k 7 -o GET").unwrap(), straight);
        assert_eq!(parsed("-p 5000 -o GET -k 7 -v x -m -1 -d 1").unwrap(), straight);
    }

    #[test]
    fn keys_and_values_may_be_anything() {
        let put = parsed("-o PUT -k -5 -v -v -m 9000 -d 0").unwrap();
        assert_eq!((&put.key[..], put.operation), (&b"-5"[..], Operation::Put("-v".into())));
        assert_eq!(parsed("-o PUT -k 5 -v '' -m 9000 -d 0").unwrap().operation, Operation::Put("".into()));
    }

    #[test]
    fn what_is_wrong_missing_or_repeated_is_refused() {
        for wrong in [
            "-o GET -k 7 -m 9000",                // no -d
            "-k 7 -m 9000 -d 0",                  // no -o
            "-o GET -m 9000 -d 0",                // no -k
            "-o GET -k 7 -d 0",                   // no -m
            "-o GET -k 7 -m 9000 -d 1",           // no -p
            "-o PUT -k 7 -m 9000 -d 0",           // no -v
            "-o get -k 7 -m 9000 -d 0",           // not in capitals
            "-o DELETE -k 7 -m 9000 -d 0",        // no such operation
            "-o GET -k 7 -m 9000 -d 2",           // neither 0 nor 1
            "-o GET -k 7 -m 65536 -d 0",          // no port
            "-o GET -k 7 -m 0 -d 0",              // no port
            "-o GET -k 7 -m 9000 -d 0 -k 7",      // repeated
            "-o GET -k 7 -m 9000 -m 9000 -d 0",   // repeated
            "-p 1 -p 1 -o GET -k 7 -m 9000 -d 0", // repeated, though it isn't needed
            "-o GET -k 7 -m 9000 -d 0 -x 1",      // no such option
            "-o GET -k 7 -m 9000 -d 0 rest",      // not an option
            "-o GET -k 7 -m 9000 -d 0 --help",    // no such option
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
