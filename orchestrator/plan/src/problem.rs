//! What is wrong with a topology: every problem at once, each with its place, a label and a hint.

use std::fmt;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode,
};
use serde::Serialize;

/// A text and what people call it, e.g. its file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What people call it.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// A text with a name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }

    /// Line and column, both from 1, of a byte offset; columns count characters.
    fn place(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before
            .get(line_start..)
            .map_or(0, |line| line.chars().count());
        (before.matches('\n').count() + 1, column + 1)
    }
}

/// A stretch of one of several sources, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) source: usize,
    pub(crate) start: usize,
    pub(crate) len: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The source's name.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// What is wrong, in one line.
    pub message: String,
    /// What stands under the marked text.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
    #[serde(skip)]
    span: Span,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}",
            self.file, self.line, self.column, self.message
        )
    }
}

/// How problems are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// With colours.
    Colour,
    /// Without.
    Plain,
}

/// Everything that is wrong with a topology, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    sources: Vec<Source>,
    list: Vec<Problem>,
}

impl Problems {
    /// All of them; never empty.
    #[must_use]
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// Every problem with its snippet, label and hint, ending with a newline.
    #[must_use]
    pub fn render(&self, look: Look) -> String {
        let theme = match look {
            Look::Colour => GraphicalTheme::unicode(),
            Look::Plain => GraphicalTheme::unicode_nocolor(),
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(110)
            .with_links(false)
            .without_syntax_highlighting();
        let mut text = String::new();
        for (i, problem) in self.list.iter().enumerate() {
            if i > 0 {
                text.push('\n');
            }
            let report = Report {
                problem,
                source: self
                    .sources
                    .get(problem.span.source)
                    .map(|source| NamedSource::new(&source.name, source.text.clone())),
            };
            handler
                .render_report(&mut text, &report)
                .expect("a string takes any text");
        }
        text
    }
}

impl fmt::Display for Problems {
    /// One line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.list.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[derive(Debug)]
struct Report<'a> {
    problem: &'a Problem,
    source: Option<NamedSource<String>>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Report<'_> {}

impl Diagnostic for Report<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem
            .help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = (self.problem.span.start, self.problem.span.len);
        let label = LabeledSpan::new_primary_with_span(Some(self.problem.label.clone()), span);
        Some(Box::new(std::iter::once(label)))
    }
}

/// Where problems are collected.
#[derive(Debug)]
pub(crate) struct Collector {
    sources: Vec<Source>,
    list: Vec<Problem>,
}

/// What is wrong, before its place is known.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) message: String,
    pub(crate) label: String,
    pub(crate) help: Option<String>,
}

impl Fault {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            label: "here".to_owned(),
            help: None,
        }
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }
}

impl Collector {
    pub(crate) const fn new() -> Self {
        Self {
            sources: Vec::new(),
            list: Vec::new(),
        }
    }

    /// Adds a source and returns its number.
    pub(crate) fn add_source(&mut self, source: Source) -> usize {
        self.sources.push(source);
        self.sources.len() - 1
    }

    pub(crate) fn report(&mut self, span: Span, fault: Fault) {
        let (file, (line, column)) = self
            .sources
            .get(span.source)
            .map_or((String::new(), (1, 1)), |s| {
                (s.name.clone(), s.place(span.start))
            });
        let Fault {
            message,
            label,
            help,
        } = fault;
        let problem = Problem {
            file,
            line,
            column,
            message,
            label,
            help,
            span,
        };
        if !self.list.contains(&problem) {
            self.list.push(problem);
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// `value`, or everything that was found, in the order of the text.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Result<T, Problems> {
        match value {
            Some(value) if self.list.is_empty() => Ok(value),
            _ => {
                self.list.sort_by_key(|problem| problem.span);
                Err(Problems {
                    sources: self.sources,
                    list: self.list,
                })
            }
        }
    }
}

/// The word of `words` that `word` was probably meant to be, as a hint.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    words: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    closest(word, words).map(|best| format!("did you mean `{best}`?"))
}

fn closest<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let close = |other: &str| {
        let distance = strsim::damerau_levenshtein(word, other);
        distance <= 1.max(other.chars().count() / 3) || strsim::jaro_winkler(word, other) > 0.88
    };
    words
        .into_iter()
        .filter(|other| close(other))
        .min_by_key(|other| strsim::damerau_levenshtein(word, other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_words_are_suggested_and_far_ones_are_not() {
        let words = ["partition", "pause", "heal"];
        assert_eq!(
            did_you_mean("partiton", words).as_deref(),
            Some("did you mean `partition`?")
        );
        assert_eq!(
            did_you_mean("heel", words).as_deref(),
            Some("did you mean `heal`?")
        );
        assert_eq!(did_you_mean("xyzzy", words), None);
    }

    #[test]
    fn places_count_characters() {
        let source = Source::new("x", "a: ö\nbé: c");
        assert_eq!(source.place("a: ö\nbé: ".len()), (2, 5));
        assert_eq!(source.place(0), (1, 1));
    }
}
