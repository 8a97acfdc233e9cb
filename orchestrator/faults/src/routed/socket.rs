//! A packet socket that hears every group-addressed IPv4 frame of a network namespace and sends frames as they are
//! (`linux/if_packet.h`).

#![expect(
    unsafe_code,
    reason = "packet sockets, their filter and sending many frames at once are bare system calls"
)]

use std::{
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use tokio::io::{Interest, unix::AsyncFd};

/// `PACKET_VNET_HDR`
const VNET_HEADER: libc::c_int = 15;
/// Longest frame: an IPv4 packet that is cut up late, its Ethernet header, and the kernel's header before both.
const LONGEST: usize = 64 * 1024 + 64;
/// Frames that wait to be looked at, in bytes; the kernel gives less where it must.
const BUFFER: libc::c_int = 8 * 1024 * 1024;
/// Copies handed to the kernel at one time.
const BATCH: usize = 64;

/// One frame, after the kernel's own header (`struct virtio_net_hdr`): it says which checksum the frame still lacks, and goes
/// out with it as it came in.
#[derive(Debug)]
pub(super) struct Frame {
    bytes: Box<[u8; LONGEST]>,
    length: usize,
}

impl Frame {
    pub(super) fn new() -> Self {
        Self {
            bytes: Box::new([0; LONGEST]),
            length: 0,
        }
    }
}

/// The socket.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Socket {
    /// Hears nothing before everything is set up: it is bound to a protocol last.
    pub(super) fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: takes numbers only; a descriptor that is not negative is new and nobody else's.
        let socket = unsafe {
            let number = libc::socket(libc::AF_PACKET, kind, 0);
            if number < 0 {
                return Err(io::Error::last_os_error());
            }
            Self(OwnedFd::from_raw_fd(number))
        };
        let mut program = filter();
        let program = libc::sock_fprog {
            len: u16::try_from(program.len()).expect("a filter of a few instructions"),
            filter: program.as_mut_ptr(),
        };
        socket.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
        socket.set(libc::SOL_PACKET, VNET_HEADER, &1_i32)?;
        for (option, forced) in [
            (libc::SO_RCVBUF, libc::SO_RCVBUFFORCE),
            (libc::SO_SNDBUF, libc::SO_SNDBUFFORCE),
        ] {
            if socket.set(libc::SOL_SOCKET, forced, &BUFFER).is_err() {
                socket.set(libc::SOL_SOCKET, option, &BUFFER)?;
            }
        }
        socket.bind()?;
        Ok(socket)
    }

    /// The socket as the runtime of the calling task watches it.
    pub(super) fn watched(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor is the socket's own, always the same, and open until the socket is dropped.
        let socket = unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) };
        Ok(socket?)
    }

    fn set<T>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
        let length = libc::socklen_t::try_from(size_of::<T>()).expect("options are small");
        // SAFETY: `value` is `length` bytes long and lives over the call, as does what it points at (a filter, on our stack).
        let failed = unsafe {
            libc::setsockopt(
                self.as_raw_fd(),
                level,
                option,
                ptr::from_ref(value).cast(),
                length,
            )
        };
        if failed == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// From now on hears IPv4 frames of every device.
    fn bind(&self) -> io::Result<()> {
        let everywhere = address(0);
        // SAFETY: the address is of the length given and lives over the call.
        let failed = unsafe {
            libc::bind(
                self.as_raw_fd(),
                ptr::from_ref(&everywhere).cast(),
                address_length(),
            )
        };
        if failed == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Takes the next frame; says by which device it came in.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    pub(super) fn receive(&self, frame: &mut Frame) -> io::Result<u32> {
        let mut from = address(0);
        let mut from_length = address_length();
        // SAFETY: buffer and address are as long as is said, and live over the call.
        let received = unsafe {
            libc::recvfrom(
                self.as_raw_fd(),
                frame.bytes.as_mut_ptr().cast(),
                frame.bytes.len(),
                0,
                ptr::from_mut(&mut from).cast(),
                &raw mut from_length,
            )
        };
        frame.length = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        Ok(from.sll_ifindex.cast_unsigned())
    }

    /// Sends a frame by each of these devices. A copy that a device does not take is lost, as frames are.
    pub(super) fn send(&self, frame: &Frame, devices: &[u32]) {
        for devices in devices.chunks(BATCH) {
            let mut addresses: Vec<_> = devices.iter().map(|device| address(*device)).collect();
            let mut part = libc::iovec {
                iov_base: frame.bytes.as_ptr().cast_mut().cast(),
                iov_len: frame.length,
            };
            let mut copies: Vec<_> = addresses
                .iter_mut()
                .map(|to| message(to, &mut part))
                .collect();
            let mut rest = &mut copies[..];
            while let Some(count) = std::num::NonZero::new(rest.len()) {
                // SAFETY: `rest` is `count` messages, whose addresses and one buffer live in this block and are only read.
                let sent = unsafe {
                    libc::sendmmsg(
                        self.as_raw_fd(),
                        rest.as_mut_ptr(),
                        libc::c_uint::try_from(count.get()).expect("at most a batch"),
                        0,
                    )
                };
                // Nothing sent means that the first was refused: its device is gone or full.
                let done = usize::try_from(sent).unwrap_or(0).max(1);
                rest = &mut rest[done..];
            }
        }
    }
}

/// Accepts broadcast and multicast, nothing else.
fn filter() -> [libc::sock_filter; 5] {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let instruction = |code: u32, jt, jf, k| libc::sock_filter {
        code: u16::try_from(code).expect("codes of classic filters have 16 bits"),
        jt,
        jf,
        k,
    };
    // `SKF_AD_OFF + SKF_AD_PKTTYPE`
    let packet_type = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE).cast_unsigned();
    [
        instruction(LOAD, 0, 0, packet_type),
        instruction(EQUAL, 1, 0, libc::PACKET_BROADCAST.into()),
        instruction(EQUAL, 0, 1, libc::PACKET_MULTICAST.into()),
        instruction(RETURN, 0, 0, u32::MAX),
        instruction(RETURN, 0, 0, 0),
    ]
}

/// IPv4 on a device; 0 is all of them.
fn address(device: u32) -> libc::sockaddr_ll {
    // SAFETY: a struct of numbers.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).expect("address families are small");
    address.sll_protocol = u16::try_from(libc::ETH_P_IP)
        .expect("ethertypes have 16 bits")
        .to_be();
    address.sll_ifindex = device.cast_signed();
    address
}

fn address_length() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).expect("addresses are small")
}

/// One copy for `to`; valid as long as what it is made of.
fn message(to: &mut libc::sockaddr_ll, part: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: a struct of numbers and pointers that may be null.
    let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
    message.msg_hdr.msg_name = ptr::from_mut(to).cast();
    message.msg_hdr.msg_namelen = address_length();
    message.msg_hdr.msg_iov = ptr::from_mut(part);
    message.msg_hdr.msg_iovlen = 1;
    message
}
