//! A conversation with the kernel over netlink.

use std::io;

use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};

use super::wire::{self, DONE, DUMP, DUMP_INTERRUPTED, ERROR, Message, Writer};

/// The kernel hands out dumps in pieces of at most this size (`NLMSG_GOODSIZE` and the receiver's own buffer).
const RECEIVE: usize = 256 * 1024;
/// A dump that other changes keep interrupting is tried this often.
const TRIES: u32 = 16;
/// Room for the batch of a table with some hundred thousand addresses.
const BUFFER: usize = 32 * 1024 * 1024;

/// `NETLINK_ROUTE`: devices, addresses, routes, neighbours.
pub const NETLINK_ROUTE: isize = 0;
/// `NETLINK_NETFILTER`: firewall tables.
pub const NETLINK_NETFILTER: isize = 12;

/// One netlink socket, of the network namespace it was opened in. Firewall tables with the owner flag live as long as it does.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// A socket of a netlink family (`NETLINK_*`), in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the kernel has no such family, or no more sockets.
    pub fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Without the right to force the sizes they are cut to what the machine allows anyone (`net.core.wmem_max`); a batch
        // that is longer is refused with EMSGSIZE.
        if setsockopt(&socket, sockopt::SndBufForce, &BUFFER).is_err() {
            setsockopt(&socket, sockopt::SndBuf, &BUFFER)?;
        }
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &BUFFER)?;
        }
        socket.set_cap_ack(true)?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: Vec::with_capacity(RECEIVE),
        })
    }

    /// Sequence number of the last message sent: where a [`Writer`] goes on.
    #[must_use]
    pub const fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Sends messages that a [`Writer`] finished, and collects the kernel's verdict, which it gives before `send` returns. The
    /// last message must ask for an acknowledgement ([`wire::ACK`]).
    ///
    /// # Errors
    /// The first error the kernel reports. Between `NFNL_MSG_BATCH_BEGIN` and `_END` nothing has changed then; otherwise
    /// every message was tried on its own.
    pub fn commit(&mut self, (batch, last): (Vec<u8>, u32)) -> io::Result<()> {
        self.drain()?;
        self.sequence = last;
        self.send(&batch)?;
        let mut verdict = None;
        while self.receive(libc::MSG_DONTWAIT)? {
            for message in wire::messages(&self.buffer).filter(|message| message.kind == ERROR) {
                verdict = match (verdict, message.error()) {
                    (None | Some(0), code) => Some(code),
                    (first, _) => first,
                };
            }
        }
        match verdict {
            Some(0) => Ok(()),
            Some(code) => Err(io::Error::from_raw_os_error(code)),
            None => Err(io::Error::other("the kernel did not answer a batch")),
        }
    }

    /// Asks for everything of a kind with one message: `header`, then what `fill` adds. `each` gets what came.
    ///
    /// # Errors
    /// When the kernel refuses, or its tables keep changing while they are read.
    pub fn dump(
        &mut self,
        kind: u16,
        header: &[u8],
        fill: impl Fn(&mut wire::Attributes<'_>),
        mut each: impl FnMut(Message<'_>),
    ) -> io::Result<()> {
        let mut found = Vec::new();
        for _ in 0..TRIES {
            found.clear();
            if self.dump_once(kind, header, &fill, &mut found)? {
                for bytes in &found {
                    wire::messages(bytes).for_each(&mut each);
                }
                return Ok(());
            }
        }
        Err(io::Error::other(
            "the kernel's tables did not hold still to be read",
        ))
    }

    /// False when the dump was interrupted by a change.
    fn dump_once(
        &mut self,
        kind: u16,
        header: &[u8],
        fill: impl Fn(&mut wire::Attributes<'_>),
        found: &mut Vec<Vec<u8>>,
    ) -> io::Result<bool> {
        self.drain()?;
        let mut writer = Writer::new(self.sequence);
        writer.message(kind, DUMP, header, fill);
        let (bytes, sequence) = writer.finish();
        self.sequence = sequence;
        self.send(&bytes)?;
        let mut whole = true;
        loop {
            self.receive(0)?;
            let mut end = None;
            for message in wire::messages(&self.buffer).filter(|m| m.sequence == sequence) {
                whole &= message.flags & DUMP_INTERRUPTED == 0;
                if matches!(message.kind, DONE | ERROR) {
                    end = Some(message.error());
                }
            }
            // Newer kernels send the end together with the last entries.
            found.push(self.buffer.clone());
            match end {
                None => {}
                Some(0) => return Ok(whole),
                Some(code) => return Err(io::Error::from_raw_os_error(code)),
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let sent = self.socket.send(bytes, 0)?;
        if sent == bytes.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    /// Throws away answers to what was asked before.
    fn drain(&mut self) -> io::Result<()> {
        while self.receive(libc::MSG_DONTWAIT)? {}
        Ok(())
    }

    /// Reads one datagram; false when there is none.
    fn receive(&mut self, flags: libc::c_int) -> io::Result<bool> {
        loop {
            self.buffer.clear();
            return match self.socket.recv(&mut self.buffer, flags) {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                // More refusals than the buffer holds: the first of them are in it and say enough.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => continue,
                Err(error) => Err(error),
            };
        }
    }
}
