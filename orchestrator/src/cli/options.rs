//! Flags that every command takes.

use std::{fmt::Display, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, ValueEnum};

use crate::ui::ColorChoice;

/// Flags that every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Common options")]
pub struct Options {
    /// Where nodes run
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "RUNTIME"
    )]
    pub runtime: RuntimeChoice,
    /// Static `netsplit-node` executable to pack into the nodes' image
    ///
    /// Without it, the one beside the `netsplit` executable is taken; if there is none, `netsplit` itself.
    #[arg(long, global = true, value_name = "FILE")]
    pub node_binary: Option<PathBuf>,
    /// How data is printed
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub format: Format,
    /// Give up after this long, e.g. `90s` or `5m`
    ///
    /// For `test` it bounds the whole run of each file, in place of the topology's own `timeout`.
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// Replace a value of the topology, e.g. `nodes.full.count=8`; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print data and errors only
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: ColorChoice,
}

/// Where nodes run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RuntimeChoice {
    /// Docker where an engine answers, else namespaces
    #[default]
    Auto,
    /// Containers on a Docker engine
    Docker,
    /// Processes in Linux namespaces: no engine, no root
    Namespaces,
    /// Docker Swarm over several hosts (not built yet)
    Swarm,
    /// Virtual time in one process (not built yet)
    Sim,
}

impl std::fmt::Display for RuntimeChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

/// A duration with its unit, as in topologies: `500ms`, `30s`, `5m`, `1h`.
///
/// # Errors
/// When the unit is missing or the number is not one.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 4] = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let wrong = || "expected a number and a unit: ms, s, m or h, e.g. `30s`".to_owned();
    let split = text
        .find(|c: char| c.is_ascii_alphabetic())
        .ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let scale = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(wrong)?
        .1;
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * scale).map_err(|_| wrong())
}

/// A whole number in this range, both ends included; what is wrong is said in a user's words.
pub(super) fn number<N>(range: RangeInclusive<N>) -> impl Fn(&str) -> Result<N, String> + Clone
where
    N: FromStr + PartialOrd + Display + Clone,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            let (first, last) = (range.start(), range.end());
            format!("expected a whole number from {first} to {last}")
        })
    }
}

/// The root of every random choice.
#[derive(Clone, Copy, Debug, Args)]
pub struct Seed {
    /// Root of every random choice, in place of the topology's own
    #[arg(long, value_name = "N", value_parser = number(0..=u64::MAX))]
    pub seed: Option<u64>,
}

/// Which running testnet a command is about.
#[derive(Clone, Debug, Args)]
pub struct Target {
    /// Which testnet, by name or run id; may be left out when one runs
    #[arg(long, short, value_name = "NAME")]
    pub name: Option<String>,
}

/// The same for commands that take nothing but the testnet's name, which may then stand alone.
#[derive(Clone, Debug, Args)]
pub struct Named {
    /// Which testnet, by name or run id; may be left out when one runs
    #[arg(value_name = "NAME")]
    testnet: Option<String>,
    /// The same, as other commands take it
    #[arg(long, short, value_name = "NAME")]
    name: Option<String>,
}

impl Named {
    /// The name that was given. The one that stands alone wins: the other may come from the environment.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.testnet.as_deref().or(self.name.as_deref())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn numbers_are_refused_in_words() {
        let blocks = number(1..=10_000_u32);
        assert_eq!(blocks("7"), Ok(7));
        for wrong in ["0", "10001", "x", "-1", "1.5", "99999999999999999999", ""] {
            let said = blocks(wrong).unwrap_err();
            assert_eq!(said, "expected a whole number from 1 to 10000", "{wrong}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(parse_duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(parse_duration("2m").unwrap(), Duration::from_secs(120));
        for wrong in ["30", "s", "-1s", "5 apples", "1e400s", ""] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
