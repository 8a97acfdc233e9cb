//! Netlink messages and attributes as bytes (`linux/netlink.h`, `linux/netfilter/nfnetlink.h`).

/// `NLA_F_NESTED`
const NESTED: u16 = 0x8000;
/// `NLA_TYPE_MASK`
const TYPE_MASK: u16 = 0x3fff;

/// `NLM_F_REQUEST`
pub const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`
pub const ACK: u16 = 0x4;
/// `NLM_F_ROOT | NLM_F_MATCH`
pub const DUMP: u16 = 0x300;
/// `NLM_F_DUMP_INTR`
pub const DUMP_INTERRUPTED: u16 = 0x10;
/// `NLM_F_EXCL`
pub const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`
pub const APPEND: u16 = 0x800;
/// `NLMSG_ERROR`
pub const ERROR: u16 = 2;
/// `NLMSG_DONE`
pub const DONE: u16 = 3;
/// Length of `struct nlmsghdr`.
pub const HEADER: usize = 16;

/// Messages being written, one after the other.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    sequence: u32,
}

impl Writer {
    /// Sequence numbers count up from the one after `sequence`.
    #[must_use]
    pub const fn new(sequence: u32) -> Self {
        Self {
            bytes: Vec::new(),
            sequence,
        }
    }

    /// Writes one request: its family's header, then what `fill` adds. `NLM_F_REQUEST` is added to `flags`.
    ///
    /// # Panics
    /// When the message grows to 4 GiB, or an attribute to 64 KiB.
    pub fn message(
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
    #[must_use]
    pub fn finish(self) -> (Vec<u8>, u32) {
        (self.bytes, self.sequence)
    }
}

/// Attributes being written. All are padded to four bytes, so that a message is too.
#[derive(Debug)]
pub struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    /// Bytes as they are.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        let start = self.open(kind);
        self.bytes.extend(value);
        self.close(start);
    }

    /// A number in network order, as all of nf_tables' are.
    pub fn network_number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A number in the machine's own order, as all of rtnetlink's are.
    pub fn host_number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// A text, with the zero byte that ends it.
    pub fn text(&mut self, kind: u16, value: &str) {
        let start = self.open(kind);
        self.bytes.extend(value.as_bytes());
        self.bytes.push(0);
        self.close(start);
    }

    /// Attributes within one.
    pub fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.nested_after(kind, &[], fill);
    }

    /// A header of a multiple of four bytes and attributes after it, within one.
    pub fn nested_after(
        &mut self,
        kind: u16,
        header: &[u8],
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        debug_assert!(header.len().is_multiple_of(4), "attributes are aligned");
        let start = self.open(kind | NESTED);
        self.bytes.extend(header);
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
pub struct Message<'a> {
    /// Type, by its family.
    pub kind: u16,
    /// `NLM_F_*`
    pub flags: u16,
    /// That of the request it answers.
    pub sequence: u32,
    /// The family's header and the attributes after it.
    pub payload: &'a [u8],
}

impl Message<'_> {
    /// The error number an `NLMSG_ERROR` or `NLMSG_DONE` carries; 0 for success.
    #[must_use]
    pub fn error(&self) -> i32 {
        self.payload
            .first_chunk()
            .map_or(0, |code| i32::from_ne_bytes(*code).saturating_neg())
    }
}

/// The messages of a datagram; stops at the first that is not whole.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
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
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
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
#[must_use]
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

/// A number in network order.
#[must_use]
pub fn network_number(bytes: &[u8], kind: u16) -> Option<u32> {
    attribute(bytes, kind)?
        .try_into()
        .ok()
        .map(u32::from_be_bytes)
}

/// A number in the machine's own order.
#[must_use]
pub fn host_number(bytes: &[u8], kind: u16) -> Option<u32> {
    attribute(bytes, kind)?
        .try_into()
        .ok()
        .map(u32::from_ne_bytes)
}

/// A text without its final zero byte.
#[must_use]
pub fn text(bytes: &[u8], kind: u16) -> Option<&str> {
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
            attributes.nested(2, |inner| inner.network_number(3, 0x0102_0304));
            attributes.nested_after(4, &[9; 8], |inner| inner.host_number(5, 77));
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
            attribute(body, 2).and_then(|inner| network_number(inner, 3)),
            Some(0x0102_0304)
        );
        let (header, inner) = attribute(body, 4).unwrap_or_default().split_at(8);
        assert_eq!((header, host_number(inner, 5)), (&[9; 8][..], Some(77)));
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
