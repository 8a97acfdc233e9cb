//! Bitcoin's message framing: bytes in any cut to messages, messages to bytes.
//!
//! Knows nothing of what messages mean. A message is refused as soon as its 24-byte header shows that it cannot be
//! taken: wrong magic is seen at the first wrong byte, and nothing is allocated for an announced length.

use bitcoin::{
    consensus::{deserialize, deserialize_partial, encode, serialize},
    hashes::{Hash as _, sha256d},
    p2p::{
        Magic,
        message::{NetworkMessage, RawNetworkMessage},
    },
};

/// Longest payload taken, in bytes (Bitcoin Core's `MAX_PROTOCOL_MESSAGE_LENGTH`).
pub const MAX_PAYLOAD: usize = 4_000_000;
/// Magic, command, length, checksum.
const HEADER: usize = 24;
/// A buffer that grew beyond this for one large message is given back after it.
const BUFFER_KEPT: usize = 16 * 1024;

/// Why a stream of bytes is no conversation.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The bytes belong to another network or another protocol.
    #[error("wrong magic")]
    Magic,
    /// The header announces more than may come: [`MAX_PAYLOAD`], or less from one who is no peer yet.
    #[error("message of {0} bytes is oversized")]
    Oversized(usize),
    /// The payload is not the one the header speaks of.
    #[error("wrong checksum of `{0}`")]
    Checksum(String),
    /// The payload is not what its command says.
    #[error("malformed `{command}`")]
    Malformed {
        /// The message's command.
        command: String,
        /// What is wrong with it.
        #[source]
        source: encode::Error,
    },
}

/// One direction of one connection: takes bytes, gives messages.
#[derive(Debug)]
pub struct Decoder {
    magic: Magic,
    buffer: Vec<u8>,
    /// Bytes at the front of `buffer` that have been used.
    used: usize,
}

impl Decoder {
    /// A decoder at the start of a connection.
    #[must_use]
    pub const fn new(magic: Magic) -> Self {
        Self {
            magic,
            buffer: Vec::new(),
            used: 0,
        }
    }

    /// Takes what arrived. At most one unfinished message and the last chunk are kept.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes waiting for the rest of their message.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.used
    }

    /// The next whole message, `None` if more bytes are needed for it.
    ///
    /// # Errors
    /// When the bytes cannot become a message; the connection is of no use any more.
    pub fn next_message(&mut self) -> Result<Option<NetworkMessage>, WireError> {
        self.next_message_within(MAX_PAYLOAD)
    }

    /// As [`next_message`](Self::next_message), if its payload has at most `limit` bytes.
    ///
    /// # Errors
    /// As those of [`next_message`](Self::next_message).
    pub(crate) fn next_message_within(
        &mut self,
        limit: usize,
    ) -> Result<Option<NetworkMessage>, WireError> {
        let waiting = &self.buffer[self.used..];
        let magic = self.magic.to_bytes();
        let seen = waiting.len().min(magic.len());
        if waiting[..seen] != magic[..seen] {
            return Err(WireError::Magic);
        }
        if waiting.len() < HEADER {
            self.give_back();
            return Ok(None);
        }
        let length = payload_length(waiting);
        if length > limit {
            return Err(WireError::Oversized(length));
        }
        let Some(frame) = waiting.get(..HEADER + length) else {
            self.give_back();
            return Ok(None);
        };
        let message = decode(frame)?;
        self.used += HEADER + length;
        Ok(Some(message))
    }

    /// Forgets used bytes, and the room that a large message took.
    fn give_back(&mut self) {
        self.buffer.drain(..self.used);
        self.used = 0;
        if self.buffer.len() < BUFFER_KEPT {
            self.buffer.shrink_to(BUFFER_KEPT);
        }
    }
}

/// `message` as it goes over the wire.
#[must_use]
pub fn encode(magic: Magic, message: NetworkMessage) -> Vec<u8> {
    serialize(&RawNetworkMessage::new(magic, message))
}

/// The frame of a `block` message around a block that is already serialised.
#[must_use]
pub fn encode_block(magic: Magic, block: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + block.len());
    frame.extend_from_slice(&magic.to_bytes());
    frame.extend_from_slice(b"block\0\0\0\0\0\0\0");
    let length = u32::try_from(block.len()).expect("a stored block is below 4 MB");
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&sha256d::Hash::hash(block).as_byte_array()[..4]);
    frame.extend_from_slice(block);
    frame
}

fn payload_length(header: &[u8]) -> usize {
    let bytes = header[16..20]
        .try_into()
        .expect("header is 24 bytes, checked above");
    usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX)
}

