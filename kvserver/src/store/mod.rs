//! The replicated state of a group.

/// What applying one entry came to.
#[derive(Debug)]
pub enum Applied {
    /// Nothing to say.
    Nothing,
}

impl std::fmt::Display for Applied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "applied")
    }
}
