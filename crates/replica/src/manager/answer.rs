//! The choice between several managers' answers.

use skv_proto::v1;
use skv_proto::v1::register_replica_response::Plan;
use tonic::Status;

type Reply = Result<v1::RegisterReplicaResponse, Status>;

/// Returns the worth of an answer: a plan is more than the order to wait, which may only mean that
/// this manager hasn't heard of everybody yet; and that is more than no answer. Among equals the
/// manager that knows the newer record wins.
fn worth(answer: &Reply) -> Option<(bool, u64)> {
    let response = answer.as_ref().ok()?;
    let is_plan = !matches!(response.plan, None | Some(Plan::Wait(_)));
    Some((is_plan, response.manager_version))
}

/// Returns the answer that is worth more; of two errors the later one.
pub(super) fn better(one: Reply, other: Reply) -> Reply {
    if worth(&one) > worth(&other) { one } else { other }
}

#[cfg(test)]
mod tests {
    use skv_proto::v1::register_replica_response::{Serve, Wait};

    use super::*;

    fn response(manager_version: u64, plan: Plan) -> v1::RegisterReplicaResponse {
        v1::RegisterReplicaResponse { cluster_id: 1, manager_version, plan: Some(plan) }
    }

    fn wait(version: u64) -> v1::RegisterReplicaResponse {
        response(version, Plan::Wait(Wait::default()))
    }

    fn serve(version: u64) -> v1::RegisterReplicaResponse {
        response(version, Plan::Serve(Serve::default()))
    }

    /// Asserts that each answer is preferred to all before it, in whichever order they come.
    #[track_caller]
    fn assert_rising(answers: &[Reply]) {
        for (index, best) in answers.iter().enumerate() {
            for worse in &answers[..index] {
                for chosen in [better(best.clone(), worse.clone()), better(worse.clone(), best.clone())] {
                    assert_eq!(worth(&chosen), worth(best), "{best:?} against {worse:?}");
                }
            }
        }
    }

    #[test]
    fn a_plan_counts_more_than_waiting_and_waiting_more_than_an_error() {
        assert_rising(&[
            Err(Status::unavailable("gone")),
            Ok(wait(0)),
            Ok(wait(9)),
            Ok(serve(3)),
            Ok(serve(4)),
        ]);
    }

    #[test]
    fn of_two_errors_there_is_one_to_tell() {
        let error = better(Err(Status::unavailable("one")), Err(Status::unavailable("two")));
        assert_eq!(error.unwrap_err().message(), "two");
    }
}
