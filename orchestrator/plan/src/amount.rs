//! Amounts of coins.

use std::{fmt, str::FromStr};

use serde_json::Value;

/// Satoshis in a bitcoin.
pub const COIN: u64 = 100_000_000;

/// An amount of coins, exact to the satoshi.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(u64);

impl Amount {
    /// So many satoshis.
    #[must_use]
    pub const fn from_sats(sats: u64) -> Self {
        Self(sats)
    }

    /// In satoshis.
    #[must_use]
    pub const fn sats(self) -> u64 {
        self.0
    }

    /// A decimal number of bitcoins with at most eight places; `None` if it is not that, or negative.
    #[must_use]
    pub fn parse_btc(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 8 {
            return None;
        }
        let whole: u64 = whole.parse().ok()?;
        let part: u64 = format!("{part:0<8}").parse().ok()?;
        whole.checked_mul(COIN)?.checked_add(part).map(Self)
    }

    /// A JSON number of bitcoins as Bitcoin Core writes them; `None` if it is not one.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        let text = value.as_number()?.to_string();
        Self::parse_btc(&text).or_else(|| Self::parse_btc(&format!("{:.8}", value.as_f64()?)))
    }
}

/// A text is no amount of coins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// What follows the number is no unit.
    #[error("`{0}` is not a unit of coins")]
    Unit(String),
    /// There is no number, it is negative, or it has too many places.
    #[error("`{0}` is not an amount")]
    Number(String),
}

impl AmountError {
    /// What to write instead.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        match self {
            Self::Unit(_) => "units are BTC (the default) and sat",
            Self::Number(_) => {
                "write `0.5`, `0.5 BTC` or `50000 sat`; at most eight decimal places"
            }
        }
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    /// A number of bitcoins with or without their unit, `0.5` or `0.5 BTC`, or of satoshis, `50000 sat`.
    fn from_str(text: &str) -> Result<Self, AmountError> {
        let end = text
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let amount = match unit.trim() {
            "" | "BTC" => Self::parse_btc(number),
            "sat" => number.parse().ok().map(Self::from_sats),
            unit if !number.is_empty() => return Err(AmountError::Unit(unit.to_owned())),
            _ => None,
        };
        amount.ok_or_else(|| AmountError::Number(text.to_owned()))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:08} BTC", self.0 / COIN, self.0 % COIN)
    }
}
