//! What the control API may know of peers and addresses: plain values, read at any time.

use std::{net::SocketAddr, time::Duration};

use crate::{
    io::ConnId,
    time::{Instant, WallTime},
};

/// A peer whose handshake is complete, as `getpeerinfo` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Number of the connection in events and in `getpeerinfo`: small, counts up, never reused.
    pub id: u64,
    /// The connection in inputs and outputs.
    pub conn: ConnId,
    /// The other side's address as the socket shows it.
    pub address: SocketAddr,
    /// Where the peer says it listens, if it says so believably.
    pub listens_at: Option<SocketAddr>,
    /// Whether the peer dialled us.
    pub inbound: bool,
    /// Whether `addnode` asked for it.
    pub manual: bool,
    /// Service bits (BIP14, BIP144, BIP159).
    pub services: u64,
    /// Protocol version.
    pub version: u32,
    /// User agent (BIP14).
    pub user_agent: String,
    /// Height in its `version` message.
    pub start_height: i32,
    /// Whether it wants transactions announced (BIP37).
    pub relay: bool,
    /// Its clock minus ours in seconds, at the handshake.
    pub time_offset: i64,
    /// When the connection began.
    pub connected_at: Instant,
    /// When the connection began, by the wall clock.
    pub connected_wall: WallTime,
    /// When we last sent it something.
    pub last_send: Option<WallTime>,
    /// When it last sent us something.
    pub last_received: Option<WallTime>,
    /// When it last sent us a block that was new.
    pub last_block: Option<WallTime>,
    /// When it last sent us a transaction that was new.
    pub last_transaction: Option<WallTime>,
    /// Bytes sent to it.
    pub bytes_sent: u64,
    /// Bytes received from it.
    pub bytes_received: u64,
    /// Round-trip time of the last answered ping.
    pub ping: Option<Duration>,
    /// Shortest round-trip time so far.
    pub min_ping: Option<Duration>,
    /// Height of the best header it is known to have.
    pub synced_headers: Option<u32>,
    /// Blocks asked of it and not yet received.
    pub blocks_in_flight: u32,
}

/// An address another node may listen at, as `getnodeaddresses` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressInfo {
    /// Where.
    pub address: SocketAddr,
    /// Service bits it is said to offer.
    pub services: u64,
    /// When it was last seen or said to be, in seconds since the epoch.
    pub last_seen: u32,
    /// When a handshake with it last succeeded, in seconds since the epoch.
    pub last_success: Option<u32>,
    /// Failed attempts since the last success.
    pub failures: u32,
}
