//! Words and quantities as they are written: each with its unit, pattern and parser.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, Visitor},
};

use crate::{
    amount::{Amount, AmountError},
    problem::{Fault, did_you_mean},
};

/// A value that is written as one word.
pub(crate) trait Scalar: Sized {
    /// Name of its definition in the schema.
    const NAME: &'static str;
    /// What it is and how it is written.
    const DESCRIPTION: &'static str;
    /// Regular expression for those written as text.
    const PATTERN: &'static str;
    /// Whether a bare number is one, too.
    const NUMBER: bool = false;

    /// Reads it.
    fn parse(text: &str) -> Result<Self, Fault>;
}

/// Whether the definition named `name` is a scalar.
pub(super) fn is_scalar(name: &str) -> bool {
    check(name, "").is_some()
}

/// Checks a word against the definition named `name`; `None` if there is no such scalar.
pub(super) fn check(name: &str, text: &str) -> Option<Result<(), Fault>> {
    fn try_as<T: Scalar>(name: &str, text: &str) -> Option<Result<(), Fault>> {
        (name == T::NAME).then(|| T::parse(text).map(|_| ()))
    }
    try_as::<Duration>(name, text)
        .or_else(|| try_as::<Within>(name, text))
        .or_else(|| try_as::<Coins>(name, text))
        .or_else(|| try_as::<FeeRate>(name, text))
        .or_else(|| try_as::<Fraction>(name, text))
        .or_else(|| try_as::<LeaveRate>(name, text))
        .or_else(|| try_as::<Word>(name, text))
        .or_else(|| try_as::<Selector>(name, text))
}

macro_rules! written_as_word {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = deserializer.deserialize_any(WordVisitor)?;
                Self::parse(&text).map_err(|fault| D::Error::custom(fault.message))
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                Self::NAME.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                if Self::NUMBER {
                    json_schema!({ "description": Self::DESCRIPTION, "type": ["number", "string"],
                        "pattern": Self::PATTERN })
                } else {
                    json_schema!({ "description": Self::DESCRIPTION, "type": "string",
                        "pattern": Self::PATTERN })
                }
            }
        }
    )*};
}
written_as_word!(
    Duration, Within, Coins, FeeRate, Fraction, LeaveRate, Word, Selector
);

/// Takes any scalar as text.
struct WordVisitor;

impl Visitor<'_> for WordVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_u64<E>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_f64<E>(self, number: f64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_bool<E>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }
}

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Duration(pub(crate) u64);

/// The longest duration: a year.
const LONGEST_MS: f64 = 365.0 * 86_400_000.0;

/// A number and the unit behind it, spaces between them left out.
fn split_unit(text: &str) -> Option<(f64, &str)> {
    let unit = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let number = number.parse().ok().filter(|n: &f64| n.is_finite())?;
    Some((number, unit.trim_start()))
}

impl Scalar for Duration {
    const NAME: &'static str = "Duration";
    const DESCRIPTION: &'static str =
        "A length of time with its unit: `500ms`, `30s`, `2m` or `1h`. The unit is mandatory.";
    const PATTERN: &'static str = r"^[0-9]+(\.[0-9]+)? ?(ms|s|m|h)$";

    fn parse(text: &str) -> Result<Self, Fault> {
        let Some((number, unit)) = split_unit(text) else {
            return Err(Fault::new(format!("`{text}` is not a duration"))
                .label("not a duration")
                .help("write a number and a unit: `500ms`, `30s`, `2m`, `1h`"));
        };
        let scale = match unit {
            "ms" => 1.0,
            "s" => 1_000.0,
            "m" => 60_000.0,
            "h" => 3_600_000.0,
            "" => {
                return Err(Fault::new(format!("`{text}` has no unit"))
                    .label("a unit is missing")
                    .help(format!(
                        "write `{text}s` for seconds; units are ms, s, m, h"
                    )));
            }
            _ => {
                return Err(Fault::new(format!("`{unit}` is not a unit of time"))
                    .label("wrong unit")
                    .help("units are ms, s, m, h"));
            }
        };
        let ms = number * scale;
        if ms > LONGEST_MS {
            return Err(Fault::new(format!("`{text}` is longer than a year")).label("too long"));
        }
        if ms < 1.0 {
            return Err(Fault::new(format!("`{text}` is no time at all"))
                .label("too short")
                .help("the shortest duration is `1ms`"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 1 and a year's milliseconds, checked above"
        )]
        let ms = ms.round() as u64;
        Ok(Self(ms))
    }
}

/// How long an assertion may take to come true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Within {
    Auto,
    Time(Duration),
}

