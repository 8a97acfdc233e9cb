//! Tables as batches of netlink messages (`linux/netfilter/nf_tables.h`).

use super::ruleset::{Expression, PRIORITY, Rule, Ruleset, Set};
use crate::netlink::wire::{ACK, APPEND, Attributes, CREATE, EXCLUSIVE, Writer};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

pub(super) const NEWTABLE: u16 = message(0);
pub(super) const GETTABLE: u16 = message(1);
pub(super) const DELTABLE: u16 = message(2);
pub(super) const NEWCHAIN: u16 = message(3);
pub(super) const GETCHAIN: u16 = message(4);
pub(super) const NEWRULE: u16 = message(6);
pub(super) const GETRULE: u16 = message(7);
pub(super) const NEWSET: u16 = message(9);
pub(super) const GETSET: u16 = message(10);
pub(super) const NEWSETELEM: u16 = message(12);
pub(super) const GETSETELEM: u16 = message(13);

const fn message(number: u16) -> u16 {
    (NFNL_SUBSYS_NFTABLES << 8) | number
}

/// Name of the one chain; not a word of the `nft` tool's language.
pub(super) const CHAIN: &str = "links";
/// `NFT_TABLE_F_OWNER`
pub(super) const OWNER: u32 = 2;
/// `NFTA_LIST_ELEM`
pub(super) const ITEM: u16 = 1;
/// `NFT_REG_1`
const REGISTER: u32 = 1;
/// Keys per message: with 16 bytes each they stay below the 64 KiB of an attribute.
const KEYS_PER_MESSAGE: usize = 1000;

/// How a batch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// The table must not be there yet.
    Absent,
    /// The table is there and is replaced.
    Present,
}

/// `struct nfgenmsg`.
pub(super) fn header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

/// A batch of everything `fill` writes: the kernel does all of it or nothing.
pub(super) fn batch(sequence: u32, fill: impl FnOnce(&mut Writer)) -> (Vec<u8>, u32) {
    let mut writer = Writer::new(sequence);
    writer.message(BATCH_BEGIN, 0, &header(0, NFNL_SUBSYS_NFTABLES), |_| {});
    fill(&mut writer);
    writer.message(BATCH_END, ACK, &header(0, NFNL_SUBSYS_NFTABLES), |_| {});
    writer.finish()
}

/// Makes a table, in place of the one there is or of none.
pub(super) fn write_table(writer: &mut Writer, ruleset: &Ruleset, owned: bool, before: Before) {
    let family = header(ruleset.family.number(), 0);
    let table = ruleset.table.as_str();
    if before == Before::Present {
        delete_table(writer, ruleset.family.number(), table);
    }
    writer.message(NEWTABLE, CREATE | EXCLUSIVE | ACK, &family, |attributes| {
        attributes.text(1, table);
        attributes.network_number(2, if owned { OWNER } else { 0 });
    });
    writer.message(NEWCHAIN, CREATE, &family, |attributes| {
        attributes.text(1, table);
        attributes.text(3, CHAIN);
        attributes.nested(4, |hook| {
            hook.network_number(1, ruleset.hook);
            hook.bytes(2, &PRIORITY.to_be_bytes());
        });
        attributes.network_number(5, 1);
        attributes.text(7, "filter");
    });
    for (id, set) in (1..).zip(&ruleset.sets) {
        write_set(writer, &family, table, set, id);
    }
    for rule in &ruleset.rules {
        write_rule(writer, &family, table, rule);
    }
}

/// Removes a table with everything in it.
pub(super) fn delete_table(writer: &mut Writer, family: u8, table: &str) {
    writer.message(DELTABLE, ACK, &header(family, 0), |attributes| {
        attributes.text(1, table);
    });
}

fn write_set(writer: &mut Writer, family: &[u8; 4], table: &str, set: &Set, id: u32) {
    writer.message(NEWSET, CREATE, family, |attributes| {
        attributes.text(1, table);
        attributes.text(2, &set.name);
        attributes.network_number(3, 0);
        attributes.network_number(4, set.kind.key_type());
        attributes.network_number(5, set.kind.key_length());
        attributes.network_number(10, id);
    });
    let keys: Vec<_> = set.elements.iter().collect();
    for keys in keys.chunks(KEYS_PER_MESSAGE) {
        writer.message(NEWSETELEM, CREATE, family, |attributes| {
            attributes.text(1, table);
            attributes.text(2, &set.name);
            attributes.nested(3, |list| {
                for key in keys {
                    list.nested(ITEM, |item| item.nested(1, |value| value.bytes(1, key)));
                }
            });
        });
    }
}

fn write_rule(writer: &mut Writer, family: &[u8; 4], table: &str, rule: &Rule) {
    writer.message(NEWRULE, CREATE | APPEND, family, |attributes| {
        attributes.text(1, table);
        attributes.text(2, CHAIN);
        attributes.nested(4, |list| {
            for expression in &rule.expressions {
                list.nested(ITEM, |item| write_expression(item, expression));
            }
        });
        attributes.bytes(7, &comment(&rule.tag.to_string()));
    });
}

/// User data that the `nft` tool shows as a comment: type 0, length, text.
fn comment(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len() + 1).expect("a tag is two numbers and three words");
    [&[0, length], text.as_bytes(), &[0]].concat()
}

fn write_expression(item: &mut Attributes<'_>, expression: &Expression) {
    let mut write = |name: &str, fill: &dyn Fn(&mut Attributes<'_>)| {
        item.text(1, name);
        item.nested(2, |data| fill(data));
    };
    match expression {
        Expression::Meta(meta) => write("meta", &|data| {
            data.network_number(1, REGISTER);
            data.network_number(2, meta.number());
        }),
        Expression::Payload {
            base,
            offset,
            length,
        } => write("payload", &|data| {
            data.network_number(1, REGISTER);
            data.network_number(2, base.number());
            data.network_number(3, *offset);
            data.network_number(4, *length);
        }),
        Expression::Mask(mask) => write("bitwise", &|data| {
            data.network_number(1, REGISTER);
            data.network_number(2, REGISTER);
            data.network_number(
                3,
                u32::try_from(mask.len()).expect("a register has 16 bytes"),
            );
            data.nested(4, |value| value.bytes(1, mask));
            data.nested(5, |value| value.bytes(1, &vec![0; mask.len()]));
        }),
        Expression::Equals(value) => write("cmp", &|data| {
            data.network_number(1, REGISTER);
            data.network_number(2, 0);
            data.nested(3, |data| data.bytes(1, value));
        }),
        Expression::Lookup { set, inverted } => write("lookup", &|data| {
            data.text(1, set);
            data.network_number(2, REGISTER);
            data.network_number(5, u32::from(*inverted));
        }),
        Expression::Counter => write("counter", &|_| {}),
        Expression::Drop => write("immediate", &|data| {
            data.network_number(1, 0);
            data.nested(2, |value| {
                value.nested(2, |verdict| verdict.network_number(1, 0));
            });
        }),
    }
}
