//! An assertion that a person types on a command line: problems are shown in the words that were typed.

use super::{
    tree::{Entry, Kind, Tree},
    yaml,
};
use crate::problem::{Collector, Source, Span};

/// An assertion as it was typed, and when it must hold.
#[derive(Clone, Copy, Debug)]
pub struct Typed<'a> {
    /// `wait` or `assert`.
    pub step: &'static str,
    /// The assertion: `converged`, or with arguments as in a topology; the outer braces may be left out. For `wait` a
    /// duration, too.
    pub text: &'a str,
    /// `within` or `for` with its duration, where it was typed apart; it wins over the text's own.
    pub limit: Option<(&'static str, &'a str)>,
    /// The `within` of an assertion that says neither.
    pub patience: Option<&'static str>,
}

impl Typed<'_> {
    /// A list of the one step, every part of it where it was typed.
    pub(super) fn tree(&self, problems: &mut Collector) -> Option<Tree> {
        let text = self.text.trim();
        let whole = if !text.starts_with(['{', '[']) && text.contains(':') {
            format!("{{ {text} }}")
        } else {
            text.to_owned()
        };
        let number = problems.add_source(Source::new("command line", whole.clone()));
        let mut check = called(yaml::read(&whole, number, problems)?);
        if let Some((name, time)) = self.limit {
            let number = problems.add_source(Source::new(format!("--{name}"), time));
            put(&mut check, name, time, place(number, time));
        } else if let Some(time) = self.patience {
            let says = |key| check.entry(key).is_some();
            if !["within", "for", "over"].into_iter().any(says) {
                let span = check.span;
                put(&mut check, "within", time, span);
            }
        }
        let span = check.span;
        let step = entry(self.step, check, span);
        let step = Tree {
            kind: Kind::Map(vec![step]),
            span,
        };
        Some(Tree {
            kind: Kind::List(vec![step]),
            span,
        })
    }
}

/// A word alone is short for an assertion without arguments.
fn called(tree: Tree) -> Tree {
    let span = tree.span;
    match tree.kind {
        Kind::Text(word) if !word.starts_with(|c: char| c.is_ascii_digit()) => {
            let nothing = Tree {
                kind: Kind::Map(Vec::new()),
                span,
            };
            Tree {
                kind: Kind::Map(vec![entry(&word, nothing, span)]),
                span,
            }
        }
        kind => Tree { kind, span },
    }
}

fn put(tree: &mut Tree, key: &str, time: &str, span: Span) {
    let Kind::Map(entries) = &mut tree.kind else {
        return;
    };
    let value = Tree {
        kind: Kind::Text(time.to_owned()),
        span,
    };
    entries.retain(|entry| entry.key != key);
    entries.push(entry(key, value, span));
}

fn entry(key: &str, value: Tree, key_span: Span) -> Entry {
    Entry {
        key: key.to_owned(),
        key_span,
        value,
    }
}

const fn place(source: usize, text: &str) -> Span {
    Span {
        source,
        start: 0,
        len: text.len(),
    }
}
