//! The language reference names every word of the schema, and its examples are sound.
#![expect(clippy::unwrap_used, reason = "tests")]

use netsplit_plan::{
    problem::Source,
    topology::{self, Options, schema},
};
use serde_json::Value;

const REFERENCE: &str = include_str!("../../../docs/topology.md");

/// All keys and words that a topology may contain, by definition.
fn words() -> Vec<(String, String)> {
    let schema = schema();
    let mut words = Vec::new();
    let mut take = |name: &str, definition: &Value| {
        let properties = definition.get("properties").and_then(Value::as_object);
        let mut add = |word: &str| words.push((name.to_owned(), word.to_owned()));
        properties
            .into_iter()
            .flatten()
            .for_each(|(key, _)| add(key));
        for option in definition
            .get("oneOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            option
                .get("const")
                .and_then(Value::as_str)
                .into_iter()
                .for_each(&mut add);
            let keys = option.get("properties").and_then(Value::as_object);
            keys.into_iter().flatten().for_each(|(key, _)| add(key));
        }
        for word in definition
            .get("enum")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            word.as_str().into_iter().for_each(&mut add);
        }
    };
    take("Topology", &schema);
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        take(name, definition);
    }
    words
}

#[test]
fn every_word_is_explained() {
    let words = words();
    assert!(words.len() > 80, "the schema was walked: {}", words.len());
    let explained = |word: &str| {
        [
            format!("`{word}`"),
            format!("`{word}: "),
            format!("[{word}"),
            format!(" {word}]"),
        ]
        .iter()
        .any(|form| REFERENCE.contains(form.as_str()))
    };
    let missing: Vec<_> = words.iter().filter(|(_, word)| !explained(word)).collect();
    assert!(
        missing.is_empty(),
        "docs/topology.md does not explain {missing:?}"
    );
}

/// The first column of the tables says nothing that the schema does not know.
#[test]
fn no_word_is_made_up() {
    let words = words();
    let mut rows = 0;
    for line in REFERENCE.lines().filter(|line| line.starts_with("| `")) {
        let column = line.trim_start_matches("| ").split(" | ").next().unwrap();
        for word in column.split(", ").map(|word| word.trim_matches('`')) {
            rows += 1;
            assert!(
                words.iter().any(|(_, known)| known == word),
                "`{word}` in: {line}"
            );
        }
    }
    assert!(rows > 50, "the tables were read: {rows}");
}

#[test]
fn every_example_is_sound() {
    let blocks: Vec<&str> = REFERENCE
        .split("```yaml\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap())
        .collect();
    assert_eq!(blocks.len(), 5);
    let whole = blocks[0];
    for block in &blocks {
        let text = if block.starts_with('-') {
            let steps: String = block.lines().map(|line| format!("  {line}\n")).collect();
            format!("{whole}{steps}")
        } else {
            (*block).to_owned()
        };
        let source = Source::new("docs/topology.md", text);
        if let Err(problems) = topology::load(&source, &Options::default()) {
            panic!("{problems}\n{block}");
        }
    }
}
