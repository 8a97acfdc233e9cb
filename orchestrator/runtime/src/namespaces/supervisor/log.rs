//! Nodes' logs: what their processes write is appended to a file, which is kept from growing without bound.
//!
//! Processes hold their log open, so it cannot be renamed under them: what is in it is copied away and the file emptied.
//! What is written between the two is lost.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
    time::Duration,
};

use crate::namespaces::protocol::{LOG, NODES};

/// A log longer than this is emptied, in bytes.
const LIMIT: u64 = 16 << 20;
/// Its content until then, beside it; that of the time before is gone.
const OLD: &str = "log.old";
/// How often lengths are looked at.
const PERIOD: Duration = Duration::from_secs(10);

/// What the supervisor itself has to say goes to standard error, which the maker made a file.
pub(super) fn to_stderr() {
    let subscriber = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO);
    // Whoever set one before knows better.
    let _ = subscriber.try_init();
}

/// Watches over the logs of the run whose directory is the current one.
pub(super) async fn watch() -> io::Result<()> {
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        ticks.tick().await;
        let looked = tokio::task::spawn_blocking(|| shorten_all(Path::new(NODES), LIMIT)).await;
        if let Ok(Err(error)) = looked {
            tracing::warn!(%error, "the nodes' logs could not be shortened");
        }
    }
}

/// Empties every log below `nodes` that is longer than `limit`.
fn shorten_all(nodes: &Path, limit: u64) -> io::Result<()> {
    for node in fs::read_dir(nodes)? {
        let directory = node?.path();
        let log = directory.join(LOG);
        // A node that was just made has none yet.
        if fs::metadata(&log).is_ok_and(|log| log.len() > limit) {
            shorten(&log, &directory.join(OLD))?;
        }
    }
    Ok(())
}

fn shorten(log: &Path, old: &Path) -> io::Result<()> {
    fs::copy(log, old)?;
    let file: File = OpenOptions::new().write(true).open(log)?;
    file.set_len(0)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_long_log_goes_on_empty_and_a_short_one_stays() {
        let nodes = tempfile::tempdir().unwrap();
        let open = |node: &str| {
            fs::create_dir(nodes.path().join(node)).unwrap();
            let log = nodes.path().join(node).join(LOG);
            OpenOptions::new()
                .append(true)
                .create(true)
                .open(log)
                .unwrap()
        };
        let read = |file: &str| fs::read_to_string(nodes.path().join(file)).unwrap();
        let (mut long, mut short) = (open("a"), open("b"));
        fs::create_dir(nodes.path().join("without")).unwrap();
        long.write_all(b"0123456789").unwrap();
        short.write_all(b"01234").unwrap();
        shorten_all(nodes.path(), 5).unwrap();
        long.write_all(b"next").unwrap();
        assert_eq!(read("a/log"), "next");
        assert_eq!(read("a/log.old"), "0123456789");
        assert_eq!(read("b/log"), "01234");
        assert!(!nodes.path().join("b/log.old").exists());
    }
}
