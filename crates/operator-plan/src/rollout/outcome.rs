//! The outcome of a plan, for the status.

use skv_resource::LostServer;
use skv_sharding::GroupId;

use super::groups::GroupStep;
use super::situation::Step;

/// The steps that were taken, and the messages about the work under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The message about the work under way; `None` if there is nothing to do.
    pub doing: Option<String>,
    /// The messages about whole groups, beside that.
    pub turnover: Vec<String>,
    /// The reason why a change was refused.
    pub refused: Option<String>,
    /// The groups whose majority is gone for good.
    pub lost: Vec<GroupId>,
    /// The servers whose replica is gone for good; `None` without a live look.
    pub lost_servers: Option<Vec<LostServer>>,
    /// The reason why the first of them isn't replaced yet.
    pub waiting: Option<String>,
    /// True if the replacement that was recorded is over.
    pub replaced: bool,
    /// The step that was taken.
    pub step: Option<Step>,
    /// The steps of whole groups that were taken.
    pub group_steps: Vec<GroupStep>,
}

impl Outcome {
    /// Returns true if work is under way whose progress leaves no trace in the API server.
    pub fn is_under_way(&self) -> bool {
        !self.turnover.is_empty() || self.doing.is_some() && self.refused.is_none()
    }
}