fn command(frame: &[u8]) -> String {
    let name: Vec<u8> = frame[4..16]
        .iter()
        .copied()
        .take_while(|byte| *byte != 0)
        .collect();
    String::from_utf8_lossy(&name).escape_debug().to_string()
}

fn decode(frame: &[u8]) -> Result<NetworkMessage, WireError> {
    if frame[4..16] == *b"version\0\0\0\0\0" {
        return decode_version(frame);
    }
    match deserialize::<RawNetworkMessage>(frame) {
        Ok(raw) => Ok(raw.into_payload()),
        Err(encode::Error::InvalidChecksum { .. }) => Err(WireError::Checksum(command(frame))),
        Err(source) => Err(WireError::Malformed {
            command: command(frame),
            source,
        }),
    }
}

/// `version` before 70001 ends without the relay byte, and later versions may be longer (BIP37).
fn decode_version(frame: &[u8]) -> Result<NetworkMessage, WireError> {
    let (header, payload) = frame.split_at(HEADER);
    if sha256d::Hash::hash(payload).as_byte_array()[..4] != header[20..24] {
        return Err(WireError::Checksum("version".to_owned()));
    }
    let relayed = [payload, &[1]].concat();
    match deserialize_partial(&relayed) {
        Ok((version, _)) => Ok(NetworkMessage::Version(version)),
        Err(source) => Err(WireError::Malformed {
            command: "version".to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use bitcoin::p2p::message_blockdata::Inventory;
    use proptest::prelude::*;

    use super::*;

    fn conversation() -> Vec<NetworkMessage> {
        let block = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
        vec![
            NetworkMessage::Verack,
            NetworkMessage::Ping(7),
            NetworkMessage::Inv(vec![Inventory::Block(block.block_hash())]),
            NetworkMessage::Block(block),
        ]
    }

    fn bytes_of(messages: &[NetworkMessage]) -> Vec<u8> {
        messages
            .iter()
            .flat_map(|message| encode(Magic::REGTEST, message.clone()))
            .collect()
    }

    proptest! {
        #[test]
        fn a_conversation_survives_any_cut(cuts in prop::collection::vec(1_usize..120, 1..40)) {
            let bytes = bytes_of(&conversation());
            let mut decoder = Decoder::new(Magic::REGTEST);
            let mut heard = Vec::new();
            let (mut at, mut cuts) = (0, cuts.iter().cycle());
            while at < bytes.len() {
                let end = (at + cuts.next().unwrap()).min(bytes.len());
                decoder.push(&bytes[at..end]);
                while let Some(message) = decoder.next_message().unwrap() {
                    heard.push(message);
                }
                at = end;
            }
            prop_assert_eq!(heard, conversation());
            prop_assert_eq!(decoder.buffered(), 0);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::new(Magic::REGTEST);
            decoder.push(&Magic::REGTEST.to_bytes());
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next_message() {}
        }
    }

    #[test]
    fn the_first_wrong_byte_of_the_magic_is_enough() {
        let mut decoder = Decoder::new(Magic::REGTEST);
        decoder.push(&Magic::BITCOIN.to_bytes()[..1]);
        assert!(matches!(decoder.next_message(), Err(WireError::Magic)));
    }

    #[test]
    fn an_oversized_message_is_refused_before_its_body_arrives() {
        let mut header = Magic::REGTEST.to_bytes().to_vec();
        header.extend_from_slice(b"block\0\0\0\0\0\0\0");
        header.extend_from_slice(&4_000_001_u32.to_le_bytes());
        header.extend_from_slice(&[0; 4]);
        let mut decoder = Decoder::new(Magic::REGTEST);
        decoder.push(&header);
        assert!(matches!(
            decoder.next_message(),
            Err(WireError::Oversized(4_000_001))
        ));
        assert!(
            decoder.buffer.capacity() < 1000,
            "nothing was allocated for it"
        );
    }

    #[test]
    fn a_wrong_checksum_is_refused() {
        for message in conversation() {
            let mut bytes = encode(Magic::REGTEST, message);
            bytes[20] ^= 1;
            let mut decoder = Decoder::new(Magic::REGTEST);
            decoder.push(&bytes);
            assert!(matches!(
                decoder.next_message(),
                Err(WireError::Checksum(_))
            ));
        }
    }

    #[test]
    fn a_framed_block_is_a_block_message() {
        let block = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
        let framed = encode_block(Magic::REGTEST, &serialize(&block));
        assert_eq!(framed, encode(Magic::REGTEST, NetworkMessage::Block(block)));
    }
}
