//! `--set key=value`: changes to a topology before it is checked.

use super::{
    tree::{Entry, Kind, Tree},
    yaml,
};
use crate::problem::{Collector, Fault, Source, Span, did_you_mean};

/// Puts every `key=value` into the document; keys are dotted (`chain.block_interval`), elements of lists are numbered from
/// 0 (`scenario.2.heal`), values are YAML.
pub(super) fn apply(tree: &mut Tree, settings: &[String], problems: &mut Collector) {
    for setting in settings {
        let source = problems.add_source(Source::new("--set", setting.clone()));
        let whole = Span {
            source,
            start: 0,
            len: setting.len(),
        };
        let Some((key, value)) = setting.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            let fault = Fault::new("not of the form `key=value`");
            problems.report(whole, fault.help("e.g. `--set chain.block_interval=500ms`"));
            continue;
        };
        let Some(mut new) = yaml::read(value, source, problems) else {
            continue;
        };
        // The value is part of the setting: everything in it stands that much further right.
        shift(&mut new, key.len() + 1);
        let key_span = Span {
            source,
            start: 0,
            len: key.len(),
        };
        let segments: Vec<&str> = key.split('.').collect();
        if let Err(fault) = put(tree, &segments, new, key_span) {
            problems.report(key_span, fault);
        }
    }
}

fn shift(tree: &mut Tree, by: usize) {
    tree.span.start += by;
    match &mut tree.kind {
        Kind::List(items) => items.iter_mut().for_each(|item| shift(item, by)),
        Kind::Map(entries) => {
            for entry in entries {
                entry.key_span.start += by;
                shift(&mut entry.value, by);
            }
        }
        _ => {}
    }
}

fn put(tree: &mut Tree, segments: &[&str], new: Tree, key_span: Span) -> Result<(), Fault> {
    let Some((first, rest)) = segments.split_first() else {
        *tree = new;
        return Ok(());
    };
    if first.is_empty() {
        return Err(Fault::new("the key has an empty part").help("write `a.b.c`"));
    }
    match &mut tree.kind {
        Kind::List(items) => {
            let length = items.len();
            let item = first
                .parse()
                .ok()
                .and_then(|index: usize| items.get_mut(index));
            let missing = || {
                Fault::new(format!(
                    "there is no element `{first}` in a list of {length}"
                ))
                .help("elements are numbered from 0")
            };
            put(item.ok_or_else(missing)?, rest, new, key_span)
        }
        Kind::Map(entries) => {
            if let Some(entry) = entries.iter_mut().find(|entry| entry.key == *first) {
                entry.key_span = if rest.is_empty() {
                    key_span
                } else {
                    entry.key_span
                };
                return put(&mut entry.value, rest, new, key_span);
            }
            let mut value = Tree {
                kind: Kind::Map(Vec::new()),
                span: key_span,
            };
            put(&mut value, rest, new, key_span)?;
            entries.push(Entry {
                key: (*first).to_owned(),
                key_span,
                value,
            });
            Ok(())
        }
        _ => Err(Fault::new(format!(
            "`{first}` cannot be set: what it is in is no mapping"
        ))
        .maybe_help(did_you_mean(first, ["name", "seed"]))),
    }
}
