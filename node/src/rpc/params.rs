//! A method's parameters: positional or named, checked against the method's table entry.

use std::str::FromStr;

use bitcoin::{Amount, BlockHash, Txid};
use netsplit_api::rpc::{RpcError, code};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::table::Method;

/// Parameters in the order of the method's table entry; absent ones are `None`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Params {
    names: Vec<&'static str>,
    values: Vec<Option<Value>>,
}

impl Params {
    /// Sorts what was sent by what `method` takes.
    ///
    /// # Errors
    /// When there are too many, unknown or missing ones.
    pub(crate) fn bind(method: &Method, sent: Value) -> Result<Self, RpcError> {
        let known: Vec<&'static str> = method.params.iter().map(|param| param.name).collect();
        let names = known
            .iter()
            .map(|name| name.split('|').next().unwrap_or(name))
            .collect();
        let values = match sent {
            Value::Null => Vec::new(),
            Value::Array(values) => values.into_iter().map(Some).collect(),
            Value::Object(values) => by_name(&known, values)?,
            _ => return Err(invalid_request("Params must be an array or object")),
        };
        let mut values: Vec<Option<Value>> = values
            .into_iter()
            .map(|value| value.filter(|value| !value.is_null()))
            .collect();
        if values.len() > known.len() {
            return Err(RpcError::new(code::MISC_ERROR, method.help()));
        }
        values.resize(known.len(), None);
        let missing = |(param, value): (&super::table::Param, &Option<Value>)| {
            param.required && value.is_none()
        };
        if method.params.iter().zip(&values).any(missing) {
            return Err(RpcError::new(code::MISC_ERROR, method.help()));
        }
        Ok(Self { names, values })
    }

    fn get(&self, at: usize) -> Option<&Value> {
        self.values.get(at)?.as_ref()
    }

    fn wrong_type(&self, at: usize, value: &Value, expected: &str) -> RpcError {
        let name = self.names.get(at).copied().unwrap_or_default();
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let text = format!(
            "Wrong type passed:\n{{\n    \"Position {} ({name})\": \"JSON value of type {kind} is not of expected \
             type {expected}\"\n}}",
            at + 1
        );
        RpcError::new(code::TYPE_ERROR, text)
    }

    /// The text at `at`, if it is there.
    pub(crate) fn text(&self, at: usize) -> Result<Option<&str>, RpcError> {
        self.get(at)
            .map(|value| {
                value
                    .as_str()
                    .ok_or_else(|| self.wrong_type(at, value, "string"))
            })
            .transpose()
    }

    /// The text at `at`, which the table says is required.
    pub(crate) fn required_text(&self, at: usize) -> Result<&str, RpcError> {
        self.text(at)?.ok_or_else(|| missing(self.names.get(at)))
    }

    /// The truth value at `at`, if it is there.
    pub(crate) fn flag(&self, at: usize) -> Result<Option<bool>, RpcError> {
        self.get(at)
            .map(|value| {
                value
                    .as_bool()
                    .ok_or_else(|| self.wrong_type(at, value, "bool"))
            })
            .transpose()
    }

    /// The whole number at `at`, if it is there.
    pub(crate) fn integer(&self, at: usize) -> Result<Option<i64>, RpcError> {
        let Some(value) = self.get(at) else {
            return Ok(None);
        };
        match value {
            Value::Number(number) => match number.as_i64() {
                Some(number) => Ok(Some(number)),
                None => Err(RpcError::new(code::MISC_ERROR, "JSON integer out of range")),
            },
            _ => Err(self.wrong_type(at, value, "number")),
        }
    }

    /// The whole number at `at`, from 0, if it is there.
    pub(crate) fn count(&self, at: usize) -> Result<Option<u32>, RpcError> {
        let Some(number) = self.integer(at)? else {
            return Ok(None);
        };
        let name = self.names.get(at).copied().unwrap_or_default();
        u32::try_from(number)
            .map(Some)
            .map_err(|_| out_of_range(name))
    }

