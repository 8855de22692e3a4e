//! The report of rounds, of the form that `cargo xtask soak` reads.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::targets::Kind;
use crate::trial::Trial;

/// The rounds so far.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// The number of inputs.
    operations: u64,
    /// The number of inputs that were refused.
    failed: u64,
    /// No configuration is changed.
    changes: u64,
    /// The number of rounds of each kind.
    faults: BTreeMap<&'static str, u64>,
    /// The first thing that was found.
    pub(crate) finding: Option<String>,
    /// The command that shows it again.
    #[serde(skip)]
    pub(crate) replay: String,
}

impl Report {
    /// Plays a round; false: it found something.
    pub(crate) fn round(&mut self, kind: Kind, seed: u64) -> bool {
        let replay = format!("cargo xtask soak fuzz --seed {seed}");
        let replay = if kind == Kind::of(seed) {
            replay
        } else {
            format!("skv-fuzz --kind {} --seed {seed}", kind.name())
        };
        self.play(kind, replay, |trial| kind.play(seed, trial))
    }

    /// Plays something of a kind; false: it found something.
    pub(crate) fn play(
        &mut self,
        kind: Kind,
        replay: String,
        play: impl FnOnce(&mut Trial) -> Result<(), String>,
    ) -> bool {
        let mut trial = Trial::default();
        let outcome = play(&mut trial);
        self.operations += trial.inputs;
        self.failed += trial.refused;
        *self.faults.entry(kind.name()).or_default() += 1;
        if let Err(finding) = outcome {
            self.finding = Some(format!("{}: {finding}", kind.name()));
            self.replay = replay;
        }
        self.finding.is_none()
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