impl Scalar for Within {
    const NAME: &'static str = "Within";
    const DESCRIPTION: &'static str =
        "How long it may take to come true: a duration such as `30s`, or `auto` (10 seconds).";
    const PATTERN: &'static str = r"^(auto|[0-9]+(\.[0-9]+)? ?(ms|s|m|h))$";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        Duration::parse(text).map(Self::Time).map_err(|fault| {
            let hint = did_you_mean(text, ["auto"]);
            fault.maybe_help(hint)
        })
    }
}

/// An amount of coins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Coins(pub(crate) Amount);

impl Scalar for Coins {
    const NAME: &'static str = "Coins";
    const DESCRIPTION: &'static str = "An amount: a plain number is bitcoins as in Bitcoin Core (`0.5`); also `0.5 BTC` or `50000 sat`.";
    const PATTERN: &'static str = r"^[0-9]+(\.[0-9]{1,8})? ?(BTC|sat)?$";
    const NUMBER: bool = true;

    fn parse(text: &str) -> Result<Self, Fault> {
        text.parse().map(Self).map_err(|error: AmountError| {
            let label = match error {
                AmountError::Unit(_) => "wrong unit",
                AmountError::Number(_) => "not an amount",
            };
            Fault::new(error.to_string())
                .label(label)
                .help(error.help())
        })
    }
}

/// A fee rate in satoshis per virtual byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FeeRate(pub(crate) u64);

impl Scalar for FeeRate {
    const NAME: &'static str = "FeeRate";
    const DESCRIPTION: &'static str = "A fee rate with its unit: `5 sat/vB`, a whole number from 1 to 10000. The unit is mandatory.";
    const PATTERN: &'static str = r"^[0-9]+ ?sat/vB$";

    fn parse(text: &str) -> Result<Self, Fault> {
        let number = text.strip_suffix("sat/vB").map(str::trim_end);
        let rate = number.and_then(|number| number.parse().ok());
        match rate {
            Some(rate @ 1..=10_000) => Ok(Self(rate)),
            Some(_) => Err(Fault::new(format!("`{text}` is out of range"))
                .label("out of range")
                .help("a fee rate is 1 to 10000 sat/vB")),
            None if text.bytes().all(|b| b.is_ascii_digit()) => {
                Err(Fault::new(format!("`{text}` has no unit"))
                    .label("a unit is missing")
                    .help(format!("write `{text} sat/vB`")))
            }
            None => Err(Fault::new(format!("`{text}` is not a fee rate"))
                .label("not a fee rate")
                .help("write a whole number and the unit: `5 sat/vB`")),
        }
    }
}

/// A part of a whole, above 0 and at most 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fraction(pub(crate) f64);

impl Scalar for Fraction {
    const NAME: &'static str = "Fraction";
    const DESCRIPTION: &'static str =
        "A part of a whole, above 0 and at most 1: `0.25`, `25%` or `1/4`.";
    const PATTERN: &'static str = r"^([0-9]+(\.[0-9]+)?%?|[0-9]+/[0-9]+)$";
    const NUMBER: bool = true;

    fn parse(text: &str) -> Result<Self, Fault> {
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite());
        let value = if let Some(percent) = text.strip_suffix('%') {
            number(percent).map(|percent| percent / 100.0)
        } else if let Some((part, whole)) = text.split_once('/') {
            number(part)
                .zip(number(whole))
                .map(|(part, whole)| part / whole)
        } else {
            number(text)
        };
        match value {
            Some(value) if value > 0.0 && value <= 1.0 => Ok(Self(value)),
            Some(_) => Err(Fault::new(format!("`{text}` is out of range"))
                .label("out of range")
                .help("a fraction is above 0 and at most 1, e.g. `0.25`, `25%`, `1/4`")),
            None => Err(Fault::new(format!("`{text}` is not a fraction"))
                .label("not a fraction")
                .help("write `0.25`, `25%` or `1/4`")),
        }
    }
}

/// Which part of the nodes leaves per second, above 0 and at most 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LeaveRate(pub(crate) f64);

impl Scalar for LeaveRate {
    const NAME: &'static str = "LeaveRate";
    const DESCRIPTION: &'static str = "A part of the nodes per unit of time, at most all of them each second: `1%/s`, `0.5%/s` or `20%/m`.";
    const PATTERN: &'static str = r"^([0-9]+(\.[0-9]+)?%?|[0-9]+/[0-9]+)/(s|m|h)$";

    fn parse(text: &str) -> Result<Self, Fault> {
        let rate = text.rsplit_once('/').and_then(|(part, unit)| {
            let seconds = match unit {
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3_600.0,
                _ => return None,
            };
            Some((part, seconds))
        });
        let Some((part, seconds)) = rate else {
            return Err(Fault::new(format!("`{text}` is not a rate"))
                .label("not a rate")
                .help("write a part of the nodes per s, m or h: `1%/s`"));
        };
        Fraction::parse(part).map(|part| Self(part.0 / seconds))
    }
}

