//! The specification that the operator goes by: the resource's own, or the last valid one while that can't be
//! used. An edit that makes no sense, or a definition that is newer than the operator, changes nothing, and
//! what runs is cared for all the same. So it is while a part of the status can't be read.

use kube::ResourceExt as _;
use kube::api::DynamicObject;
use skv_operator_plan::condition::{Reason, Verdict};
use skv_resource::{Founded, Kept, Problem, ShardedKv, ShardedKvSpec, ShardedKvStatus, read_known, validate};

use crate::unread::Unread;

/// A resource as the operator goes by it.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The resource, with a specification that is, or was, valid.
    pub(crate) resource: ShardedKv,
    /// The verdict on the resource's own specification.
    pub(crate) validity: Verdict,
    /// The fields of the resource's status that can't be read.
    pub(crate) unread: Unread,
}

/// Reads a resource, which may find the store of an earlier one. Returns the verdict on it if it can't be used
/// and never could.
pub(crate) fn accept(
    object: &DynamicObject,
    kept: impl FnOnce() -> Option<Kept>,
) -> Result<Accepted, Verdict> {
    let (status, unread) = Unread::read(&object.data["status"]);
    let accepted = |spec: ShardedKvSpec, validity: Verdict| Accepted {
        resource: ShardedKv { metadata: object.metadata.clone(), spec, status: status.clone() },
        validity,
        unread: unread.clone(),
    };
    let own = &object.data["spec"];
    let refusal = match read_known(own.clone()) {
        Ok((spec, unknown)) => {
            let problems = problems(&object.name_any(), &spec, status.as_ref(), kept);
            if problems.is_empty() {
                let unknown = [unknown, unread.paths()].concat();
                return Ok(accepted(spec, Verdict::valid(&unknown)));
            }
            let told: Vec<String> = problems.iter().map(Problem::to_string).collect();
            Verdict::invalid(Reason::Invalid, told.join("; "))
        }
        Err(error) => unreadable(&error),
    };
    let Some(mut spec) = status.as_ref().and_then(last_valid) else { return Err(refusal) };
    // A pause is heeded whatever else is wrong.
    spec.paused |= own["paused"] == true;
    Ok(accepted(spec, refusal))
}

/// Returns all problems of the resource, also those against its form at creation, or against that of the store
/// that it finds.
fn problems(
    name: &str,
    spec: &ShardedKvSpec,
    status: Option<&ShardedKvStatus>,
    kept: impl FnOnce() -> Option<Kept>,
) -> Vec<Problem> {
    let mut problems = validate(name, spec);
    let founded = status.and_then(|status| {
        // The last valid specification has the same form, also where the record of that can't be read.
        status.founded.clone().or_else(|| last_valid(status).map(|spec| Founded::from(&spec)))
    });
    problems.extend(match founded {
        Some(founded) => founded.problems(spec),
        None => kept().map_or_else(Vec::new, |kept| kept.problems(spec)),
    });
    problems
}

/// Returns the last valid specification, if it can be read.
fn last_valid(status: &ShardedKvStatus) -> Option<ShardedKvSpec> {
    let (spec, _) = read_known(status.accepted.clone()?).ok()?;
    Some(spec)
}

fn unreadable(error: &serde_json::Error) -> Verdict {
    Verdict::invalid(Reason::Unreadable, format!("the resource can't be read: {error}"))
}
