//! Which ordered pairs of addresses are cut: as asked, and as a table read back says.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use super::{
    build::Directions,
    ruleset::{Class, Expression, Installed, Ruleset, Tag},
};

/// Differences that are written out; what is beyond is only counted.
const SHOWN: usize = 20;

/// A set of ordered pairs of addresses, one row of bits per sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairs {
    places: BTreeMap<Ipv4Addr, usize>,
    rows: Vec<Vec<u64>>,
}

impl Pairs {
    /// No pairs, over these addresses.
    #[must_use]
    pub fn none(addresses: &BTreeSet<Ipv4Addr>) -> Self {
        let words = addresses.len().div_ceil(64);
        let places = addresses
            .iter()
            .enumerate()
            .map(|(place, address)| (*address, place));
        Self {
            places: places.collect(),
            rows: vec![vec![0; words]; addresses.len()],
        }
    }

    /// Adds every pair of one of `from` with one of `to`. Addresses that are not covered are left out.
    pub fn add(
        &mut self,
        from: impl Iterator<Item = Ipv4Addr>,
        to: impl Iterator<Item = Ipv4Addr>,
    ) {
        let mut receivers = vec![0_u64; self.rows.first().map_or(0, Vec::len)];
        for place in to.filter_map(|address| self.places.get(&address)) {
            receivers[place / 64] |= 1 << (place % 64);
        }
        for place in from.filter_map(|address| self.places.get(&address)) {
            for (word, receivers) in self.rows[*place].iter_mut().zip(&receivers) {
                *word |= receivers;
            }
        }
    }

    /// Number of pairs.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.rows
            .iter()
            .flatten()
            .map(|word| u64::from(word.count_ones()))
            .sum()
    }
}

/// Pairs the cuts ask for, over every address they name.
#[must_use]
pub fn intended(cuts: &[Directions]) -> Pairs {
    let drops = || cuts.iter().flatten();
    let mut pairs = Pairs::none(
        &drops()
            .flat_map(|(from, to)| from.iter().chain(to))
            .copied()
            .collect(),
    );
    for (from, to) in drops() {
        pairs.add(from.iter().copied(), to.iter().copied());
    }
    pairs
}

/// Pairs that a table cuts, over every address in its sets.
#[must_use]
pub fn installed(ruleset: &Ruleset) -> Pairs {
    let everyone = ruleset
        .sets
        .iter()
        .flat_map(|set| addresses(ruleset, &set.name))
        .collect();
    let mut pairs = Pairs::none(&everyone);
    for (_, from, to) in drops(ruleset) {
        pairs.add(from, to);
    }
    pairs
}

/// Senders and receivers of every rule that has exactly the form of one that drops all of a pair's packets, in the order the
/// rules are tried.
pub fn drops(
    ruleset: &Ruleset,
) -> impl Iterator<
    Item = (
        Tag,
        impl Iterator<Item = Ipv4Addr>,
        impl Iterator<Item = Ipv4Addr>,
    ),
> {
    ruleset.rules.iter().filter_map(|rule| {
        let (from, to) = sender_and_receiver(ruleset, &rule.expressions)?;
        let whole = rule.tag.class == Class::Protocol;
        whole.then(|| (rule.tag, addresses(ruleset, from), addresses(ruleset, to)))
    })
}

fn addresses(ruleset: &Ruleset, name: &str) -> impl Iterator<Item = Ipv4Addr> {
    let set = ruleset.sets.iter().find(|set| set.name == name);
    set.into_iter()
        .flat_map(|set| set.elements.iter())
        .filter_map(|key| address(key))
}

fn address(key: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(key).ok().map(Ipv4Addr::from)
}

/// The sets of a rule that drops every IPv4 packet from one to the other, and of no other rule.
fn sender_and_receiver<'a>(
    ruleset: &Ruleset,
    rule: &'a [Expression],
) -> Option<(&'a str, &'a str)> {
    use super::ruleset::{Base, Family, Meta};

    let [
        guard,
        version,
        source,
        senders,
        destination,
        receivers,
        Expression::Counter,
        Expression::Drop,
    ] = rule
    else {
        return None;
    };
    let (meta, value) = match ruleset.family {
        Family::Bridge => (Meta::Protocol, vec![0x08, 0x00]),
        Family::Inet => (Meta::AddressFamily, vec![2]),
    };
    let field = |offset| Expression::Payload {
        base: Base::Network,
        offset,
        length: 4,
    };
    let fits = *guard == Expression::Meta(meta)
        && *version == Expression::Equals(value)
        && *source == field(12)
        && *destination == field(16);
    match (fits, senders, receivers) {
        (
            true,
            Expression::Lookup {
                set: from,
                inverted: false,
            },
            Expression::Lookup {
                set: to,
                inverted: false,
            },
        ) => Some((from, to)),
        _ => None,
    }
}

/// How a table read back differs from the one that was asked for; empty when it does not.
#[must_use]
pub fn differences(wanted: &Ruleset, got: Option<&Installed>) -> Vec<String> {
    let Some(got) = got else {
        return if wanted.rules.is_empty() {
            Vec::new()
        } else {
            vec!["the table is gone".to_owned()]
        };
    };
    let mut found = got.foreign.clone();
    if wanted.rules.is_empty() {
        found.insert(0, "a table is there although nothing is cut".to_owned());
        return shorten(found);
    }
    let table = &got.ruleset;
    if (table.family, table.hook) != (wanted.family, wanted.hook) {
        found.push(format!(
            "the chain hangs at hook {}, not {}",
            table.hook, wanted.hook
        ));
    }
    for set in &wanted.sets {
        match table.sets.iter().find(|other| other.name == set.name) {
            None => found.push(format!("set `{}` is missing", set.name)),
            Some(other) if other != set => found.push(format!(
                "set `{}` holds {} keys, {} of them as asked, instead of {}",
                set.name,
                other.elements.len(),
                other.elements.intersection(&set.elements).count(),
                set.elements.len(),
            )),
            Some(_) => {}
        }
    }
    if table.rules.len() != wanted.rules.len() {
        found.push(format!(
            "{} rules instead of {}",
            table.rules.len(),
            wanted.rules.len()
        ));
    }
    for (place, (rule, other)) in wanted.rules.iter().zip(&table.rules).enumerate() {
        if rule != other {
            found.push(format!("rule {place} is `{}` and not as asked", other.tag));
        }
    }
    shorten(found)
}

fn shorten(mut found: Vec<String>) -> Vec<String> {
    if found.len() > SHOWN {
        let more = found.len() - SHOWN;
        found.truncate(SHOWN);
        found.push(format!("and {more} more"));
    }
    found
}
