//! How a command fails: one kind, which decides the exit code; one error with its causes; hints.

use std::{error::Error, fmt, io};

use netsplit_runtime::{CallError, RuntimeError};

use crate::exit;

/// What kind of failure it is; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Wrong usage or an invalid topology; nothing was started.
    Usage,
    /// An assertion failed, or a node refused what it was asked.
    Failed,
    /// The engine, an image, a file, a missing capability.
    Infrastructure,
    /// A fault could not be shown to be real.
    Inconclusive,
    /// It took longer than `--timeout`.
    TimedOut,
    /// Interrupted.
    Interrupted,
    /// Whoever read our output stopped reading: not worth a word.
    Pipe,
}

impl ErrorKind {
    /// What the process exits with.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Usage => exit::USAGE,
            Self::Failed => exit::FAILED,
            Self::Infrastructure => exit::INFRASTRUCTURE,
            Self::Inconclusive => exit::INCONCLUSIVE,
            Self::TimedOut => exit::TIMED_OUT,
            Self::Interrupted => exit::INTERRUPTED,
            Self::Pipe => exit::PASSED,
        }
    }
}

/// A command failed.
#[derive(Debug)]
pub struct CommandError {
    kind: ErrorKind,
    error: Box<dyn Error + Send + Sync>,
    /// Text that is shown as it is before the error, e.g. a topology's diagnostics.
    rendered: Option<String>,
    hints: Vec<String>,
    left: Vec<String>,
}

impl CommandError {
    /// A failure of this kind.
    pub fn new(kind: ErrorKind, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind,
            error: error.into(),
            rendered: None,
            hints: Vec::new(),
            left: Vec::new(),
        }
    }

    /// Wrong usage.
    pub fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Usage, error)
    }

    /// Infrastructure failed.
    pub fn infrastructure(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Infrastructure, error)
    }

    /// A failure to do `what`, e.g. ``failed to write `x` ``, because of `source`.
    pub fn caused(
        kind: ErrorKind,
        what: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::new(
            kind,
            Caused {
                what: what.into(),
                source: source.into(),
            },
        )
    }

    /// Stdout could not be written.
    #[must_use]
    pub fn from_output(error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::BrokenPipe => ErrorKind::Pipe,
            _ => ErrorKind::Infrastructure,
        };
        Self::caused(kind, "failed to write to stdout", error)
    }

    /// Adds a line that helps.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds text that is shown before the error.
    #[must_use]
    pub fn with_rendered(mut self, text: impl Into<String>) -> Self {
        self.rendered = Some(text.into());
        self
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The error without its causes.
    #[must_use]
    pub fn message(&self) -> String {
        self.error.to_string()
    }

    /// The causes from the nearest to the deepest, without repetitions of what was already said.
    #[must_use]
    pub fn causes(&self) -> Vec<String> {
        let mut said = self.message();
        let mut causes = Vec::new();
        let mut next = self.error.source();
        while let Some(cause) = next {
            let text = without_number(&cause.to_string()).to_owned();
            if !said.contains(&text) {
                causes.push(text.clone());
            }
            said = text;
            next = cause.source();
        }
        causes
    }

    /// Lines that help.
    #[must_use]
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// Things that could not be removed.
    #[must_use]
    pub fn left(&self) -> &[String] {
        &self.left
    }

    /// Text that is shown before the error.
    #[must_use]
    pub fn rendered(&self) -> Option<&str> {
        self.rendered.as_deref()
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl From<RuntimeError> for CommandError {
    fn from(error: RuntimeError) -> Self {
        let hints = error.hints.clone();
        let left = error.left.clone();
        let removal =
            (!left.is_empty()).then(|| "`netsplit gc` removes what dead runs left".to_owned());
        Self {
            hints: hints.into_iter().chain(removal).collect(),
            left,
            ..Self::infrastructure(error)
        }
    }
}

impl From<CallError> for CommandError {
    fn from(error: CallError) -> Self {
        match &error {
            CallError::Node(_) => Self::new(ErrorKind::Failed, error),
            CallError::Unreachable { node, .. } => {
                let hint = format!("`netsplit logs {node}` shows what it said last");
                Self::infrastructure(error).hint(hint)
            }
        }
    }
}

/// An error of the system without its number, which says nothing that the words do not.
fn without_number(text: &str) -> &str {
    text.split_once(" (os error ")
        .map_or(text, |(words, _)| words)
}

/// A failed operation with its cause.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct Caused {
    what: String,
    source: Box<dyn Error + Send + Sync>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::Ui;

    #[test]
    fn errors_of_the_system_are_told_without_their_number() {
        let error = io::Error::from_raw_os_error(2);
        assert!(error.to_string().contains("os error 2"));
        let error = CommandError::caused(ErrorKind::Usage, "failed to read `x`", error);
        assert_eq!(error.causes(), ["No such file or directory"]);
    }

    #[test]
    fn the_whole_chain_is_printed_once_with_hints_and_what_is_left() {
        let inner = RuntimeError::new("permission denied");
        let mut outer = RuntimeError::with_source("failed to create network `netsplit-x`", inner)
            .hint("add yourself to the group `docker`");
        outer.left.push("container netsplit-x-full-1: busy".into());
        let error = CommandError::from(outer);
        assert_eq!(error.kind().exit_code(), exit::INFRASTRUCTURE);
        let (ui, captured) = Ui::captured(true);
        ui.error(&error);
        insta::assert_snapshot!(captured.err(), @r"
        error: failed to create network `netsplit-x`
        caused by: permission denied
        left: container netsplit-x-full-1: busy
        hint: add yourself to the group `docker`
        hint: `netsplit gc` removes what dead runs left
        ");
    }
}