/// A name that people choose: of a topology, zone, fault or transaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Word(pub(crate) String);

/// Longest name, as in a DNS label (RFC 1035).
pub(crate) const LONGEST_NAME: usize = 63;

impl Scalar for Word {
    const NAME: &'static str = "Word";
    const DESCRIPTION: &'static str = "A name: lower-case letters, digits and dashes, at most 63, beginning with a letter or digit.";
    const PATTERN: &'static str = r"^[a-z0-9][a-z0-9-]{0,62}$";

    fn parse(text: &str) -> Result<Self, Fault> {
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty()
            || text.len() > LONGEST_NAME
            || text.starts_with('-')
            || !text.chars().all(fine)
        {
            return Err(Fault::new(format!("`{text}` is not a name"))
                .label("not a name")
                .help("names are lower-case letters, digits and dashes, at most 63, beginning with a letter or digit"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Something that names nodes: a node, a group, `role:x`, `zone:x`, `all` or `rest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selector(pub(crate) String);

impl Scalar for Selector {
    const NAME: &'static str = "Selector";
    const DESCRIPTION: &'static str = "Names nodes: a node, a group, `role:x`, `zone:x`, `all`, or (in the groups of a partition) `rest`.";
    const PATTERN: &'static str = r"^((role|zone):)?[a-z0-9][a-z0-9-]*$";

    fn parse(text: &str) -> Result<Self, Fault> {
        let (kind, word) = text
            .split_once(':')
            .map_or((None, text), |(kind, word)| (Some(kind), word));
        if let Some(kind) = kind.filter(|kind| !["role", "zone"].contains(kind)) {
            return Err(Fault::new(format!("`{kind}:` selects nothing"))
                .label("unknown kind of selector")
                .maybe_help(did_you_mean(kind, ["role", "zone"]))
                .maybe_help(Some(
                    "selectors are a node, a group, `role:x`, `zone:x`, `all`, `rest`".to_owned(),
                )));
        }
        Word::parse(word).map_err(|_| {
            Fault::new(format!("`{text}` is not a selector"))
                .label("not a selector")
                .help("selectors are a node, a group, `role:x`, `zone:x`, `all`, `rest`")
        })?;
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(Duration::parse("500ms").unwrap().0, 500);
        assert_eq!(Duration::parse("1.5s").unwrap().0, 1_500);
        assert_eq!(Duration::parse("2m").unwrap().0, 120_000);
        assert_eq!(Duration::parse("1h").unwrap().0, 3_600_000);
        assert!(
            Duration::parse("30")
                .unwrap_err()
                .message
                .contains("no unit")
        );
        assert!(
            Duration::parse("30sec")
                .unwrap_err()
                .message
                .contains("not a unit")
        );
        for bad in ["", "s", "0s", "1e99s", "-1s", "1.2.3s", "99999h"] {
            assert!(Duration::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn amounts_are_exact() {
        let sats = |text| Coins::parse(text).unwrap().0.sats();
        assert_eq!(sats("0.5"), 50_000_000);
        assert_eq!(sats("0.00000001"), 1);
        assert_eq!(sats("12 BTC"), 1_200_000_000);
        assert_eq!(sats("700 sat"), 700);
        for bad in ["0.123456789", "-1", "1.5 sat", "5 EUR", "x", ""] {
            assert!(Coins::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn fractions_are_parts_of_a_whole() {
        let part = |text| Fraction::parse(text).unwrap().0;
        assert!((part("1/3") - 1.0 / 3.0).abs() < 1e-12);
        assert!((part("25%") - 0.25).abs() < 1e-12);
        assert!((part("1") - 1.0).abs() < 1e-12);
        for bad in ["0", "1.5", "150%", "1/0", "-1", "x"] {
            assert!(Fraction::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_of_leaving_are_parts_per_time() {
        let rate = |text| LeaveRate::parse(text).unwrap().0;
        assert!((rate("1%/s") - 0.01).abs() < 1e-12);
        assert!((rate("60%/m") - 0.01).abs() < 1e-12);
        assert!((rate("1/100/s") - 0.01).abs() < 1e-12);
        assert!((rate("100%/s") - 1.0).abs() < 1e-12);
        for bad in ["1%", "5/s", "0%/s", "1%/d", "1% per s", "/s", "x"] {
            assert!(LeaveRate::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn fee_rates_need_a_unit() {
        assert_eq!(FeeRate::parse("5 sat/vB").unwrap().0, 5);
        assert_eq!(FeeRate::parse("5sat/vB").unwrap().0, 5);
        assert!(FeeRate::parse("5").unwrap_err().message.contains("no unit"));
        assert!(FeeRate::parse("0 sat/vB").is_err());
    }
}