    /// A level of detail: a number or a truth value.
    pub(crate) fn verbosity(&self, at: usize, default: i64) -> Result<i64, RpcError> {
        match self.get(at) {
            Some(Value::Bool(flag)) => Ok(i64::from(*flag)),
            _ => Ok(self.integer(at)?.unwrap_or(default)),
        }
    }

    /// The amount in bitcoins at `at`, a number or a text, if it is there.
    pub(crate) fn amount(&self, at: usize) -> Result<Option<Amount>, RpcError> {
        let Some(value) = self.get(at) else {
            return Ok(None);
        };
        let text = match value {
            Value::Number(number) => decimal(number),
            Value::String(text) => text.clone(),
            _ => {
                return Err(RpcError::new(
                    code::TYPE_ERROR,
                    "Amount is not a number or string",
                ));
            }
        };
        if text.starts_with('-') {
            return Err(RpcError::new(code::TYPE_ERROR, "Amount out of range"));
        }
        Amount::from_str_in(&text, bitcoin::Denomination::Bitcoin)
            .map(Some)
            .map_err(|_| RpcError::new(code::TYPE_ERROR, "Invalid amount"))
    }

    /// The block hash at `at`, which the table says is required.
    pub(crate) fn block_hash(&self, at: usize) -> Result<BlockHash, RpcError> {
        self.hash(at)?.ok_or_else(|| missing(self.names.get(at)))
    }

    /// The transaction id at `at`, which the table says is required.
    pub(crate) fn txid(&self, at: usize) -> Result<Txid, RpcError> {
        self.hash(at)?.ok_or_else(|| missing(self.names.get(at)))
    }

    /// The hash at `at`, if it is there.
    pub(crate) fn hash<H: FromStr>(&self, at: usize) -> Result<Option<H>, RpcError> {
        let Some(text) = self.text(at)? else {
            return Ok(None);
        };
        let name = self.names.get(at).copied().unwrap_or_default();
        let problem = if text.len() == 64 {
            format!("{name} must be hexadecimal string (not '{text}')")
        } else {
            format!(
                "{name} must be of length 64 (not {}, for '{text}')",
                text.len()
            )
        };
        H::from_str(text)
            .map(Some)
            .map_err(|_| RpcError::new(code::INVALID_PARAMETER, problem))
    }

    /// All parameters as one object.
    pub(crate) fn object<T: DeserializeOwned>(&self) -> Result<T, RpcError> {
        let entry = |(name, value): (&&str, &Option<Value>)| {
            value.clone().map(|value| ((*name).to_owned(), value))
        };
        let object = self
            .names
            .iter()
            .zip(&self.values)
            .filter_map(entry)
            .collect();
        serde_json::from_value(Value::Object(object))
            .map_err(|error| RpcError::new(code::TYPE_ERROR, error.to_string()))
    }
}

/// A number without exponent and with no more digits than an amount has.
fn decimal(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if !number.is_u64() && !number.is_i64() => {
            let plain = float.to_string();
            // The shortest text that means the same float: more than eight digits were meant.
            if plain.contains('e') {
                format!("{float:.8}")
            } else {
                plain
            }
        }
        _ => number.to_string(),
    }
}

