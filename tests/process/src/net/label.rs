//! Labels of messages, by which the net recognises those that it has seen.

use skv_proto::v1;
use skv_proto::v1::operation::Operation;

/// A mark that distinguishes one message from others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Label {
    /// Empty if it is about no key.
    pub(super) key: Vec<u8>,
    /// `None`: it is no mutation.
    pub(super) id: Option<v1::RequestId>,
}

impl Label {
    pub(super) fn of(operation: &Operation) -> Label {
        let (key, id) = match operation {
            Operation::Get(request) => (&request.key, None),
            Operation::Put(request) => (&request.key, request.id),
            Operation::Append(request) => (&request.key, request.id),
            Operation::Delete(request) => (&request.key, request.id),
        };
        Label { key: key.to_vec(), id }
    }

    /// Returns the part that is the same in each transmission of a mutation: acknowledgements grow meanwhile.
    pub(super) fn once(&self) -> Label {
        let id = self.id.map(|id| v1::RequestId { acked_below: 0, ..id });
        Label { key: self.key.clone(), id }
    }
}
