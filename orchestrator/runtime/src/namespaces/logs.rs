//! Nodes' logs: files that their processes append to, and that the supervisor empties when they grow too long.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::Path,
};

use nix::{
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
    unistd,
};
use tokio::{io::unix::AsyncFd, sync::mpsc};

use super::readable::watched;

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;

/// The last `count` lines, oldest first.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn last(path: &Path, count: usize) -> io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let end = file.seek(SeekFrom::End(0))?;
    let mut start = end;
    let mut pieces = VecDeque::new();
    let mut ends = 0;
    // The last line's own end does not separate it from another.
    while start > 0 && ends <= count {
        let length = start.min(PIECE as u64);
        start -= length;
        let mut piece = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.by_ref().take(length).read_to_end(&mut piece)?;
        ends += piece.iter().filter(|byte| **byte == b'\n').count();
        pieces.push_front(piece);
    }
    let tail = Vec::from(pieces).concat();
    let text = String::from_utf8_lossy(&tail);
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(count);
    Ok(lines[first..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect())
}

/// A log that is read as it grows.
#[derive(Debug)]
pub(super) struct Follower {
    file: File,
    at: u64,
    /// The beginning of a line that has no end yet.
    begun: Vec<u8>,
    changes: AsyncFd<OwnedFd>,
}

impl Follower {
    /// Follows the log from its present end.
    ///
    /// # Errors
    /// When it cannot be read or watched.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        inotify.add_watch(path, AddWatchFlags::IN_MODIFY)?;
        let file = File::open(path)?;
        Ok(Self {
            at: file.metadata()?.len(),
            file,
            begun: Vec::new(),
            changes: watched(inotify.into())?,
        })
    }

    /// Sends new lines until nobody listens any more, or until `end`, and then those that are there.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(super) async fn follow(
        mut self,
        end: impl Future<Output = ()>,
        lines: &mpsc::Sender<String>,
    ) -> io::Result<()> {
        let mut end = std::pin::pin!(end);
        loop {
            let ended = tokio::select! {
                changed = self.changed() => { changed?; false }
                () = lines.closed() => return Ok(()),
                () = &mut end => true,
            };
            if !self.send_new(lines).await? || ended {
                return Ok(());
            }
        }
    }

    /// Returns when the log was written to since the last time. How often does not matter.
    async fn changed(&self) -> io::Result<()> {
        let mut events = [0; 4096];
        loop {
            let mut ready = self.changes.readable().await?;
            let read = ready.try_io(|changes| Ok(unistd::read(changes, &mut events)?));
            if let Ok(read) = read {
                return read.map(|_| ());
            }
        }
    }

    /// Sends what is new; `false` when nobody listens any more.
    async fn send_new(&mut self, lines: &mpsc::Sender<String>) -> io::Result<bool> {
        if self.file.metadata()?.len() < self.at {
            // It was emptied.
            self.at = 0;
            self.begun.clear();
        }
        let mut piece = vec![0; PIECE];
        loop {
            let length = self.file.read_at(&mut piece, self.at)?;
            if length == 0 {
                return Ok(true);
            }
            self.at += length as u64;
            self.begun.extend_from_slice(&piece[..length]);
            while let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
                let line = self.begun.drain(..=end).collect::<Vec<u8>>();
                let line = String::from_utf8_lossy(&line[..end]).into_owned();
                if lines.send(line).await.is_err() {
                    return Ok(false);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{fs::OpenOptions, io::Write, path::PathBuf};

    use tokio::sync::oneshot;

    use super::*;

    fn log(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, text).unwrap();
        (directory, path)
    }

    fn append(path: &Path, text: &str) {
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn the_last_lines_are_the_last_ones_whatever_ends_them() {
        for (text, count, expected) in [
            ("", 3, &[][..]),
            ("a", 3, &["a"]),
            ("a\nb\n", 1, &["b"]),
            ("a\nb", 1, &["b"]),
            ("a\n\nb\n", 2, &["", "b"]),
            ("a\nb\nc\n", 9, &["a", "b", "c"]),
            ("a\n", 0, &[]),
        ] {
            let (_directory, path) = log(text);
            assert_eq!(last(&path, count).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn lines_longer_than_a_piece_come_out_whole() {
        let long = "x".repeat(3 * PIECE + 7);
        let (_directory, path) = log(&format!("a\n{long}\nb\n"));
        assert_eq!(last(&path, 2).unwrap(), [long, "b".to_owned()]);
    }

    #[tokio::test]
    async fn new_lines_are_told_until_the_end_and_across_an_emptied_log() {
        let (_directory, path) = log("old\n");
        let follower = Follower::open(&path).unwrap();
        let (sender, mut lines) = mpsc::channel(10);
        let (end, ended) = oneshot::channel::<()>();
        let following =
            tokio::spawn(
                async move { follower.follow(async { drop(ended.await) }, &sender).await },
            );
        append(&path, "one\ntw");
        assert_eq!(lines.recv().await.unwrap(), "one");
        append(&path, "o\n");
        assert_eq!(lines.recv().await.unwrap(), "two");
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(0)
            .unwrap();
        append(&path, "x\n");
        assert_eq!(lines.recv().await.unwrap(), "x");
        append(&path, "last\n");
        end.send(()).unwrap();
        assert_eq!(lines.recv().await.unwrap(), "last");
        assert!(lines.recv().await.is_none());
        following.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn nobody_is_followed_for_nobody() {
        let (_directory, path) = log("");
        let follower = Follower::open(&path).unwrap();
        let (sender, lines) = mpsc::channel(1);
        drop(lines);
        follower
            .follow(std::future::pending(), &sender)
            .await
            .unwrap();
    }
}
