//! Whether and how a run lives.

/// What `ls` shows of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunState {
    /// Its maker holds it until it is ready.
    Starting,
    /// It lives and dies with its maker.
    Owned,
    /// It runs until it is taken down.
    Detached,
    /// Nobody holds it any more, and something of it is left.
    Dead,
}

impl RunState {
    /// As it is shown.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Owned => "owned",
            Self::Detached => "detached",
            Self::Dead => "dead",
        }
    }
}
