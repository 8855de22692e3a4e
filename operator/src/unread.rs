//! The fields of a status that this version of the operator can't read, as after a newer one that was taken back.
//! All other fields count. Those that can't be read stay as they are until the operator has a value of its own for
//! them; and it takes no step that rests on one of them.

use std::collections::BTreeMap;

use serde::Deserialize as _;
use serde_json::{Map, Value, json};
use skv_operator_plan::rollout::{Plan, Step};
use skv_resource::ShardedKvStatus;

/// The form of the store at its creation, which can't change.
const FOUNDED: &str = "founded";
/// The replacements of lost replicas within the last hour.
const REPLACED: &str = "replaced";
/// The pod that is being replaced.
const REPLACING: &str = "replacing";

/// The fields of a status that can't be read, by their names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unread(BTreeMap<String, Value>);

impl Unread {
    /// Reads a status, field by field if it can't be read as a whole.
    pub(crate) fn read(status: &Value) -> (Option<ShardedKvStatus>, Unread) {
        if let Ok(status) = Option::<ShardedKvStatus>::deserialize(status) {
            return (status, Unread::default());
        }
        let (mut known, mut unread) = (Map::new(), BTreeMap::new());
        for (field, value) in status.as_object().into_iter().flatten() {
            if ShardedKvStatus::deserialize(&json!({ field: value })).is_ok() {
                known.insert(field.clone(), value.clone());
            } else {
                unread.insert(field.clone(), value.clone());
            }
        }
        (ShardedKvStatus::deserialize(&Value::Object(known)).ok(), Unread(unread))
    }

    /// Returns the paths of the fields.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.0.keys().map(|field| format!("status.{field}")).collect()
    }

    /// Returns a status without a form at creation if the resource has one that can't be read: by the present form it
    /// would be a guess.
    pub(crate) fn without_guess(&self, status: ShardedKvStatus) -> ShardedKvStatus {
        let founded = status.founded.filter(|_| !self.0.contains_key(FOUNDED));
        ShardedKvStatus { founded, ..status }
    }

    /// Puts the fields back into a status that has nothing in their place.
    pub(crate) fn put_back(&self, status: &mut Value) {
        for (field, value) in &self.0 {
            if status[field].is_null() {
                status[field] = value.clone();
            }
        }
    }

    /// Gives up a step that rests on what can't be read, and says so. Returns true if there was one.
    pub(crate) fn hold(&self, plan: &mut Plan) -> bool {
        let Some(field) = plan.decision.step.as_ref().and_then(|step| self.missing(step)) else {
            return false;
        };
        let why = format!("this version of the operator can't read status.{field}");
        let doing = plan.decision.doing.take();
        if let Some(Step::Abandon(abandoned)) = plan.decision.step.take() {
            let (server, loss) = (abandoned.pod.name, abandoned.why);
            plan.lost.next = None;
            plan.lost.waiting = Some(format!("{server} is lost: {loss}; {why}"));
        } else {
            plan.decision.doing = doing.map(|doing| format!("{doing} has to wait: {why}"));
        }
        true
    }

    /// Returns a field that can't be read and that a step rests on.
    fn missing(&self, step: &Step) -> Option<&'static str> {
        let needed: &[&str] = match step {
            // It takes a server that works. The one that is being replaced may not be back; and a specification of
            // another form has other servers.
            Step::Evict(_) | Step::Remove { .. } => &[FOUNDED, REPLACING],
            // The budget for this hour may be spent, and another replica may be on its way.
            Step::Abandon(_) => &[REPLACED, REPLACING],
            // It takes nothing that works.
            Step::Delete(_) | Step::ForceDelete(_) | Step::HandOver { .. } => &[],
        };
        needed.iter().copied().find(|field| self.0.contains_key(*field))
    }
}

#[cfg(test)]
mod tests {
    use skv_operator_plan::observed::Observed;
    use skv_operator_plan::rollout::{Abandoned, PodRef};
    use skv_proto::v1;
    use skv_resource::{ShardedKv, ShardedKvSpec};
    use skv_sharding::{GroupId, GroupUid, ReplicaId};

    use super::*;
    use crate::testing::input;

    /// Returns a status that has a strange value in one field.
    fn strange(field: &str) -> Value {
        let mut status = json!({
            "ready": "3/3", "cluster": "7", "replacing": { "pod": "demo-g0-1", "uid": "u" },
            "replaced": [{ "server": "demo-g0-1", "uid": "u", "at": "2026-01-01T00:00:00Z" }],
        });
        status[field] = json!([{ "of": "a newer version" }]);
        status
    }

    fn unread(field: &str) -> Unread {
        Unread::read(&strange(field)).1
    }

    fn steps() -> [Step; 6] {
        let pod = PodRef { name: "demo-g0-1".to_owned(), uid: "u".to_owned() };
        let abandoned = Abandoned {
            pod: pod.clone(),
            at_once: true,
            claim: "data-demo-g0-1".to_owned(),
            claim_uid: "c".to_owned(),
            keep: None,
            why: "its node n1 is gone".to_owned(),
            history: Vec::new(),
        };
        let (group, server, address) = (GroupId(0), pod.name.clone(), "10.0.0.0:7001".to_owned());
        [
            Step::Evict(pod.clone()),
            Step::Remove {
                group,
                uid: GroupUid(7),
                leader_address: address.clone(),
                replica: ReplicaId(1),
                server: server.clone(),
            },
            Step::Abandon(abandoned),
            Step::Delete(pod.clone()),
            Step::ForceDelete(pod),
            Step::HandOver { group, meant: v1::ReplicaIdentity::default(), server, address, to: None },
        ]
    }

    #[test]
    fn a_field_that_can_not_be_read_hides_no_other() {
        let (status, unread) = Unread::read(&strange("replacing"));
        let status = status.unwrap();
        assert_eq!((status.ready.as_str(), status.cluster.as_deref()), ("3/3", Some("7")));
        assert_eq!((status.replacing, status.replaced.len()), (None, 1));
        assert_eq!(unread.paths(), ["status.replacing"]);
        let (status, unread) = Unread::read(&Value::Null);
        assert_eq!((status, unread.paths()), (None, Vec::new()), "no operator has seen it");
    }

    #[test]
    fn what_can_not_be_read_stays_until_there_is_a_value_in_its_place() {
        let unread = unread("replacing");
        let mut status = json!({ "ready": "2/3" });
        unread.put_back(&mut status);
        assert_eq!(status, json!({ "ready": "2/3", "replacing": [{ "of": "a newer version" }] }));
        let own = json!({ "replacing": { "pod": "demo-g0-2", "uid": "v" } });
        let mut status = own.clone();
        unread.put_back(&mut status);
        assert_eq!(status, own);
    }

    #[test]
    fn no_step_is_taken_that_rests_on_what_can_not_be_read() {
        let held = |field: &str| {
            let is_held = |step: Step| {
                let resource = ShardedKv::new("demo", ShardedKvSpec::default());
                let mut plan = Plan::of_cache(&resource, input().resolved, Observed::default());
                plan.decision.step = Some(step.clone());
                let is_held = unread(field).hold(&mut plan);
                assert_eq!(plan.decision.step, (!is_held).then_some(step));
                is_held
            };
            steps().map(is_held)
        };
        // Eviction, removal, replacement, and those that take nothing that works.
        assert_eq!(held("founded"), [true, true, false, false, false, false]);
        assert_eq!(held("replacing"), [true, true, true, false, false, false]);
        assert_eq!(held("replaced"), [false, false, true, false, false, false]);
        assert_eq!(held("ready"), [false; 6]);
    }
}
