//! The log of a virtual network: one line per happening, made to be read.

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
};

use netsplit_api::event::Event;

use super::stream::Segment;
use crate::time::Instant;

pub(super) struct Trace {
    kept: usize,
    lines: VecDeque<String>,
    fingerprint: u64,
}

impl Trace {
    pub(super) const fn new(kept: usize) -> Self {
        Self {
            kept,
            lines: VecDeque::new(),
            fingerprint: 0xcbf2_9ce4_8422_2325,
        }
    }

    pub(super) fn add(&mut self, now: Instant, what: fmt::Arguments<'_>) {
        let mut line = if self.lines.len() < self.kept {
            String::new()
        } else {
            self.lines.pop_front().unwrap_or_default()
        };
        line.clear();
        let (seconds, micros) = (now.0 / 1_000_000_000, now.0 / 1000 % 1_000_000);
        write!(line, "{seconds:>5}.{micros:06}  {what}").expect("writing to memory cannot fail");
        for byte in line.bytes() {
            // FNV-1a: no secret, only equality.
            self.fingerprint = (self.fingerprint ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        self.lines.push_back(line);
    }

    pub(super) const fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    pub(super) fn tail(&self, lines: usize) -> String {
        let from = self.lines.len().saturating_sub(lines);
        let tail: Vec<&str> = self.lines.range(from..).map(String::as_str).collect();
        tail.join("\n")
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => {
                for command in Commands(bytes) {
                    write!(f, "{command} ")?;
                }
                write!(f, "({} B)", bytes.len())
            }
            Self::End => f.write_str("end"),
            Self::Reset => f.write_str("reset"),
        }
    }
}

/// Names of the messages in some bytes, as far as these are messages.
struct Commands<'a>(&'a [u8]);

impl<'a> Iterator for Commands<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let name = self.0.get(4..16)?;
        let length = u32::from_le_bytes(self.0.get(16..20)?.try_into().ok()?);
        self.0 = self
            .0
            .get(24 + usize::try_from(length).ok()?..)
            .unwrap_or_default();
        let end = name
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(name.len());
        std::str::from_utf8(&name[..end]).ok()
    }
}

/// An event in a few words.
pub(super) fn describe(event: &Event) -> String {
    let short = |hash: &str| {
        hash.get(hash.len().saturating_sub(8)..)
            .unwrap_or(hash)
            .to_owned()
    };
    match event {
        Event::PeerConnected {
            peer,
            address,
            inbound,
            ..
        } => {
            format!(
                "peer {peer} {} {address}",
                if *inbound { "<-" } else { "->" }
            )
        }
        Event::PeerDisconnected {
            peer,
            address,
            reason,
        } => {
            format!("peer {peer} {address} lost: {reason}")
        }
        Event::BlockAccepted {
            hash,
            height,
            source,
            ..
        } => {
            format!("block {} at {height} from {source:?}", short(hash))
        }
        Event::TipChanged { hash, height, .. } => format!("tip {} at {height}", short(hash)),
        Event::ChainReorganised {
            fork_height,
            disconnected,
            connected,
            ..
        } => {
            format!("reorganised above {fork_height}: -{disconnected} +{connected}")
        }
        other => format!("{other:?}"),
    }
}
