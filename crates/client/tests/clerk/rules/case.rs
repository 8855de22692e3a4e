//! A case of the table, as `testdata/clerk/calls.yaml` describes it.

use serde::Deserialize;
use skv_fake::Fake;
use skv_proto::{Error, v1};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    #[serde(default = "one_server")]
    pub(super) groups: Vec<usize>,
    #[serde(default = "all_of_group_0")]
    pub(super) owners: Vec<u32>,
    #[serde(default)]
    pub(super) dead: Vec<usize>,
    #[serde(default)]
    pub(super) target: Target,
    #[serde(default = "yes")]
    pub(super) copies: bool,
    #[serde(default)]
    pub(super) opens: Vec<u64>,
    pub(super) calls: Vec<Call>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Target {
    #[default]
    Manager,
    Servers,
    Nobody,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    pub(super) append: Option<String>,
    pub(super) get: Option<String>,
    #[serde(default)]
    pub(super) first: Vec<Fate>,
    #[serde(default)]
    pub(super) later: Fate,
    #[serde(default)]
    pub(super) later_at: Vec<Fate>,
    pub(super) patience: Option<Patience>,
    #[serde(default = "answered")]
    pub(super) ends: String,
    #[serde(default)]
    pub(super) says: Vec<String>,
    pub(super) sent: Option<Vec<Sent>>,
    pub(super) applied: Option<u64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Patience {
    Short,
    Attempt,
}

/// A transmission; `None` = anything.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sent {
    pub(super) to: Option<usize>,
    pub(super) direct: Option<bool>,
    pub(super) session: Option<usize>,
    pub(super) seq: Option<u64>,
    pub(super) acked_below: Option<u64>,
    pub(super) opened_after: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Fate {
    Word(Word),
    Refusal(Box<Refusal>),
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Word {
    Ok,
    Lose,
    Mute,
    Break,
}

/// The fields of an error, as in error.proto.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refusal {
    refuse: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    group: u32,
    leader: Option<usize>,
    #[serde(default)]
    term: u64,
    owner: Option<Owner>,
    #[serde(default)]
    floor: u64,
    #[serde(default)]
    revision: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Owner {
    shard: u32,
    group: u32,
    epoch: u64,
    replicas: Vec<usize>,
}

impl Default for Fate {
    fn default() -> Fate {
        Fate::Word(Word::Ok)
    }
}

impl Fate {
    pub(super) fn of(&self, fake: &Fake) -> skv_fake::Fate {
        match self {
            Fate::Word(Word::Ok) => skv_fake::Fate::Serve,
            Fate::Word(Word::Lose) => skv_fake::Fate::Lose,
            Fate::Word(Word::Mute) => skv_fake::Fate::Mute,
            Fate::Word(Word::Break) => skv_fake::Fate::Break,
            Fate::Refusal(refusal) => skv_fake::Fate::Refuse(refusal.error(fake)),
        }
    }
}

impl Refusal {
    fn error(&self, fake: &Fake) -> Error {
        let reason = v1::Reason::from_str_name(&format!("REASON_{}", self.refuse)).unwrap();
        let owner = |owner: &Owner| fake.owner(owner.shard, owner.group, owner.epoch, &owner.replicas).into();
        Error::from(v1::Error {
            reason: reason as i32,
            message: self.message.clone(),
            group: self.group,
            leader: self.leader.map(|index| fake.replica(index).into()),
            term: self.term,
            owner: self.owner.as_ref().map(owner),
            floor: self.floor,
            revision: self.revision,
            incarnation: 0,
        })
    }
}

fn one_server() -> Vec<usize> {
    vec![1]
}

fn all_of_group_0() -> Vec<u32> {
    vec![0; 4]
}

fn yes() -> bool {
    true
}

fn answered() -> String {
    "answered".to_owned()
}
