//! The recent changes, by which a request that comes again isn't carried out again.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// The number of remembered requests: many more than people, and programs, ask for at a time.
const REMEMBERED: usize = 256;

/// The request ids of the last changes, with the configuration that each made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Requests(VecDeque<(String, u64)>);

impl Requests {
    /// Returns the configuration that a request made, if it is remembered. An empty id names no request.
    pub fn answer(&self, request_id: &str) -> Option<u64> {
        self.0.iter().find(|(id, _)| id == request_id).map(|(_, configuration)| *configuration)
    }

    /// Remembers a request.
    pub fn remember(&mut self, request_id: &str, configuration: u64) {
        if request_id.is_empty() {
            return;
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((request_id.to_owned(), configuration));
    }
}
