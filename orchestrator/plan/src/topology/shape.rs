//! Checks a document against the schema, reporting everything that does not fit, and keeps what does.
//!
//! What is wrong is left out of the result where that is possible, so that what is right can be checked further: a wrong
//! optional value becomes a missing one, a wrong step becomes nothing. What is thereby unknown is told in [`Damage`].

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    not_built, scalars,
    tree::{Entry, Kind, Tree},
};
use crate::problem::{Collector, Fault, did_you_mean};

/// What cannot be judged further because its words were wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Something about the nodes.
    pub(crate) nodes: bool,
    /// The groups that are wrong, when the others are known for sure.
    pub(crate) groups: Option<BTreeSet<String>>,
    /// Some step that is more than waiting.
    pub(crate) steps: bool,
    /// Words of such steps: any of them may have been meant as an id.
    pub(crate) words: BTreeSet<String>,
}

/// Walks a document along the schema.
pub(super) struct Walker<'a> {
    root: &'a Value,
    problems: &'a mut Collector,
}

/// A part of the schema and the definition it belongs to.
#[derive(Clone, Copy)]
struct Rule<'a> {
    schema: &'a Value,
    name: &'a str,
}

impl<'a> Walker<'a> {
    pub(super) const fn new(root: &'a Value, problems: &'a mut Collector) -> Self {
        Self { root, problems }
    }

    /// The document without what does not fit; `None` if nothing is left.
    pub(super) fn topology(&mut self, tree: &Tree) -> (Option<Tree>, Damage) {
        let root = self.root;
        let pruned = self.walk(root, "Topology", tree).map(|mut pruned| {
            // Without them nothing further could be checked; that they are wrong was reported.
            stand_in(&mut pruned, "name", Kind::Text("unnamed".to_owned()));
            stand_in(&mut pruned, "nodes", Kind::Map(Vec::new()));
            pruned
        });
        let damage = pruned.as_ref().map_or_else(Damage::default, |after| {
            let groups = damaged_groups(tree, after);
            Damage {
                nodes: groups.as_ref().is_none_or(|groups| !groups.is_empty()),
                groups,
                ..damaged_steps(tree.get("scenario"), after.get("scenario"))
            }
        });
        (pruned, damage)
    }

    /// Checks `tree` against any part of the schema.
    pub(super) fn walk(&mut self, schema: &'a Value, name: &'a str, tree: &Tree) -> Option<Tree> {
        let rule = self.resolve(Rule { schema, name });
        if let Some(result) = self.scalar(rule, tree) {
            return result.then(|| tree.clone());
        }
        if let Some(words) = choices(rule.schema) {
            return self.choice(rule, &words, tree);
        }
        if let Some(kinds) = one_key_kinds(rule.schema) {
            return self.one_key(rule, &kinds, tree);
        }
        if let Some(options) = rule.schema.get("anyOf").and_then(Value::as_array) {
            return self.any_of(rule, options, tree);
        }
        match type_of(rule.schema) {
            Some("object") => self.object(rule, tree),
            Some("array") => self.array(rule, tree),
            Some(wanted) => self.plain(rule.schema, wanted, tree),
            None => Some(tree.clone()),
        }
    }

