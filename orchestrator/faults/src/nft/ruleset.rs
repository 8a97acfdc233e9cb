//! A table of nf_tables as data: what is sent to the kernel, and what is read back from it.

use std::{collections::BTreeSet, fmt};

/// Families of nf_tables a table can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Frames that cross a bridge.
    Bridge,
    /// Packets that are routed.
    Inet,
}

impl Family {
    /// `NFPROTO_*` of `linux/netfilter.h`.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Bridge => 7,
            Self::Inet => 1,
        }
    }
}

/// Hook number of packets in transit, the same in both families (`NF_BR_FORWARD`, `NF_INET_FORWARD`).
pub const FORWARD: u32 = 2;

/// Ahead of every filter a machine usually has.
pub const PRIORITY: i32 = -300;

/// A table with one base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    /// Family of the table.
    pub family: Family,
    /// Name of the table.
    pub table: String,
    /// Hook of the chain.
    pub hook: u32,
    /// Sets, by the order of their numbers.
    pub sets: Vec<Set>,
    /// Rules, in the order the kernel tries them.
    pub rules: Vec<Rule>,
}

/// A set of equally long keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name, unique in the table.
    pub name: String,
    /// What it holds.
    pub kind: SetKind,
    /// Keys in network order (interface numbers: host order).
    pub elements: BTreeSet<Vec<u8>>,
}

/// What a set holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetKind {
    /// IPv4 addresses.
    Addresses,
    /// Numbers of transport protocols.
    Protocols,
    /// Numbers of network devices.
    Devices,
}

impl SetKind {
    /// Bytes of a key.
    #[must_use]
    pub const fn key_length(self) -> u32 {
        match self {
            Self::Addresses | Self::Devices => 4,
            Self::Protocols => 1,
        }
    }

    /// Number by which the `nft` tool knows how to show a key; the kernel ignores it.
    #[must_use]
    pub const fn key_type(self) -> u32 {
        match self {
            Self::Addresses => 7,
            Self::Protocols => 12,
            Self::Devices => 15,
        }
    }
}

/// A rule: what its expressions all agree on is counted and dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whose drops it counts.
    pub tag: Tag,
    /// Evaluated in order.
    pub expressions: Vec<Expression>,
}

/// Whose drops a rule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// Place of the cut in the link table.
    pub cut: u32,
    /// Place of the directed drop in the cut.
    pub drop: u32,
    /// What kind of packets.
    pub class: Class,
}

/// Kinds of packets that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// To or from the port of the probes.
    Probe,
    /// Broadcast and multicast.
    Group,
    /// Everything else.
    Protocol,
}

impl Class {
    const ALL: [Self; 3] = [Self::Probe, Self::Group, Self::Protocol];

    const fn word(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Group => "group",
            Self::Protocol => "protocol",
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cut {} drop {} {}",
            self.cut,
            self.drop,
            self.class.word()
        )
    }
}

impl Tag {
    /// Reads what `Display` writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut number = |name| (words.next()? == name).then(|| words.next()?.parse().ok())?;
        let (cut, drop) = (number("cut")?, number("drop")?);
        let word = words.next()?;
        let class = Class::ALL.into_iter().find(|class| class.word() == word)?;
        words.next().is_none().then_some(Self { cut, drop, class })
    }
}

/// Expressions, all on one register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Load something the kernel knows of the packet.
    Meta(Meta),
    /// Load bytes of the packet.
    Payload {
        /// From where `offset` counts.
        base: Base,
        /// First byte.
        offset: u32,
        /// Number of bytes.
        length: u32,
    },
    /// Keep only these bits.
    Mask(Vec<u8>),
    /// Go on only if the bytes loaded are these.
    Equals(Vec<u8>),
    /// Go on only if what was loaded is in a set, or is not.
    Lookup {
        /// Name of the set.
        set: String,
        /// Go on if it is *not* in the set.
        inverted: bool,
    },
    /// Count the packet.
    Counter,
    /// Drop it.
    Drop,
}

/// What the kernel knows of a packet (`enum nft_meta_keys`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meta {
    /// Ethertype, big endian.
    Protocol,
    /// Number of the device it leaves by, host order.
    OutputDevice,
    /// Address family by its `NFPROTO_*` number.
    AddressFamily,
    /// Transport protocol.
    Transport,
}

impl Meta {
    /// All keys in use.
    pub const ALL: [Self; 4] = [
        Self::Protocol,
        Self::OutputDevice,
        Self::AddressFamily,
        Self::Transport,
    ];

    /// Number of the key.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Protocol => 1,
            Self::OutputDevice => 5,
            Self::AddressFamily => 15,
            Self::Transport => 16,
        }
    }
}

/// Headers of a packet (`enum nft_payload_bases`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// Ethernet.
    Link,
    /// IP.
    Network,
    /// UDP or TCP.
    Transport,
}

impl Base {
    /// All headers.
    pub const ALL: [Self; 3] = [Self::Link, Self::Network, Self::Transport];

    /// Number of the header.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Link => 0,
            Self::Network => 1,
            Self::Transport => 2,
        }
    }
}

/// A table as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The table.
    pub ruleset: Ruleset,
    /// Whether the kernel calls the table owned by a process.
    pub owned: bool,
    /// Things in the table that are none of ours or not understood.
    pub foreign: Vec<String>,
}

impl Installed {
    /// A table of which nothing is there.
    #[must_use]
    pub const fn nothing(family: Family, table: String) -> Self {
        Self {
            ruleset: Ruleset {
                family,
                table,
                hook: FORWARD,
                sets: Vec::new(),
                rules: Vec::new(),
            },
            owned: false,
            foreign: Vec::new(),
        }
    }
}

/// Name of a run's table: readable, and within what the kernel and the `nft` tool take as a name.
#[must_use]
pub fn table_name(run: &str) -> String {
    const READABLE: usize = 100;
    let name: String = run
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    if name == run && name.len() <= READABLE {
        return format!("netsplit-{name}");
    }
    // FNV-1a: runs whose names differ only in what was left out still get tables of their own.
    let hash = run.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("netsplit-{}-{hash:016x}", &name[..name.len().min(READABLE)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_read_back_as_written() {
        for class in Class::ALL {
            let tag = Tag {
                cut: 3,
                drop: 17,
                class,
            };
            assert_eq!(Tag::parse(&tag.to_string()), Some(tag));
        }
        for text in [
            "",
            "cut 1",
            "cut 1 drop x probe",
            "cut 1 drop 2 other",
            "cut 1 drop 2 probe x",
        ] {
            assert_eq!(Tag::parse(text), None, "{text}");
        }
    }

    #[test]
    fn table_names_are_short_legal_and_distinct() {
        assert_eq!(
            table_name("partition-7f3a9c21"),
            "netsplit-partition-7f3a9c21"
        );
        let long = "x".repeat(300);
        assert!(table_name(&long).len() < 128);
        assert_ne!(table_name(&long), table_name(&format!("{long}y")));
        assert_ne!(table_name("a/b"), table_name("a_b"));
        assert_ne!(table_name("a/b"), table_name("a:b"));
    }
}
