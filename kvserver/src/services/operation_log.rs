//! Prints operations, with their input and their result.

use std::collections::HashMap;
use std::fmt;

use skv_proto::v1::answer::Answer;
use skv_proto::v1::operation::Operation;
use skv_proto::{Error, v1};

use super::operations::request::key_of;

/// The inputs of operations, kept to be printed with their results.
pub(super) struct Logged(HashMap<u64, String>);

impl Logged {
    pub(super) fn new(operations: &[v1::Operation]) -> Self {
        let describe = |o: &v1::Operation| o.operation.as_ref().map(|input| (o.id, Input(input).to_string()));
        Logged(operations.iter().filter_map(describe).collect())
    }

    pub(super) fn print(&self, answers: &[v1::Answer]) {
        for v1::Answer { id, answer } in answers {
            if let (Some(input), Some(answer)) = (self.0.get(id), answer) {
                print(input, Ok(answer));
            }
        }
    }
}

/// Prints one operation.
pub(super) fn print(input: &str, answer: Result<&Answer, &Error>) {
    match answer {
        Ok(answer) => tracing::info!(target: "operation", "{input} -> {}", Output(answer)),
        Err(error) => {
            let error = Answer::Error(error.clone().into());
            tracing::info!(target: "operation", "{input} -> {}", Output(&error));
        }
    }
}

/// An operation as it is printed.
pub(super) struct Input<'a>(pub(super) &'a Operation);

impl fmt::Display for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = String::from_utf8_lossy(key_of(self.0));
        match self.0 {
            Operation::Get(_) => write!(f, "Get({key:?})"),
            Operation::Put(put) => write!(f, "Put({key:?}, {:?})", String::from_utf8_lossy(&put.value)),
            Operation::Append(append) => {
                write!(f, "Append({key:?}, {:?})", String::from_utf8_lossy(&append.args))
            }
            Operation::Delete(_) => write!(f, "Delete({key:?})"),
        }
    }
}

struct Output<'a>(&'a Answer);

impl fmt::Display for Output<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Answer::Get(get) if get.found => {
                write!(f, "{:?}, revision {}", String::from_utf8_lossy(&get.value), get.revision)
            }
            Answer::Get(_) => write!(f, "no such key"),
            Answer::Put(v1::PutResponse { success, revision }) => {
                write!(f, "success {success}, revision {revision}")
            }
            Answer::Append(append) => {
                write!(
                    f,
                    "old value {:?}, revision {}",
                    String::from_utf8_lossy(&append.old_value),
                    append.revision
                )
            }
            Answer::Delete(delete) => write!(f, "success {}, found {}", delete.success, delete.found),
            Answer::Error(error) => write!(f, "{}: {}", error.reason().as_str_name(), error.message),
        }
    }
}