    fn resolve(&self, rule: Rule<'a>) -> Rule<'a> {
        let Some(reference) = rule.schema.get("$ref").and_then(Value::as_str) else {
            return rule;
        };
        let name = reference.trim_start_matches("#/$defs/");
        self.root
            .get("$defs")
            .and_then(|defs| defs.as_object()?.get_key_value(name))
            .map_or(rule, |(_, schema)| Rule { schema, name })
    }

    /// A word with a unit or pattern of its own; `None` if the definition is not one.
    fn scalar(&mut self, rule: Rule<'a>, tree: &Tree) -> Option<bool> {
        if !scalars::is_scalar(rule.name) {
            return None;
        }
        let Some(text) = tree.scalar().filter(|_| tree.kind != Kind::Null) else {
            let name = rule.name.to_lowercase();
            self.expected(&format!("a {name}"), tree, None);
            return Some(false);
        };
        match scalars::check(rule.name, &text)? {
            Ok(()) => Some(true),
            Err(fault) => {
                self.problems.report(tree.span, fault);
                Some(false)
            }
        }
    }

    fn choice(&mut self, rule: Rule<'a>, words: &[&str], tree: &Tree) -> Option<Tree> {
        let listed = words
            .iter()
            .map(|word| format!("`{word}`"))
            .collect::<Vec<_>>()
            .join(", ");
        let help = format!("it may be {listed}");
        let Kind::Text(word) = &tree.kind else {
            self.expected("a word", tree, Some(help));
            return None;
        };
        if words.contains(&word.as_str()) {
            return Some(tree.clone());
        }
        let fault = if not_built::is_planned(rule.name, word) {
            Fault::new(format!("`{word}` is not built yet"))
                .label("not built yet")
                .help(help)
        } else {
            Fault::new(format!("unknown word `{word}`"))
                .label("unknown")
                .help(help)
                .maybe_help(did_you_mean(word, words.iter().copied()))
        };
        self.problems.report(tree.span, fault);
        None
    }

    /// A mapping whose one key says what kind of thing it is: a step.
    fn one_key(
        &mut self,
        rule: Rule<'a>,
        kinds: &[(&'a str, &'a Value)],
        tree: &Tree,
    ) -> Option<Tree> {
        let Kind::Map(entries) = &tree.kind else {
            let words: Vec<&str> = kinds.iter().map(|(key, _)| *key).collect();
            let help = match tree.scalar() {
                Some(word) if words.contains(&word.as_str()) => format!("write `{word}: …`"),
                _ => format!("a step is a mapping with one key: {}", words.join(", ")),
            };
            self.expected("a step", tree, Some(help));
            return None;
        };
        let mut kept = Vec::new();
        for entry in entries {
            match kinds.iter().find(|(key, _)| *key == entry.key) {
                Some((_, schema)) => {
                    let value = self.walk(schema, rule.name, &entry.value);
                    kept.extend(value.map(|value| Entry {
                        value,
                        ..entry.clone()
                    }));
                }
                None => self.unknown_key(rule, entry, kinds.iter().map(|(key, _)| *key)),
            }
        }
        if entries.len() != 1 {
            let fault = Fault::new("a step has exactly one key")
                .label(format!("{} keys", entries.len()))
                .help("make a step of each; arguments stand one level deeper");
            self.problems.report(tree.span, fault);
            return None;
        }
        (kept.len() == 1).then_some(Tree {
            kind: Kind::Map(kept),
            span: tree.span,
        })
    }

    /// Alternatives differ in the kind of value, so that the kind decides which one was meant.
    fn any_of(&mut self, rule: Rule<'a>, options: &'a [Value], tree: &Tree) -> Option<Tree> {
        let options: Vec<Rule<'a>> = options
            .iter()
            .map(|schema| {
                self.resolve(Rule {
                    schema,
                    name: rule.name,
                })
            })
            .collect();
        let null = |rule: &&Rule<'_>| type_of(rule.schema) == Some("null");
        if tree.kind == Kind::Null && options.iter().any(|option| null(&option)) {
            return Some(tree.clone());
        }
        let of = |wanted: fn(&str) -> bool| {
            options
                .iter()
                .find(|option| type_of(option.schema).is_some_and(wanted))
        };
        let chosen = match &tree.kind {
            Kind::List(_) => of(|t| t == "array"),
            Kind::Map(_) => of(|t| t == "object"),
            _ => options.iter().find(|option| {
                !null(option) && !matches!(type_of(option.schema), Some("array" | "object"))
            }),
        };
        if let Some(chosen) = chosen {
            return self.walk(chosen.schema, chosen.name, tree);
        }
        // With one alternative left its own message is the clearest.
        let mut others = options.iter().filter(|option| !null(option));
        if let (Some(only), None) = (others.next(), others.next()) {
            return self.walk(only.schema, only.name, tree);
        }
        let nouns: Vec<&str> = options
            .iter()
            .filter(|option| !null(option))
            .map(|option| noun(*option))
            .collect();
        self.expected(&nouns.join(" or "), tree, None);
        None
    }

    fn object(&mut self, rule: Rule<'a>, tree: &Tree) -> Option<Tree> {
        let Kind::Map(entries) = &tree.kind else {
            let keys = keys_of(rule.schema);
            let help = (!keys.is_empty()).then(|| format!("its keys are {}", keys.join(", ")));
            self.expected("a mapping", tree, help);
            return None;
        };
        let required: Vec<&str> = strings(rule.schema.get("required"));
        let mut kept = Vec::new();
        for entry in entries {
            let Some(schema) = property(rule.schema, &entry.key) else {
                self.unknown_key(rule, entry, keys_of(rule.schema).into_iter());
                continue;
            };
            let value = self.walk(schema, rule.name, &entry.value);
            let null = value.as_ref().is_some_and(|value| value.kind == Kind::Null);
            kept.extend(value.filter(|_| !null).map(|value| Entry {
                value,
                ..entry.clone()
            }));
        }
        for key in &required {
            if tree.entry(key).is_none() {
                let fault = Fault::new(format!("`{key}` is missing")).label("in here");
                self.problems
                    .report(tree.span, fault.maybe_help(describe(rule.schema, key)));
            }
        }
        let least = rule
            .schema
            .get("minProperties")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        if entries.is_empty() && least > 0 {
            self.problems.report(
                tree.span,
                Fault::new("there is nothing in it").label("empty"),
            );
            return None;
        }
        let complete = rule.name == "Topology"
            || required
                .iter()
                .all(|key| kept.iter().any(|entry| entry.key == *key));
        complete.then_some(Tree {
            kind: Kind::Map(kept),
            span: tree.span,
        })
    }

    fn unknown_key(&mut self, rule: Rule<'a>, entry: &Entry, known: impl Iterator<Item = &'a str>) {
        let known: Vec<&str> = known.collect();
        let fault = if not_built::is_planned(rule.name, &entry.key) {
            Fault::new(format!("`{}` is not built yet", entry.key)).label("not built yet")
        } else {
            let planned = not_built::of(rule.name);
            Fault::new(format!("unknown key `{}`", entry.key))
                .label("unknown")
                .help(format!("keys here are {}", known.join(", ")))
                .maybe_help(did_you_mean(
                    &entry.key,
                    known.iter().chain(planned).copied(),
                ))
        };
        self.problems.report(entry.key_span, fault);
    }

    /// A wrong element of a scenario becomes nothing, of any other list it makes the whole list wrong.
    fn array(&mut self, rule: Rule<'a>, tree: &Tree) -> Option<Tree> {
        let Kind::List(items) = &tree.kind else {
            self.expected("a list", tree, None);
            return None;
        };
        let length = items.len() as u64;
        let bound = |key: &str| rule.schema.get(key).and_then(Value::as_u64);
        let (least, most) = (bound("minItems"), bound("maxItems"));
        if least.is_some_and(|least| length < least) || most.is_some_and(|most| length > most) {
            let wanted = match (least, most) {
                (Some(least), Some(most)) if least == most => format!("{least}"),
                (Some(least), Some(most)) => format!("{least} to {most}"),
                (Some(least), None) => format!("at least {least}"),
                (_, most) => format!("at most {}", most.unwrap_or(0)),
            };
            let fault = Fault::new(format!("a list of {length} elements, wanted are {wanted}"));
            self.problems.report(tree.span, fault.label("wrong length"));
            return None;
        }
        let steps = rule
            .schema
            .get("items")
            .is_some_and(|items| items.get("$ref").and_then(Value::as_str) == Some("#/$defs/Step"));
        let mut kept = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let schema = rule
                .schema
                .get("prefixItems")
                .and_then(|prefix| prefix.get(i))
                .or_else(|| rule.schema.get("items"));
            let walked = schema.map_or(Some(item.clone()), |s| self.walk(s, rule.name, item));
            kept.push(walked.or_else(|| {
                steps.then_some(Tree {
                    kind: Kind::Null,
                    span: item.span,
                })
            }));
        }
        let kept: Option<Vec<Tree>> = kept.into_iter().collect();
        kept.map(|kept| Tree {
            kind: Kind::List(kept),
            span: tree.span,
        })
    }