/// Core's rule: `args` holds the first ones by position, others go by name, none comes twice.
fn by_name(
    names: &[&'static str],
    mut sent: Map<String, Value>,
) -> Result<Vec<Option<Value>>, RpcError> {
    let mut values: Vec<Option<Value>> = match sent.remove("args") {
        Some(Value::Array(values)) => values.into_iter().map(Some).collect(),
        Some(_) => return Err(invalid_request("args must be an array")),
        None => Vec::new(),
    };
    let positional = values.len();
    values.resize(positional.max(names.len()), None);
    for (name, value) in sent {
        let is_named = |known: &&str| known.split('|').any(|known| known == name);
        let Some(at) = names.iter().position(is_named) else {
            let text = format!("Unknown named parameter {name}");
            return Err(RpcError::new(code::INVALID_PARAMETER, text));
        };
        if at < positional {
            let text =
                format!("Parameter {name} specified twice both as positional and named argument");
            return Err(RpcError::new(code::INVALID_PARAMETER, text));
        }
        values[at] = Some(value);
    }
    Ok(values)
}

fn invalid_request(text: &str) -> RpcError {
    RpcError::new(code::INVALID_REQUEST, text)
}

fn missing(name: Option<&&str>) -> RpcError {
    let name = name.copied().unwrap_or_default();
    RpcError::new(code::INVALID_PARAMETER, format!("{name} is missing"))
}

fn out_of_range(name: &str) -> RpcError {
    RpcError::new(code::INVALID_PARAMETER, format!("{name} out of range"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::{super::table, *};

    fn bind(method: &str, sent: Value) -> Result<Params, RpcError> {
        Params::bind(table::find(method).unwrap(), sent)
    }

    #[test]
    fn positions_and_names_mean_the_same() {
        let hash = "00".repeat(32);
        let by_position = bind("getblock", json!([hash, 2])).unwrap();
        assert_eq!(
            bind("getblock", json!({"verbosity": 2, "blockhash": hash})).unwrap(),
            by_position
        );
        let mixed = bind("getblock", json!({"args": [hash], "verbosity": 2})).unwrap();
        assert_eq!(mixed, by_position);
        assert_eq!(
            bind("getblock", json!([hash, null])).unwrap(),
            bind("getblock", json!([hash])).unwrap()
        );
    }

    #[test]
    fn wrong_numbers_and_names_are_refused() {
        let code_of = |method, sent| bind(method, sent).unwrap_err().code;
        assert_eq!(code_of("getblock", json!([])), code::MISC_ERROR);
        assert_eq!(code_of("getblock", json!([null])), code::MISC_ERROR);
        assert_eq!(code_of("getblockcount", json!([1])), code::MISC_ERROR);
        assert_eq!(
            code_of("getblock", json!({"hash": ""})),
            code::INVALID_PARAMETER
        );
        let twice = json!({"args": [""], "blockhash": ""});
        assert_eq!(code_of("getblock", twice), code::INVALID_PARAMETER);
        assert_eq!(code_of("getblock", json!("text")), code::INVALID_REQUEST);
        assert_eq!(
            code_of("getblock", json!({"args": 1})),
            code::INVALID_REQUEST
        );
    }

    #[test]
    fn types_are_checked() {
        let params = bind("getblock", json!([5, "x"])).unwrap();
        let error = params.block_hash(0).unwrap_err();
        assert_eq!(error.code, code::TYPE_ERROR);
        assert!(error.message.contains("Position 1 (blockhash)"), "{error}");
        assert_eq!(params.verbosity(1, 1).unwrap_err().code, code::TYPE_ERROR);
        let short = bind("getblock", json!(["abc", true])).unwrap();
        assert_eq!(short.verbosity(1, 1).unwrap(), 1);
        let error = short.block_hash(0).unwrap_err();
        assert_eq!(
            error.message,
            "blockhash must be of length 64 (not 3, for 'abc')"
        );
        let float = bind("getblockhash", json!([1.5])).unwrap();
        assert_eq!(float.count(0).unwrap_err().code, code::MISC_ERROR);
        let negative = bind("getblockhash", json!([-1])).unwrap();
        assert_eq!(negative.count(0).unwrap_err().code, code::INVALID_PARAMETER);
    }

    #[test]
    fn amounts_are_exact() {
        let amount = |value: Value| {
            bind("sendtoaddress", json!(["address", value]))
                .unwrap()
                .amount(1)
        };
        for (value, satoshis) in [
            (json!(0.1), 10_000_000),
            (json!(0.00000001), 1),
            (json!("0.00000001"), 1),
            (json!(20999999.9769), 2_099_999_997_690_000),
            (json!(3), 300_000_000),
            (json!(1.1), 110_000_000),
        ] {
            assert_eq!(
                amount(value.clone()).unwrap().unwrap().to_sat(),
                satoshis,
                "{value}"
            );
        }
        for value in [
            json!(-1),
            json!("x"),
            json!(0.123456789),
            json!(true),
            json!(1e300),
        ] {
            assert_eq!(
                amount(value.clone()).unwrap_err().code,
                code::TYPE_ERROR,
                "{value}"
            );
        }
    }
}
