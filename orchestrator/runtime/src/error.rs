//! What can go wrong with a runtime, by operation.

/// An operation of a runtime failed: what, why, what to do about it, and what is left.
#[derive(Debug, thiserror::Error)]
#[error("{operation}")]
pub struct RuntimeError {
    /// What was attempted, e.g. ``failed to create network `netsplit-x` ``.
    pub operation: String,
    /// The cause.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// Lines that help: a remedy, a node's last log lines.
    pub hints: Vec<String>,
    /// How many things were removed after the failure.
    pub removed: usize,
    /// Things that could not be removed after the failure.
    pub left: Vec<String>,
}

impl RuntimeError {
    /// A failure without a cause.
    pub fn new(operation: impl Into<String>) -> Self {
        Self {
            operation: operation.into(),
            source: None,
            hints: Vec::new(),
            removed: 0,
            left: Vec::new(),
        }
    }

    /// A failure with its cause.
    pub fn with_source(
        operation: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            source: Some(source.into()),
            ..Self::new(operation)
        }
    }

    /// Adds a line that helps.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}
