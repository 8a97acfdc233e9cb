//! Logs on stdout that never hold the node up.
//!
//! A line is written only when stdout can take it at once; else it is dropped and counted, and the count is the next
//! thing that is written. No thread and no buffer: what is written is out, whatever happens to the node.

use std::{
    io::{self, Write},
    os::fd::AsFd,
    sync::atomic::{AtomicU64, Ordering},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing_subscriber::{
    filter::Targets, fmt::MakeWriter, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// Environment variable that says what is logged, e.g. `debug` or `netsplit_node=debug,netsplit_core=trace`.
pub const LOG_ENV: &str = "NETSPLIT_LOG";

/// A pipe that polls as writable takes at least this much (`PIPE_BUF`, pipe(7)); longer lines are cut.
const MAX_LINE: usize = 4096;

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Sends the process's logs to stdout; does nothing if logs already go somewhere.
pub fn start() {
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(Stdout);
    // Fails only when a subscriber is already there, which then gets the logs.
    let _ = tracing_subscriber::registry()
        .with(lines)
        .with(wanted(std::env::var(LOG_ENV).ok().as_deref()))
        .try_init();
}

/// What is logged; what makes no sense is as if it were not said. Targets with levels and no more: every node of a testnet
/// would pay for the regular expressions of a richer language with memory.
fn wanted(said: Option<&str>) -> Targets {
    let usual = Targets::new().with_default(tracing::Level::INFO);
    said.and_then(|said| said.parse().ok()).unwrap_or(usual)
}

/// Lines that were dropped since the start because stdout could not take them.
pub(crate) fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

#[derive(Debug)]
struct Stdout;

impl<'a> MakeWriter<'a> for Stdout {
    type Writer = Lines<io::Stdout>;

    fn make_writer(&'a self) -> Self::Writer {
        Lines {
            out: io::stdout(),
            reported: &REPORTED,
            dropped: &DROPPED,
        }
    }
}

/// How many of the dropped lines have been told of.
static REPORTED: AtomicU64 = AtomicU64::new(0);

/// Writes whole lines, or nothing.
#[derive(Debug)]
struct Lines<W> {
    out: W,
    dropped: &'static AtomicU64,
    reported: &'static AtomicU64,
}

impl<W: Write + AsFd> Lines<W> {
    fn is_ready(&self) -> bool {
        let mut fds = [PollFd::new(self.out.as_fd(), PollFlags::POLLOUT)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
            && fds[0]
                .revents()
                .is_some_and(|found| found.contains(PollFlags::POLLOUT))
    }

    fn report_dropped(&mut self) -> io::Result<()> {
        let dropped = self.dropped.load(Ordering::Relaxed);
        let reported = self.reported.swap(dropped, Ordering::Relaxed);
        if dropped > reported {
            self.out
                .write_all(format!("{} log lines dropped\n", dropped - reported).as_bytes())?;
            self.out.flush()?;
        }
        Ok(())
    }
}

impl<W: Write + AsFd> Write for Lines<W> {
    /// Called once for each line (`tracing_subscriber::fmt` formats a line before it writes).
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.is_ready() {
            self.report_dropped()?;
        }
        if self.is_ready() {
            self.out.write_all(cut(line).as_ref())?;
            self.out.flush()?;
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn cut(line: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    if line.len() <= MAX_LINE {
        return line.into();
    }
    let mut short = line[..MAX_LINE - 1].to_vec();
    short.push(b'\n');
    short.into()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::io::Read as _;

    use super::*;

    fn fill(lines: &mut Lines<io::PipeWriter>, dropped: u64) {
        for _ in 0..10_000 {
            lines.write_all(&[b'x'; 5000]).unwrap();
            if lines.dropped.load(Ordering::Relaxed) >= dropped {
                return;
            }
        }
        panic!("the pipe never filled up");
    }

    #[test]
    fn what_is_logged_can_be_chosen_by_target_and_level() {
        use tracing::Level;
        let usual = wanted(None);
        assert!(usual.would_enable("netsplit_node", &Level::INFO));
        assert!(!usual.would_enable("netsplit_node", &Level::DEBUG));
        assert!(wanted(Some("debug")).would_enable("netsplit_core", &Level::DEBUG));
        let one = wanted(Some("warn,netsplit_core=trace"));
        assert!(one.would_enable("netsplit_core::node", &Level::TRACE));
        assert!(!one.would_enable("netsplit_node", &Level::INFO));
        assert_eq!(wanted(Some("a=b=c")), usual, "no sense");
    }

    #[test]
    fn a_full_pipe_drops_and_counts_lines() {
        static DROPPED: AtomicU64 = AtomicU64::new(0);
        static REPORTED: AtomicU64 = AtomicU64::new(0);
        let (mut reader, out) = io::pipe().unwrap();
        let mut lines = Lines {
            out,
            dropped: &DROPPED,
            reported: &REPORTED,
        };
        fill(&mut lines, 3);
        let mut taken = vec![0; 16 * MAX_LINE];
        reader.read_exact(&mut taken).unwrap();
        assert!(taken.chunks(MAX_LINE).all(|line| line.ends_with(b"x\n")));
        lines.write_all(b"after\n").unwrap();
        drop(lines);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "3 log lines dropped\nafter\n");
    }
}
