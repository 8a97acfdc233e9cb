//! The only way to speak to the user: data to stdout, everything else to stderr.
//!
//! - [`style`]: what colours mean.
//! - [`table`]: columns for people.

pub mod style;
pub mod table;

use std::{
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
};

use clap::ValueEnum;

use self::style::{Tone, paint};
use crate::error::CommandError;

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Width of the right-aligned status word that begins a line.
pub const WORD_WIDTH: usize = 12;

type Sink = Arc<Mutex<Box<dyn Write + Send>>>;

/// Where output goes and how it looks.
#[derive(Clone)]
pub struct Ui {
    out: Sink,
    err: Sink,
    quiet: bool,
    out_colour: bool,
    err_colour: bool,
    terminal: bool,
}

impl Ui {
    /// The process's own stdout and stderr.
    #[must_use]
    pub fn new(quiet: bool, color: ColorChoice) -> Self {
        let colour = |terminal: bool| match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
            }
        };
        let err_terminal = io::stderr().is_terminal();
        Self {
            out: sink(io::stdout()),
            err: sink(io::stderr()),
            quiet,
            out_colour: colour(io::stdout().is_terminal()),
            err_colour: colour(err_terminal),
            terminal: err_terminal && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
        }
    }

    /// Output into memory, without colours and terminal: for tests.
    #[must_use]
    pub fn captured(quiet: bool) -> (Self, Captured) {
        let captured = Captured::default();
        let ui = Self {
            out: sink(captured.out.clone()),
            err: sink(captured.err.clone()),
            quiet,
            out_colour: false,
            err_colour: false,
            terminal: false,
        };
        (ui, captured)
    }

    /// Whether only data and errors are wanted.
    #[must_use]
    pub const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether stderr is a terminal that can redraw lines.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether stdout takes colours.
    #[must_use]
    pub const fn out_colour(&self) -> bool {
        self.out_colour
    }

    /// Whether stderr takes colours.
    #[must_use]
    pub const fn err_colour(&self) -> bool {
        self.err_colour
    }

    /// Writes what was asked for to stdout, ending with a line break.
    ///
    /// # Errors
    /// When stdout is gone; a closed pipe is to end the command quietly.
    pub fn data(&self, text: &str) -> Result<(), CommandError> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        write_line(&mut **out, text).map_err(CommandError::from_output)
    }

    /// Writes a value as JSON to stdout, over several lines.
    ///
    /// # Errors
    /// When stdout is gone.
    pub fn json(&self, value: &impl serde::Serialize) -> Result<(), CommandError> {
        let text = serde_json::to_string_pretty(value)
            .expect("what the CLI prints has string keys and no failing serialisers");
        self.data(&text)
    }

    /// One line about what is going on.
    pub fn status(&self, word: &str, text: &str) {
        if !self.quiet {
            self.line(&self.labelled(word, Tone::Good, text));
        }
    }

    /// One line about something that should be looked at.
    pub fn warning(&self, text: &str) {
        self.line(&format!(
            "{} {text}",
            paint(self.err_colour, Tone::Notice, "warning:")
        ));
    }

    /// One line that helps.
    pub fn hint(&self, text: &str) {
        self.line(&format!(
            "{} {text}",
            paint(self.err_colour, Tone::Busy, "hint:")
        ));
    }

    /// An error, its causes, what is left, and what helps.
    pub fn error(&self, error: &CommandError) {
        if let Some(rendered) = error.rendered() {
            self.line(rendered.trim_end());
        }
        self.failure(&error.message(), &[]);
        for cause in error.causes() {
            self.line(&format!(
                "{} {cause}",
                paint(self.err_colour, Tone::Strong, "caused by:")
            ));
        }
        for left in error.left() {
            self.line(&format!(
                "{} {left}",
                paint(self.err_colour, Tone::Notice, "left:")
            ));
        }
        for hint in error.hints() {
            self.hint(hint);
        }
    }

    /// A failure that is told in one line, and what helps.
    pub fn failure(&self, text: &str, hints: &[String]) {
        self.line(&format!(
            "{} {text}",
            paint(self.err_colour, Tone::Bad, "error:")
        ));
        for hint in hints {
            self.hint(hint);
        }
    }

    /// A line with a right-aligned status word.
    #[must_use]
    pub fn labelled(&self, word: &str, tone: Tone, text: &str) -> String {
        let word = paint(self.err_colour, tone, &format!("{word:>WORD_WIDTH$}"));
        format!("{word} {text}").trim_end().to_owned()
    }

    /// One line to stderr as it is, even when quiet. Failures are ignored: there is nowhere left to report them.
    pub fn line(&self, text: &str) {
        let mut err = self.err.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = write_line(&mut **err, text);
    }
}

fn sink(writer: impl Write + Send + 'static) -> Sink {
    Arc::new(Mutex::new(Box::new(writer)))
}

fn write_line(writer: &mut dyn Write, text: &str) -> io::Result<()> {
    writer.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        writer.write_all(b"\n")?;
    }
    writer.flush()
}

/// What a captured [`Ui`] was told.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    out: Buffer,
    err: Buffer,
}

impl Captured {
    /// Everything written to stdout.
    #[must_use]
    pub fn out(&self) -> String {
        self.out.text()
    }

    /// Everything written to stderr.
    #[must_use]
    pub fn err(&self) -> String {
        self.err.text()
    }
}

#[derive(Clone, Debug, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
