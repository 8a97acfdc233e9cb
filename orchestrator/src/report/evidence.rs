//! What was seen of a fault, in one line for people. The whole of it is in the run's directory.

use serde_json::Value;

use super::lines::count;

/// The evidence of a step or a fault in one line; empty when there is none that a person would want to read.
#[must_use]
pub fn line(evidence: &Value) -> String {
    match evidence {
        Value::String(text) => text.clone(),
        Value::Object(_) => match evidence["change"].as_str() {
            Some("cut") => cut(evidence),
            Some("heal") => heal(evidence),
            _ => String::new(),
        },
        _ => String::new(),
    }
}

/// The whole of it, one `name: value` a line; what is empty is left out.
#[must_use]
pub fn lines(evidence: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    unfold("", evidence, &mut lines);
    lines
}

fn unfold(name: &str, value: &Value, lines: &mut Vec<String>) {
    let scalar = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (key, value) in fields {
                let dot = if name.is_empty() { "" } else { "." };
                unfold(&format!("{name}{dot}{key}"), value, lines);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (place, item) in (1..).zip(items) {
                unfold(&format!("{name}[{place}]"), item, lines);
            }
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(scalar).collect();
            lines.push(format!("{name}: {}", items.join(", ")));
        }
        _ if name.is_empty() => lines.push(scalar(value)),
        _ => lines.push(format!("{name}: {}", scalar(value))),
    }
}

fn cut(evidence: &Value) -> String {
    let probes = &evidence["probes"];
    let controls = if number(&probes["open_pairs"]) > 0 {
        format!(", {} controls open", of(probes, "reached", "open_pairs"))
    } else {
        String::new()
    };
    format!(
        "{} cut, {} probed and silent{controls}, {} dropped, {}",
        plural(number(&evidence["pairs_intended"]), "pair"),
        of(probes, "silent", "cut_pairs"),
        dropped(&evidence["dropped"]),
        verified(evidence)
    )
}

fn heal(evidence: &Value) -> String {
    let probes = &evidence["probes"];
    let still_cut = number(&evidence["pairs_still_cut"]);
    let over = number(&evidence["pairs_intended"]).saturating_sub(still_cut);
    format!(
        "{} no longer cut{}, {} probed and open, {} had been dropped, {}",
        plural(over, "pair"),
        others(still_cut, &evidence["still_cut_by"]),
        of(probes, "reached", "open_pairs"),
        dropped(&evidence["dropped"]),
        verified(evidence)
    )
}

/// A pair is cut while any fault cuts it.
fn others(still_cut: u64, by: &Value) -> String {
    if still_cut == 0 {
        return String::new();
    }
    let ids = by.as_array().map(Vec::as_slice).unwrap_or_default();
    let ids: Vec<String> = ids
        .iter()
        .filter_map(|id| Some(format!("`{}`", id.as_str()?)))
        .collect();
    format!(", {still_cut} still cut by {}", ids.join(", "))
}

fn of(probes: &Value, some: &str, all: &str) -> String {
    format!("{} of {}", number(&probes[some]), number(&probes[all]))
}

/// The protocol's own packets: those of the probes prove nothing about it.
fn dropped(entries: &Value) -> String {
    let entries = entries.as_array().map(Vec::as_slice).unwrap_or_default();
    plural(
        entries.iter().map(|entry| number(&entry["protocol"])).sum(),
        "protocol packet",
    )
}

fn verified(evidence: &Value) -> String {
    let took = milliseconds(number(&evidence["elapsed_ms"]));
    match evidence["problems"].as_array().map(Vec::as_slice) {
        None | Some([]) => format!("verified in {took}"),
        Some([first, ..]) => {
            format!(
                "not verified in {took}: {}",
                first.as_str().unwrap_or("for no stated reason")
            )
        }
    }
}

fn plural(number: u64, noun: &str) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), noun)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// Milliseconds as people read them: `98 ms`, `1.234 s`.
#[must_use]
pub fn milliseconds(ms: u64) -> String {
    if ms < 1_000 {
        format!("{ms} ms")
    } else {
        format!("{}.{:03} s", ms / 1_000, ms % 1_000)
    }
}
