//! What is said of methods: by `help`, to whoever calls one in the wrong way, and in `docs/rpc.md`.

use std::fmt::Write as _;

use super::table::{Group, METHODS, Method, Param};

impl Method {
    /// The method with its parameters, optional ones in parentheses.
    fn usage(&self) -> String {
        let mut usage = self.name.to_owned();
        for param in self.params {
            let name = param.display_name();
            let quoted = if param.kind == "string" {
                format!("\"{name}\"")
            } else {
                name.to_owned()
            };
            let shown = if param.required {
                quoted
            } else {
                format!("( {quoted} )")
            };
            usage.push(' ');
            usage.push_str(&shown);
        }
        usage
    }

    /// The help text.
    pub(super) fn help(&self) -> String {
        let mut text = format!("{}\n\n{}\n", self.usage(), self.summary);
        if !self.params.is_empty() {
            text.push_str("\nArguments:\n");
        }
        for (number, param) in self.params.iter().enumerate() {
            let need = if param.required {
                "required"
            } else {
                "optional"
            };
            let (name, kind) = (param.display_name(), param.kind);
            let number = number + 1;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{number}. {name} ({kind}, {need}) {}", param.text);
        }
        let _ = write!(text, "\nResult:\n{}", self.result);
        text
    }
}

impl Param {
    fn display_name(&self) -> &'static str {
        self.name.split('|').next().unwrap_or(self.name)
    }
}

/// All methods by group, as `help` without a method shows them.
pub(super) fn overview() -> String {
    let mut text = String::new();
    for group in Group::ALL {
        let _ = writeln!(text, "== {group:?} ==");
        for method in METHODS.iter().filter(|method| method.group == group) {
            text.push_str(&method.usage());
            text.push('\n');
        }
        text.push('\n');
    }
    text.trim_end().to_owned()
}

/// The methods' part of `docs/rpc.md`.
#[must_use]
pub fn reference() -> String {
    let mut text = String::new();
    for group in Group::ALL {
        let _ = writeln!(text, "## {group:?}\n");
        for method in METHODS.iter().filter(|method| method.group == group) {
            let _ = writeln!(text, "### {}\n\n`{}`\n", method.name, method.usage());
            let _ = writeln!(text, "{} Answers: {}\n", method.summary, method.result);
            for param in method.params {
                let need = if param.required {
                    "required"
                } else {
                    "optional"
                };
                let (name, kind, about) = (param.display_name(), param.kind, param.text);
                let _ = writeln!(text, "- `{name}` ({kind}, {need}): {about}");
            }
            if !method.params.is_empty() {
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::table::find, *};

    #[test]
    fn help_shows_usage_and_parameters() {
        insta::assert_snapshot!(find("getblock").map(Method::help).unwrap_or_default(), @r#"
        getblock "blockhash" ( verbosity )

        A stored block, of the active chain or beside it.

        Arguments:
        1. blockhash (string, required) Hash of the block.
        2. verbosity (number, optional) 0, 1 (default) or 2; true means 1, false 0.

        Result:
        With 0 the block in hex, with 1 an object with the ids of its transactions, with 2 one with the transactions. `confirmations` is -1 beside the active chain; `nextblockhash` is absent at the tip.
        "#);
    }
}
