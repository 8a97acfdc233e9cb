//! Broadcast and multicast between the nodes of a routing namespace, as on one Ethernet segment.
//!
//! Every group-addressed IPv4 frame that a node sends is sent again, unchanged, by the device of each other node that takes
//! part and that no cut in force separates from the sender. Nothing is decided by chance and nothing is kept.

use std::{convert::Infallible, io};

use super::{
    segment::Segment,
    socket::{Frame, Socket},
};

/// The relay of one routing namespace.
#[derive(Debug)]
pub struct Relay {
    socket: Socket,
    segment: Segment,
}

impl Relay {
    /// A relay in the network namespace of the calling thread. Nothing is relayed before [`run`](Self::run).
    ///
    /// # Errors
    /// When the kernel gives no packet socket: that needs `CAP_NET_RAW` and `CONFIG_PACKET`.
    pub fn open(segment: Segment) -> io::Result<Self> {
        let socket = Socket::open()?;
        Ok(Self { socket, segment })
    }

    /// Relays until the socket breaks or the future is dropped. Must be awaited in a runtime with I/O enabled: it looks at one
    /// frame at a time, and lets other tasks go on between two frames.
    ///
    /// # Errors
    /// Always, in the end: why nothing more can be received.
    pub async fn run(self) -> io::Result<Infallible> {
        let Self { socket, segment } = self;
        let socket = socket.watched()?;
        let mut frame = Frame::new();
        let mut devices = Vec::new();
        loop {
            let mut ready = socket.readable().await?;
            let Ok(received) = ready.try_io(|socket| socket.get_ref().receive(&mut frame)) else {
                continue;
            };
            let from = received?;
            {
                // Held while the copies leave: whoever changed the policy can rely on it from then on.
                let mut switchboard = segment.lock();
                switchboard.receivers(from, &mut devices);
                socket.get_ref().send(&frame, &devices);
            }
            tokio::task::yield_now().await;
        }
    }
}
