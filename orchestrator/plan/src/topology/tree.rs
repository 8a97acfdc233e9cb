//! A YAML document as a tree in which every part knows its place in the text.

use crate::problem::Span;

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tree {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Tree,
}

impl Tree {
    /// What people call this kind of value.
    pub(crate) const fn noun(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a truth value",
            Kind::Int(_) => "a whole number",
            Kind::Float(_) => "a number",
            Kind::Text(_) => "text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        let Kind::Map(entries) = &self.kind else {
            return None;
        };
        entries.iter().find(|entry| entry.key == key)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// A scalar as it would be written; `None` for lists and mappings.
    pub(crate) fn scalar(&self) -> Option<String> {
        match &self.kind {
            Kind::Null => Some("null".to_owned()),
            Kind::Bool(value) => Some(value.to_string()),
            Kind::Int(value) => Some(value.to_string()),
            Kind::Float(value) => Some(value.to_string()),
            Kind::Text(text) => Some(text.clone()),
            Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// The value on one line, in YAML's flow style.
    pub(crate) fn inline(&self) -> String {
        match &self.kind {
            Kind::List(items) => {
                let items: Vec<String> = items.iter().map(Self::inline).collect();
                format!("[{}]", items.join(", "))
            }
            Kind::Map(entries) if entries.is_empty() => "{}".to_owned(),
            Kind::Map(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|entry| format!("{}: {}", entry.key, entry.value.inline()))
                    .collect();
                format!("{{ {} }}", entries.join(", "))
            }
            _ => self.scalar().unwrap_or_default(),
        }
    }

    /// A one-key mapping without braces, as a step is written.
    pub(crate) fn step_text(&self) -> String {
        match &self.kind {
            Kind::Map(entries) if entries.len() == 1 => entries
                .iter()
                .map(|e| format!("{}: {}", e.key, e.value.inline()))
                .collect(),
            _ => self.inline(),
        }
    }
}

/// The way from a document's root to one of its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Key(String),
    Index(usize),
}

impl Path {
    pub(crate) fn key(&self, key: impl Into<String>) -> Self {
        self.with(Segment::Key(key.into()))
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    fn with(&self, segment: Segment) -> Self {
        let mut path = self.clone();
        path.0.push(segment);
        path
    }

    /// The value at the end of the way.
    pub(crate) fn get<'a>(&self, root: &'a Tree) -> Option<&'a Tree> {
        self.0.iter().try_fold(root, step)
    }

    /// The place of the value at the end of the way, or of the last part of the way that is there.
    pub(crate) fn span(&self, root: &Tree) -> Span {
        self.0
            .iter()
            .try_fold(root, |tree, segment| step(tree, segment).ok_or(tree))
            .unwrap_or_else(|last| last)
            .span
    }

    /// The place of the key at the end of the way; that of the value if it has none.
    pub(crate) fn key_span(&self, root: &Tree) -> Span {
        let Some((Segment::Key(key), parents)) = self.0.split_last() else {
            return self.span(root);
        };
        let parent = parents.iter().try_fold(root, step);
        parent
            .and_then(|tree| tree.entry(key))
            .map_or_else(|| self.span(root), |e| e.key_span)
    }
}

fn step<'a>(tree: &'a Tree, segment: &Segment) -> Option<&'a Tree> {
    match (segment, &tree.kind) {
        (Segment::Key(key), _) => tree.get(key),
        (Segment::Index(index), Kind::List(items)) => items.get(*index),
        // A short form: one element stands for a list of one.
        (Segment::Index(0), _) => Some(tree),
        (Segment::Index(_), _) => None,
    }
}
