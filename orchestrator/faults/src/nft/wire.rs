//! Netlink messages and attributes as bytes (`linux/netlink.h`, `linux/netfilter/nfnetlink.h`).

/// Attribute lengths are 16 bits wide.
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;

/// `NLM_F_REQUEST`
pub(super) const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`
pub(super) const ACK: u16 = 0x4;
/// `NLM_F_ROOT | NLM_F_MATCH`
pub(super) const DUMP: u16 = 0x300;
/// `NLM_F_DUMP_INTR`
pub(super) const DUMP_INTERRUPTED: u16 = 0x10;
/// `NLM_F_EXCL`
pub(super) const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`
pub(super) const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`
pub(super) const APPEND: u16 = 0x800;
/// `NLMSG_ERROR`
pub(super) const ERROR: u16 = 2;
/// `NLMSG_DONE`
pub(super) const DONE: u16 = 3;
/// Length of `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;

/// Messages being written, one after the other.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    sequence: u32,
}

impl Writer {
    /// Sequence numbers count up from the one after `sequence`.
    pub(super) const fn new(sequence: u32) -> Self {
        Self {
            bytes: Vec::new(),
            sequence,
        }
    }

    /// Writes one message: its family's header, then what `fill` adds.
    pub(super) fn message(
        &mut self,
        kind: u16,
        flags: u16,
        header: &[u8],
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        self.sequence = self.sequence.wrapping_add(1);
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | REQUEST).to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend(header);
        fill(&mut Attributes {
            bytes: &mut self.bytes,
        });
        let length = u32::try_from(self.bytes.len() - start)
            .expect("a message is split long before it has 4 GiB");
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Everything written, and the sequence number of the last message.
    pub(super) fn finish(self) -> (Vec<u8>, u32) {
        (self.bytes, self.sequence)
    }
}

/// Attributes being written. All are padded to four bytes, so that a message is too.
pub(super) struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) {
        let start = self.open(kind);
        self.bytes.extend(value);
        self.close(start);
    }

    /// A number, big endian as all of nf_tables' are.
    pub(super) fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A text, with the zero byte that ends it.
    pub(super) fn text(&mut self, kind: u16, value: &str) {
        let start = self.open(kind);
        self.bytes.extend(value.as_bytes());
        self.bytes.push(0);
        self.close(start);
    }

    pub(super) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.open(kind | NESTED);
        fill(&mut Attributes { bytes: self.bytes });
        self.close(start);
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        let length = u16::try_from(self.bytes.len() - start)
            .expect("lists are written in pieces that fit an attribute");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}

/// One message that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) payload: &'a [u8],
}

impl Message<'_> {
    /// The error an `NLMSG_ERROR` or `NLMSG_DONE` carries; 0 for success.
    pub(super) fn error(&self) -> i32 {
        self.payload
            .first_chunk()
            .map_or(0, |code| i32::from_ne_bytes(*code).saturating_neg())
    }
}

/// The messages of a datagram; stops at the first that is not whole.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let header: &[u8; HEADER] = bytes.first_chunk()?;
        let length = usize::try_from(u32_at(header, 0)).ok()?;
        let payload = bytes.get(HEADER..length)?;
        let message = Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32_at(header, 8),
            payload,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

fn u32_at(bytes: &[u8; HEADER], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The attributes in `bytes`, by type; stops at the first that is not whole.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header: &[u8; 4] = bytes.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of this type.
pub(super) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

/// A big-endian number.
pub(super) fn number(bytes: &[u8], kind: u16) -> Option<u32> {
    attribute(bytes, kind)?
        .try_into()
        .ok()
        .map(u32::from_be_bytes)
}

/// A text without its final zero byte.
pub(super) fn text(bytes: &[u8], kind: u16) -> Option<&str> {
    let value = attribute(bytes, kind)?;
    std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let mut writer = Writer::new(41);
        writer.message(7, ACK, &[1, 2, 3, 4], |attributes| {
            attributes.text(1, "name");
            attributes.nested(2, |inner| inner.number(3, 0x0102_0304));
        });
        writer.message(8, 0, &[], |_| {});
        let (bytes, last) = writer.finish();
        let read: Vec<_> = messages(&bytes).collect();
        assert_eq!((read.len(), last), (2, 43));
        assert_eq!(
            (read[0].kind, read[0].flags, read[0].sequence),
            (7, ACK | REQUEST, 42)
        );
        let body = &read[0].payload[4..];
        assert_eq!(text(body, 1), Some("name"));
        assert_eq!(
            attribute(body, 2).and_then(|inner| number(inner, 3)),
            Some(0x0102_0304)
        );
        assert!(bytes.len().is_multiple_of(4));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic_or_loop(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            prop_assert!(messages(&bytes).count() <= bytes.len());
            prop_assert!(attributes(&bytes).count() <= bytes.len());
        }
    }
}