    fn plain(&mut self, schema: &Value, wanted: &str, tree: &Tree) -> Option<Tree> {
        let nullable = strings(schema.get("type")).contains(&"null");
        let fits = match (&tree.kind, wanted) {
            (Kind::Null, _) => nullable,
            (Kind::Text(_), "string") | (Kind::Bool(_), "boolean") => true,
            (Kind::Int(value), "integer" | "number") => return self.in_range(schema, *value, tree),
            (Kind::Float(value), "number") => value.is_finite(),
            _ => false,
        };
        if fits {
            return Some(tree.clone());
        }
        let noun = match wanted {
            "string" => "text",
            "boolean" => "`true` or `false`",
            "integer" => "a whole number",
            _ => "a number",
        };
        let quoted = matches!(
            (&tree.kind, wanted),
            (Kind::Int(_) | Kind::Bool(_), "string")
        );
        self.expected(noun, tree, quoted.then(|| "put it in quotes".to_owned()));
        None
    }

    fn in_range(&mut self, schema: &Value, value: i128, tree: &Tree) -> Option<Tree> {
        let bound = |key: &str| schema.get(key).and_then(Value::as_i64).map(i128::from);
        let widest = match schema.get("format").and_then(Value::as_str) {
            Some("uint16") => i128::from(u16::MAX),
            Some("uint32") => i128::from(u32::MAX),
            _ => i128::from(u64::MAX),
        };
        let least = bound("minimum").unwrap_or(i128::from(i64::MIN));
        let most = bound("maximum").unwrap_or(widest).min(widest);
        if (least..=most).contains(&value) {
            return Some(tree.clone());
        }
        let fault = Fault::new(format!("{value} is out of range"))
            .label("out of range")
            .help(format!("it may be {least} to {most}"));
        self.problems.report(tree.span, fault);
        None
    }

