//! A container's stdin and stdout as byte streams.
//!
//! The engine multiplexes stdout and stderr into frames. Stdout is what is read here; the last lines of stderr are kept
//! for whoever has to explain why the stream ended.

use std::{
    collections::VecDeque,
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt, stream::BoxStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Lines of stderr kept.
const LAST_WORDS: usize = 20;

/// One piece of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout(Bytes),
    Stderr(Bytes),
}

/// Both directions of a process.
pub(crate) struct Pipe {
    pub(crate) reader: Box<dyn AsyncRead + Send + Unpin>,
    pub(crate) writer: Pin<Box<dyn AsyncWrite + Send>>,
    pub(crate) last_words: LastWords,
}

impl Pipe {
    /// From the engine's frames and the stream that takes input.
    pub(crate) fn new(
        output: impl Stream<Item = io::Result<Output>> + Send + 'static,
        writer: Pin<Box<dyn AsyncWrite + Send>>,
    ) -> Self {
        let last_words = LastWords::default();
        let reader = Demultiplexer {
            output: output.boxed(),
            rest: Bytes::new(),
            stderr: last_words.clone(),
        };
        Self {
            reader: Box::new(reader),
            writer,
            last_words,
        }
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe")
            .field("last_words", &self.last_words)
            .finish_non_exhaustive()
    }
}

/// The last lines a process wrote to its stderr.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastWords(Arc<Mutex<VecDeque<String>>>);

impl LastWords {
    fn hear(&self, bytes: &[u8]) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for line in String::from_utf8_lossy(bytes).lines() {
            tracing::debug!(target: "netsplit::container", "{line}");
            lines.push_back(line.to_owned());
        }
        let surplus = lines.len().saturating_sub(LAST_WORDS);
        lines.drain(..surplus);
    }

    /// The lines, oldest first.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }
}

struct Demultiplexer {
    output: BoxStream<'static, io::Result<Output>>,
    rest: Bytes,
    stderr: LastWords,
}

impl AsyncRead for Demultiplexer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.output.poll_next_unpin(context)) {
                Some(Ok(Output::Stdout(bytes))) => self.rest = bytes,
                Some(Ok(Output::Stderr(bytes))) => self.stderr.hear(&bytes),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..length]);
        self.rest.advance(length);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use futures_util::stream;
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn stdout_comes_out_whole_and_stderr_beside_it() {
        let out = |text: &'static str| Ok(Output::Stdout(Bytes::from_static(text.as_bytes())));
        let err = |text: &'static str| Ok(Output::Stderr(Bytes::from_static(text.as_bytes())));
        let output = stream::iter([
            out("ab"),
            err("one\ntwo\n"),
            out(""),
            out("cdef"),
            err("three"),
        ]);
        let mut pipe = Pipe::new(output, Box::pin(tokio::io::sink()));
        let mut three = [0; 3];
        pipe.reader.read_exact(&mut three).await.unwrap();
        let mut rest = String::new();
        pipe.reader.read_to_string(&mut rest).await.unwrap();
        assert_eq!((&three[..], rest.as_str()), (&b"abc"[..], "def"));
        assert_eq!(pipe.last_words.lines(), ["one", "two", "three"]);
    }

    #[tokio::test]
    async fn only_the_last_words_are_kept() {
        let words = LastWords::default();
        for number in 0..100 {
            words.hear(format!("line {number}\n").as_bytes());
        }
        let lines = words.lines();
        assert_eq!((lines.len(), lines[0].as_str()), (LAST_WORDS, "line 80"));
    }

    #[tokio::test]
    async fn an_error_of_the_stream_is_an_error_of_the_reader() {
        let output = stream::iter([Err(io::Error::other("broken"))]);
        let mut pipe = Pipe::new(output, Box::pin(tokio::io::sink()));
        pipe.reader.read_u8().await.unwrap_err();
    }
}
