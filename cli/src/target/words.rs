//! Errors of servers, shard managers and clerks in words for people. The commonest mistake is an address of
//! another process of the same store.

use skv_client::Error;
use tonic::{Code, Status};

/// Returns the error of a process, for people.
pub(crate) fn explain(status: &Status, address: &str) -> anyhow::Error {
    match skv_proto::Error::from_status(status) {
        Some(error) => anyhow::anyhow!("{address}: {error}"),
        None if is_another_kind(status) => {
            anyhow::anyhow!(
                "{address} doesn't offer this: is it another process of the store, or an older version?"
            )
        }
        None if status.message().is_empty() => anyhow::anyhow!("{address}: {}", status.code().description()),
        None => anyhow::anyhow!("{address}: {}", status.message()),
    }
}

/// Returns true if the process doesn't know the service at all.
pub(crate) fn is_another_kind(status: &Status) -> bool {
    status.code() == Code::Unimplemented && skv_proto::Error::from_status(status).is_none()
}

pub(crate) fn not_a_manager(address: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "{address} isn't a shard manager: if it is the port of a server for users, name it with --server"
    )
}

pub(super) fn not_a_server(address: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "{address} isn't a server's port for users: if it is a shard manager, name it with --manager"
    )
}

/// Returns the error of a call of a clerk that was given shard managers, or servers.
pub(super) fn of_call(error: Error, servers: &[String]) -> anyhow::Error {
    match &error {
        Error::Refused(skv_proto::Error::Unimplemented(_)) if !servers.is_empty() => {
            not_a_server(&servers.join(", "))
        }
        Error::Unreachable(why) if servers.is_empty() => match why.strip_prefix(NO_MAP) {
            Some(why) => anyhow::anyhow!(
                "no shard manager answers ({why}). Serving needs none: --server HOST:PORT asks a server instead"
            ),
            None => error.into(),
        },
        _ => error.into(),
    }
}

/// The beginning of what a clerk says that has found no shard map.
const NO_MAP: &str = "no shard map yet: ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_shard_manager_people_are_told_of_servers() {
        let error = || Error::Unreachable("no shard map yet: 127.0.0.1:7400: connection refused".into());
        let text = of_call(error(), &[]).to_string();
        assert_eq!(
            text,
            "no shard manager answers (127.0.0.1:7400: connection refused). Serving needs none: --server \
             HOST:PORT asks a server instead"
        );
        let text = of_call(error(), &["127.0.0.1:7000".to_owned()]).to_string();
        assert!(text.starts_with("no server could be reached"), "{text}");
    }

    #[test]
    fn a_process_that_knows_nothing_of_it_is_told_from_one_that_refuses() {
        let text = explain(&Status::unimplemented(""), "127.0.0.1:1").to_string();
        assert!(text.contains("doesn't offer this"), "{text}");
        let text = explain(&Status::new(Code::Unavailable, ""), "127.0.0.1:1").to_string();
        assert_eq!(text, "127.0.0.1:1: The service is currently unavailable");
    }
}
