//! What the kernel's dumps say, as data.

use super::{
    encode::{CHAIN, ITEM, OWNER},
    ruleset::{Base, Expression, Family, Meta, Rule, SetKind, Tag},
};
use crate::netlink::wire::{attribute, attributes, network_number as number, text};

/// Length of `struct nfgenmsg`.
const HEADER: usize = 4;

/// A table of any name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TableFound<'a> {
    pub(super) name: &'a str,
    pub(super) owned: bool,
}

pub(super) fn table(payload: &[u8]) -> Option<TableFound<'_>> {
    let body = payload.get(HEADER..)?;
    Some(TableFound {
        name: text(body, 1)?,
        owned: number(body, 2)? & OWNER != 0,
    })
}

/// A chain: its table, and what is wrong with it, or the hook of ours.
pub(super) fn chain(payload: &[u8], table: &str) -> Option<Result<u32, String>> {
    let body = payload.get(HEADER..)?;
    if text(body, 1)? != table {
        return None;
    }
    let name = text(body, 3).unwrap_or_default();
    let hook = attribute(body, 4).and_then(|hook| number(hook, 1));
    let accepts = number(body, 5) == Some(1) && text(body, 7) == Some("filter");
    Some(match hook {
        Some(hook) if name == CHAIN && accepts => Ok(hook),
        _ => Err(format!("chain `{name}` is none of ours")),
    })
}

/// A set's name and kind; the kind is missing when it is none of ours.
pub(super) fn set(payload: &[u8], table: &str) -> Option<(String, Option<SetKind>)> {
    let body = payload.get(HEADER..)?;
    if text(body, 1)? != table {
        return None;
    }
    let (kind, length) = (number(body, 4), number(body, 5));
    let kind = [SetKind::Addresses, SetKind::Protocols, SetKind::Devices]
        .into_iter()
        .find(|known| {
            kind == Some(known.key_type())
                && length == Some(known.key_length())
                && number(body, 3).unwrap_or(0) == 0
        });
    Some((text(body, 2)?.to_owned(), kind))
}

/// The keys in one message of a set's elements.
pub(super) fn keys(payload: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let list = payload
        .get(HEADER..)
        .and_then(|body| attribute(body, 3))
        .unwrap_or_default();
    attributes(list)
        .filter(|(kind, _)| *kind == ITEM)
        .filter_map(|(_, item)| Some(attribute(attribute(item, 1)?, 1)?.to_vec()))
}

/// A rule and the packets it counted.
pub(super) fn rule(payload: &[u8], table: &str) -> Option<Result<(Rule, u64), String>> {
    let body = payload.get(HEADER..)?;
    if text(body, 1)? != table {
        return None;
    }
    let tag = attribute(body, 7).and_then(comment).and_then(Tag::parse);
    let Some(tag) = tag else {
        return Some(Err("a rule is none of ours".to_owned()));
    };
    let mut packets = 0;
    let mut expressions = Vec::new();
    for (_, item) in attributes(attribute(body, 4).unwrap_or_default()) {
        let name = text(item, 1).unwrap_or_default();
        let data = attribute(item, 2).unwrap_or_default();
        let Some(expression) = expression(name, data) else {
            return Some(Err(format!(
                "rule `{tag}` has an expression `{name}` that is none of ours"
            )));
        };
        if expression == Expression::Counter {
            packets = attribute(data, 2)
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, u64::from_be_bytes);
        }
        expressions.push(expression);
    }
    Some(Ok((Rule { tag, expressions }, packets)))
}

fn comment(user_data: &[u8]) -> Option<&str> {
    let [0, length, rest @ ..] = user_data else {
        return None;
    };
    let text = rest.get(..usize::from(*length))?;
    std::str::from_utf8(text.strip_suffix(&[0])?).ok()
}

/// Only what we write ourselves, register and flags included.
fn expression(name: &str, data: &[u8]) -> Option<Expression> {
    let is = |kind, value| number(data, kind) == Some(value);
    let value = |kind| attribute(attribute(data, kind)?, 1).map(<[u8]>::to_vec);
    match name {
        "meta" if is(1, 1) => Meta::ALL
            .into_iter()
            .find(|meta| is(2, meta.number()))
            .map(Expression::Meta),
        "payload" if is(1, 1) => Some(Expression::Payload {
            base: Base::ALL.into_iter().find(|base| is(2, base.number()))?,
            offset: number(data, 3)?,
            length: number(data, 4)?,
        }),
        "bitwise" if is(1, 1) && is(2, 1) && number(data, 6).unwrap_or(0) == 0 => {
            let plain = value(5)?.iter().all(|byte| *byte == 0);
            plain.then(|| value(4).map(Expression::Mask)).flatten()
        }
        "cmp" if is(1, 1) && is(2, 0) => value(3).map(Expression::Equals),
        "lookup" if is(2, 1) && attribute(data, 3).is_none() => Some(Expression::Lookup {
            set: text(data, 1)?.to_owned(),
            inverted: number(data, 5).unwrap_or(0) == 1,
        }),
        "counter" => Some(Expression::Counter),
        "immediate" if is(1, 0) => {
            let verdict = attribute(attribute(data, 2)?, 2)?;
            (number(verdict, 1) == Some(0)).then_some(Expression::Drop)
        }
        _ => None,
    }
}

/// The family a message speaks of.
pub(super) fn is_of(payload: &[u8], family: Family) -> bool {
    payload.first() == Some(&family.number())
}
