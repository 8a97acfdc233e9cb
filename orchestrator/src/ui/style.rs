//! Colours. They only ever add to what the words say.

/// How a piece of text is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// It went well.
    Good,
    /// It went wrong.
    Bad,
    /// It should be looked at.
    Notice,
    /// Something is going on.
    Busy,
    /// It matters less than the rest.
    Faint,
    /// It matters more than the rest.
    Strong,
}

impl Tone {
    /// Parameters of the terminal's SGR sequence (ECMA-48 §8.3.117).
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "1;32",
            Self::Bad => "1;31",
            Self::Notice => "1;33",
            Self::Busy => "1;36",
            Self::Faint => "2",
            Self::Strong => "1",
        }
    }
}

/// `text` in the colour of `tone`, or as it is when `colour` is off.
#[must_use]
pub fn paint(colour: bool, tone: Tone, text: &str) -> String {
    if colour {
        format!("\x1b[{}m{text}\x1b[0m", tone.code())
    } else {
        text.to_owned()
    }
}
