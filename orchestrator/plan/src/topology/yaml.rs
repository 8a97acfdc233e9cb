//! YAML in and out: the only file that names the YAML libraries, so that they can be replaced.
//!
//! `serde_yaml` reads the values and fills the types; `saphyr-parser` tells where everything stands.

use saphyr_parser::{Event, Parser, ScanError, Span as Mark};
use serde::de::DeserializeOwned;
use serde_yaml::Value;

use super::tree::{Entry, Kind, Tree};
use crate::problem::{Collector, Fault, Span};

/// Levels of lists and mappings; a topology needs eight.
const DEEPEST: usize = 64;

/// Reads a document; problems of syntax are reported and give `None`.
pub(super) fn read(text: &str, source: usize, problems: &mut Collector) -> Option<Tree> {
    let places = Places::of(text, source, problems)?;
    let mut value: Value = match serde_yaml::from_str(text) {
        Ok(value) => value,
        Err(error) => {
            if !problems.is_empty() {
                // A key that stands twice was reported with its place.
                return None;
            }
            let start = error.location().map_or(0, |location| location.index());
            let span = Span {
                source,
                start: start.min(text.len()),
                len: 0,
            };
            problems.report(span, Fault::new(format!("not valid YAML: {error}")));
            return None;
        }
    };
    if let Err(error) = value.apply_merge() {
        let fault = Fault::new(format!("not valid YAML: {error}"));
        problems.report(
            Span {
                source,
                start: 0,
                len: 0,
            },
            fault,
        );
        return None;
    }
    tree(&value, &places.root, problems)
}

/// Fills a type from a tree.
pub(super) fn fill<T: DeserializeOwned>(tree: &Tree) -> Result<T, String> {
    serde_yaml::with::singleton_map_recursive::deserialize(value(tree)).map_err(|e| e.to_string())
}

fn value(tree: &Tree) -> Value {
    match &tree.kind {
        Kind::Null => Value::Null,
        Kind::Bool(value) => Value::Bool(*value),
        Kind::Int(value) => i64::try_from(*value)
            .map(Value::from)
            .or_else(|_| u64::try_from(*value).map(Value::from))
            .unwrap_or(Value::Null),
        Kind::Float(value) => Value::from(*value),
        Kind::Text(text) => Value::from(text.as_str()),
        Kind::List(items) => Value::Sequence(items.iter().map(value).collect()),
        Kind::Map(entries) => Value::Mapping(
            entries
                .iter()
                .map(|e| (Value::from(e.key.as_str()), value(&e.value)))
                .collect(),
        ),
    }
}

fn tree(value: &Value, place: &Place, problems: &mut Collector) -> Option<Tree> {
    let kind = match value {
        Value::Null => Kind::Null,
        Value::Bool(value) => Kind::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Kind::Int(int.into()),
            (_, Some(int)) => Kind::Int(int.into()),
            _ => Kind::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Kind::Text(text.clone()),
        Value::Sequence(items) => {
            let items: Vec<Option<Tree>> = items
                .iter()
                .enumerate()
                .map(|(i, item)| tree(item, place.items.get(i).unwrap_or(place), problems))
                .collect();
            Kind::List(items.into_iter().collect::<Option<_>>()?)
        }
        Value::Mapping(entries) => {
            let entries: Vec<Option<Entry>> = entries
                .iter()
                .map(|(key, value)| entry(key, value, place, problems))
                .collect();
            Kind::Map(entries.into_iter().collect::<Option<_>>()?)
        }
        Value::Tagged(tagged) => {
            let fault = Fault::new(format!("the tag `{}` means nothing here", tagged.tag));
            problems.report(place.span, fault.help("leave it out"));
            return None;
        }
    };
    Some(Tree {
        kind,
        span: place.span,
    })
}

fn entry(key: &Value, value: &Value, place: &Place, problems: &mut Collector) -> Option<Entry> {
    let text = match key {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        _ => {
            problems.report(place.span, Fault::new("a key must be a word"));
            return None;
        }
    };
    let found = place.keys.iter().find(|(name, _, _)| *name == text);
    let (key_span, value_place) =
        found.map_or((place.span, place), |(_, span, place)| (*span, place));
    let value = tree(value, value_place, problems)?;
    Some(Entry {
        key: text,
        key_span,
        value,
    })
}

/// Where a value and its parts stand.
#[derive(Clone, Debug, Default)]
struct Place {
    span: Span,
    items: Vec<Self>,
    keys: Vec<(String, Span, Self)>,
}

impl Place {
    fn at(span: Span) -> Self {
        Self {
            span,
            ..Self::default()
        }
    }
}

/// The places of a whole document.
struct Places {
    root: Place,
}

/// A list or mapping that is being read.
struct Open {
    place: Place,
    map: bool,
    key: Option<(String, Span)>,
}

