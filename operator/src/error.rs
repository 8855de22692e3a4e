//! The errors of a pass over a resource, and the pause before each is tried again.

use std::time::Duration;

/// The longest pause in seconds: a pass that failed has cared for all the rest, which goes on as in a steady
/// state.
const LONGEST_SECONDS: u64 = 30;

/// A failure in a pass over a resource.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API server refused a request, or couldn't be reached.
    #[error("can't {action} {object}: {}", told(source))]
    Api {
        /// The verb for the action that failed.
        action: &'static str,
        /// The object that it concerned: kind and name.
        object: String,
        /// The answer of the API server.
        source: Box<kube::Error>,
    },
    /// An object of this name isn't ours.
    #[error("{object} exists and belongs to another owner: delete or rename it, or rename the ShardedKV")]
    Foreign {
        /// The object's kind and name.
        object: String,
    },
    /// An object of this name is another resource's.
    #[error("{object} belongs to ShardedKV {owner}: give one of the two another name")]
    Sibling {
        /// The object's kind and name.
        object: String,
        /// The other resource.
        owner: String,
    },
    /// An object is there that the cache hasn't seen yet.
    #[error("{object} has just been made: waiting until it is seen")]
    Unseen {
        /// The object's kind and name.
        object: String,
    },
    /// An object can't be written as JSON.
    #[error("can't encode an object: {0}")]
    Encode(#[from] serde_json::Error),
}

/// The way in which an error is dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Another program wrote at the same time, or the API server is busy: passes by itself.
    Passing,
    /// A person must act: permissions, quota, a name that is taken.
    Lasting,
    /// The namespace is being deleted: no work is left.
    Gone,
}

impl Error {
    pub(crate) fn api(action: &'static str, object: &str, source: kube::Error) -> Error {
        Error::Api { action, object: object.to_owned(), source: Box::new(source) }
    }

    pub(crate) fn class(&self) -> Class {
        match self {
            Error::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) if is_terminating(status) => Class::Gone,
                // The check of owners learns of a new kind within half a minute.
                kube::Error::Api(status) if status.message.contains("cannot find RESTMapping") => {
                    Class::Passing
                }
                kube::Error::Api(status) if matches!(status.code, 400 | 401 | 403 | 404 | 405 | 422) => {
                    Class::Lasting
                }
                _ => Class::Passing,
            },
            Error::Unseen { .. } => Class::Passing,
            Error::Foreign { .. } | Error::Sibling { .. } | Error::Encode(_) => Class::Lasting,
        }
    }

    /// Returns true if the API server has understood the request and refuses it.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Error::Api { source, .. }
            if matches!(source.as_ref(), kube::Error::Api(status) if matches!(status.code, 403 | 422)))
    }

    /// Returns the pause before the next try after this number of failures in a row.
    pub(crate) fn pause(&self, failures: u32) -> Option<Duration> {
        match self.class() {
            Class::Passing => Some(Duration::from_secs(LONGEST_SECONDS.min(1 << failures.min(5)))),
            Class::Lasting => Some(Duration::from_secs(LONGEST_SECONDS.min(15 << failures.min(1)))),
            Class::Gone => None,
        }
    }
}

/// Returns the message of an API server, without the rest of its answer.
fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

fn is_terminating(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    fn refused(code: u16, cause: &str) -> Error {
        refused_saying(code, cause, "no")
    }

    fn refused_saying(code: u16, cause: &str, message: &str) -> Error {
        let status: Status = serde_json::from_value(json!({
            "status": "Failure", "code": code, "message": message, "reason": "",
            "details": { "causes": [{ "reason": cause, "message": "" }] },
        }))
        .unwrap();
        Error::api("apply", "Service demo", kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn what_passes_is_tried_again_soon_and_then_less_often() {
        for code in [409, 429, 500, 503] {
            let error = refused(code, "");
            let pauses: Vec<_> = [0, 1, 3, 20].map(|n| error.pause(n).unwrap().as_secs()).to_vec();
            assert_eq!(pauses, [1, 2, 8, 30], "{code}");
        }
    }

    #[test]
    fn what_a_person_must_mend_is_tried_seldom() {
        for code in [403, 422] {
            assert_eq!(refused(code, "").pause(0), Some(Duration::from_secs(15)));
            assert_eq!(refused(code, "").pause(9), Some(Duration::from_secs(30)));
        }
        assert_eq!(Error::Foreign { object: "Service demo".to_owned() }.class(), Class::Lasting);
    }

    #[test]
    fn a_kind_that_the_check_of_owners_does_not_know_yet_passes() {
        let message = "services \"demo\" is forbidden: cannot set blockOwnerDeletion in this case because cannot \
                       find RESTMapping for APIVersion shardedkv.dev/v1 Kind ShardedKV: no matches for kind";
        assert_eq!(refused_saying(403, "", message).class(), Class::Passing);
    }

    #[test]
    fn a_namespace_that_goes_away_is_left_alone() {
        assert_eq!(refused(403, "NamespaceTerminating").pause(0), None);
    }
}
