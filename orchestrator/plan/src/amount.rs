//! Amounts of coins.

use std::fmt;

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

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:08} BTC", self.0 / COIN, self.0 % COIN)
    }
}