/// Turns marks, which count characters, into spans, which count bytes.
struct Offsets<'a> {
    text: &'a str,
    source: usize,
    bytes: Vec<usize>,
}

impl Offsets<'_> {
    fn byte(&self, character: usize) -> usize {
        self.bytes
            .get(character)
            .copied()
            .unwrap_or(self.text.len())
    }

    fn span(&self, mark: &Mark) -> Span {
        let start = self.byte(mark.start.index());
        let end = self.byte(mark.end.index()).max(start);
        let len = self
            .text
            .get(start..end)
            .map_or(0, |text| text.trim_end().len());
        Span {
            source: self.source,
            start,
            len,
        }
    }
}

impl Places {
    fn of(text: &str, source: usize, problems: &mut Collector) -> Option<Self> {
        let bytes = text.char_indices().map(|(byte, _)| byte).collect();
        let mut reading = Reading {
            offsets: Offsets {
                text,
                source,
                bytes,
            },
            open: Vec::new(),
            root: Place::at(Span {
                source,
                start: 0,
                len: 0,
            }),
            problems,
        };
        for event in Parser::new_from_str(text) {
            match event {
                Ok((event, mark)) => reading.take(&event, &mark)?,
                Err(error) => {
                    reading.refuse(&error);
                    return None;
                }
            }
        }
        Some(Self { root: reading.root })
    }
}

/// A document of which a part was read.
struct Reading<'a> {
    offsets: Offsets<'a>,
    /// The lists and mappings around the place that was reached, outermost first.
    open: Vec<Open>,
    root: Place,
    problems: &'a mut Collector,
}

impl Reading<'_> {
    /// Notes the place of the next part; `None` when the document cannot be read further.
    fn take(&mut self, event: &Event<'_>, mark: &Mark) -> Option<()> {
        let span = self.offsets.span(mark);
        match event {
            Event::SequenceStart(..) => self.enter(span, false),
            Event::MappingStart(..) => self.enter(span, true),
            Event::SequenceEnd | Event::MappingEnd => {
                let text = self.offsets.text;
                let done = self.open.pop().map(|open| open.close(span, text));
                self.put(done.unwrap_or_default());
                Some(())
            }
            Event::Scalar(word, ..) => {
                match self.open.last_mut().filter(|o| o.map && o.key.is_none()) {
                    Some(parent) => parent.take_key(word, span, self.problems),
                    None => self.put(Place::at(span)),
                }
                Some(())
            }
            Event::Alias(_) => {
                self.put(Place::at(span));
                Some(())
            }
            _ => Some(()),
        }
    }

    fn enter(&mut self, span: Span, map: bool) -> Option<()> {
        if self.open.len() == DEEPEST {
            self.problems.report(span, Fault::new("nested too deeply"));
            return None;
        }
        self.open.push(Open {
            place: Place::at(span),
            map,
            key: None,
        });
        Some(())
    }

    /// A value is complete.
    fn put(&mut self, done: Place) {
        match self.open.last_mut() {
            Some(parent) => parent.take(done),
            None => self.root = done,
        }
    }

    fn refuse(&mut self, error: &ScanError) {
        let span = Span {
            source: self.offsets.source,
            start: self.offsets.byte(error.marker().index()),
            len: 0,
        };
        let fault = Fault::new(format!("not valid YAML: {}", error.info()));
        self.problems.report(span, fault);
    }
}

impl Open {
    fn take_key(&mut self, word: &str, span: Span, problems: &mut Collector) {
        if word != "<<" && self.place.keys.iter().any(|(name, _, _)| name == word) {
            let fault = Fault::new(format!("`{word}` stands here twice"));
            problems.report(span, fault.label("again").help("remove one of them"));
        }
        self.key = Some((word.to_owned(), span));
    }

    fn take(&mut self, place: Place) {
        if !self.map {
            self.place.items.push(place);
        } else if let Some((key, span)) = self.key.take() {
            self.place.keys.push((key, span, place));
        } else {
            // A key that is itself a list or mapping.
            self.key = Some((String::new(), place.span));
        }
    }

    fn close(self, end: Span, text: &str) -> Place {
        let mut place = self.place;
        let flow = text
            .get(place.span.start..)
            .is_some_and(|t| t.starts_with(['[', '{']));
        let inner = place.items.iter().map(|item| item.span);
        let inner = inner.chain(
            place
                .keys
                .iter()
                .flat_map(|(_, key, value)| [*key, value.span]),
        );
        let last = inner
            .map(|span| span.start + span.len)
            .max()
            .unwrap_or(place.span.start);
        let stop = if flow { end.start + end.len } else { last };
        place.span.len = stop.saturating_sub(place.span.start);
        place
    }
}
