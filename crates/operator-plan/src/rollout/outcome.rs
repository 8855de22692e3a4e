//! The outcome of a plan, for the status.

use skv_sharding::GroupId;

use super::groups::GroupStep;
use super::situation::Step;

/// The steps that were taken, and the words for what goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The words for what goes on; `None` if there is nothing to do.
    pub doing: Option<String>,
    /// The words for what becomes of whole groups, beside that.
    pub turnover: Vec<String>,
    /// The reason why something can't be done.
    pub refused: Option<String>,
    /// The groups whose majority is gone for good.
    pub lost: Vec<GroupId>,
    /// The replacement that was recorded is over.
    pub replaced: bool,
    /// The step that was taken.
    pub step: Option<Step>,
    /// The steps of whole groups that were taken.
    pub group_steps: Vec<GroupStep>,
}

impl Outcome {
    /// Returns true if something goes on that will change without a trace in the API server.
    pub fn is_under_way(&self) -> bool {
        !self.turnover.is_empty() || self.doing.is_some() && self.refused.is_none()
    }
}
