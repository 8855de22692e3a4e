//! The ends of processes that ought to run, for people who wait for them.

use std::collections::BTreeMap;
use std::path::Path;

use skv_local::data_dir::log_file;
use skv_local::record::Member;

/// The number of ends after which a process isn't expected to become ready any more.
const HOPELESS: u32 = 4;

/// The ends that people were told of.
#[derive(Default)]
pub(super) struct Ends {
    told: BTreeMap<String, String>,
}

impl Ends {
    /// Returns a line for each process that has ended in another way than was told: the same again is no news.
    pub(super) fn news(&mut self, members: &[Member], dir: &Path) -> Vec<String> {
        let mut lines = Vec::new();
        for member in members {
            let Some(ended) = &member.ended else { continue };
            if self.told.get(&member.name) != Some(&ended.last) {
                let log = log_file(dir, &member.name);
                lines.push(format!("{} {}. Its log: {}", member.name, ended.last, log.display()));
                self.told.insert(member.name.clone(), ended.last.clone());
            }
        }
        lines
    }
}

/// Returns the reason not to wait for this process any more, if there is one.
pub(super) fn hopeless(member: &Member) -> Option<String> {
    let ended = member.ended.as_ref().filter(|ended| ended.times >= HOPELESS)?;
    Some(format!("{} ended {} times", member.name, ended.times))
}