    fn expected(&mut self, what: &str, tree: &Tree, help: Option<String>) {
        let fault = Fault::new(format!("expected {what}, found {}", tree.noun()));
        self.problems.report(
            tree.span,
            fault
                .label(format!("{} here", tree.noun()))
                .maybe_help(help),
        );
    }
}

/// Groups that were lost, or whose number of nodes or roles were; `None` when the nodes as a whole were.
fn damaged_groups(before: &Tree, after: &Tree) -> Option<BTreeSet<String>> {
    let (before, after) = (before.get("nodes")?, after.get("nodes")?);
    if !matches!((&before.kind, &after.kind), (Kind::Map(_), Kind::Map(_))) {
        return None;
    }
    let decides = ["role", "roles", "count", "zone"];
    let wrong = entries(before).iter().filter(|group| {
        after
            .get(&group.key)
            .is_none_or(|kept| lost(&group.value, kept, &decides))
    });
    Some(wrong.map(|group| group.key.clone()).collect())
}

/// What was lost of steps that are more than waiting.
pub(super) fn damaged_steps(before: Option<&Tree>, after: Option<&Tree>) -> Damage {
    let items = |tree: Option<&Tree>| match tree.map(|tree| &tree.kind) {
        Some(Kind::List(items)) => items.clone(),
        _ => Vec::new(),
    };
    let (before, after) = (items(before), items(after));
    let mut damage = Damage {
        steps: before.len() != after.len(),
        ..Damage::default()
    };
    for (before, after) in before.iter().zip(&after) {
        let waits = |entry: &Entry| ["wait", "assert"].contains(&entry.key.as_str());
        if before != after && !entries(before).first().is_some_and(waits) {
            damage.steps = true;
            let (mut words, mut kept) = (BTreeSet::new(), BTreeSet::new());
            gather(before, &mut words);
            gather(after, &mut kept);
            damage.words.extend(words.difference(&kept).cloned());
        }
    }
    damage
}

