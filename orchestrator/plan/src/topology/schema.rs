//! The JSON Schema of topology files, from the same types that read them.

use serde_json::Value;

use super::words::Topology;

/// The JSON Schema (draft 2020-12) of topology files.
#[must_use]
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Topology).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".to_owned(), "netsplit topology".into());
    }
    schema
}

/// [`schema`] as it is checked in: indented, ending with a newline.
#[must_use]
pub fn schema_text() -> String {
    let mut text = serde_json::to_string_pretty(&schema()).expect("a JSON value can be written");
    text.push('\n');
    text
}

/// The schema of a list of steps, as `scenario` holds it.
pub(super) fn steps_schema(schema: &Value) -> Value {
    schema
        .pointer("/properties/scenario")
        .cloned()
        .unwrap_or(Value::Null)
}