/// All words in a part of a document.
fn gather(tree: &Tree, words: &mut BTreeSet<String>) {
    match &tree.kind {
        Kind::List(items) => items.iter().for_each(|item| gather(item, words)),
        Kind::Map(entries) => entries.iter().for_each(|entry| gather(&entry.value, words)),
        _ => words.extend(tree.scalar()),
    }
}

/// Puts something in the place of a missing key.
fn stand_in(tree: &mut Tree, key: &str, kind: Kind) {
    let span = tree.span;
    if tree.get(key).is_some() {
        return;
    }
    if let Kind::Map(entries) = &mut tree.kind {
        let value = Tree { kind, span };
        entries.push(Entry {
            key: key.to_owned(),
            key_span: span,
            value,
        });
    }
}

/// Whether a key that is one of `words`, or was meant to be, is gone.
fn lost(before: &Tree, after: &Tree, words: &[&str]) -> bool {
    entries(before).iter().any(|entry| {
        after.get(&entry.key).is_none() && did_you_mean(&entry.key, words.iter().copied()).is_some()
    })
}

fn entries(tree: &Tree) -> &[Entry] {
    match &tree.kind {
        Kind::Map(entries) => entries,
        _ => &[],
    }
}

fn type_of(schema: &Value) -> Option<&str> {
    match schema.get("type")? {
        Value::String(name) => Some(name),
        Value::Array(names) => names
            .iter()
            .filter_map(Value::as_str)
            .find(|name| *name != "null"),
        _ => None,
    }
}

fn strings(value: Option<&Value>) -> Vec<&str> {
    let list = value.and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn keys_of(schema: &Value) -> Vec<&str> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flatten()
        .map(|(key, _)| key.as_str())
        .collect()
}

/// The schema of a key: its own, or that of all keys in a mapping with free keys.
fn property<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    let own = schema
        .get("properties")
        .and_then(|properties| properties.get(key));
    own.or_else(|| {
        schema
            .get("additionalProperties")
            .filter(|free| free.is_object())
    })
}

/// First line of a key's description.
fn describe(schema: &Value, key: &str) -> Option<String> {
    let text = schema
        .get("properties")?
        .get(key)?
        .get("description")?
        .as_str()?;
    Some(format!("{key}: {}", text.lines().next()?))
}

/// The words of an enumeration.
fn choices(schema: &Value) -> Option<Vec<&str>> {
    if let Some(words) = schema.get("enum") {
        return Some(strings(Some(words)));
    }
    let options = schema.get("oneOf")?.as_array()?;
    options
        .iter()
        .map(|option| option.get("const").and_then(Value::as_str))
        .collect()
}

/// The kinds of a mapping with one key.
fn one_key_kinds(schema: &Value) -> Option<Vec<(&str, &Value)>> {
    let options = schema.get("oneOf")?.as_array()?;
    options
        .iter()
        .map(|option| option.get("properties")?.as_object()?.iter().next())
        .map(|kind| kind.map(|(key, schema)| (key.as_str(), schema)))
        .collect()
}

/// What people call a part of the schema.
fn noun(rule: Rule<'_>) -> &str {
    match (scalars::is_scalar(rule.name), type_of(rule.schema)) {
        (true, _) => match rule.name {
            "Duration" => "a duration",
            "Selector" => "a selector",
            _ => "a word",
        },
        (_, Some("array")) => "a list",
        (_, Some("object")) => "a mapping",
        (_, Some("integer")) => "a whole number",
        (_, Some("number")) => "a number",
        _ => "text",
    }
}
