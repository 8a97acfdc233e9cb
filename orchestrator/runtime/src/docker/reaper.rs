//! The dead man's switch of a run: a container that outlives its maker by seconds and takes the run with it.
//!
//! It is the first thing a run creates. It has the engine's socket, no network, and a stdin that ends with its maker's
//! connection. One line of `beat` a second keeps it waiting; the end of the stream, or five seconds of silence, makes it
//! remove the run; `detach` makes it leave the run alone and exit. The engine removes it once it has exited.

use std::{
    env,
    io::{self, BufRead as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader},
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    client::BollardEngine,
    engine::{ContainerSpec, Engine, gone_is_fine},
    node::{self, RUN_ENV},
    stream::{LastWords, Pipe},
    teardown::{self, By},
};
use crate::{RunId, RuntimeError};

/// Time between signs of life.
const BEAT: Duration = Duration::from_secs(1);
/// Silence that means death.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the reaper may take to say that it watches.
const READY: Duration = Duration::from_secs(30);
/// How long it may take to let go.
const FAREWELL: Duration = Duration::from_secs(10);
/// Attempts to remove a run while the engine refuses, and the time between them.
const ATTEMPTS: u32 = 30;
const PAUSE: Duration = Duration::from_secs(2);

const BEAT_LINE: &str = "beat\n";
const DETACH_LINE: &str = "detach\n";
const READY_LINE: &str = "ready\n";

/// How a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    Detached,
    MakerGone,
}

/// The hidden subcommand `reaper`: runs inside the reaper's container.
///
/// # Errors
/// When it is not told its run, the engine cannot be reached, or something of the run could not be removed.
pub async fn serve() -> Result<(), RuntimeError> {
    let run = env::var(RUN_ENV)
        .map_err(|error| RuntimeError::with_source(format!("failed to read {RUN_ENV}"), error))?;
    let engine = BollardEngine::connect().await?;
    announce().map_err(|error| RuntimeError::with_source("failed to say `ready`", error))?;
    match watch(lines_of_stdin()).await {
        Watch::Detached => Ok(()),
        Watch::MakerGone => reap(&engine, &RunId(run)).await,
    }
}

fn announce() -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(READY_LINE.as_bytes())?;
    stdout.flush()
}

/// Reads stdin on a thread that nobody waits for: a read that never returns must not keep the process from ending.
fn lines_of_stdin() -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Waits for the maker to let go, to fall silent, or to close the stream.
async fn watch(mut lines: mpsc::UnboundedReceiver<String>) -> Watch {
    loop {
        match timeout(PATIENCE, lines.recv()).await {
            Ok(Some(line)) if line == DETACH_LINE.trim_end() => return Watch::Detached,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return Watch::MakerGone,
        }
    }
}

/// Removes the run, trying again while the engine refuses, and looks once more when it is gone: calls that the maker had
/// made when it died may have been answered since.
pub(super) async fn reap(engine: &dyn Engine, run: &RunId) -> Result<(), RuntimeError> {
    let (progress, _) = mpsc::unbounded_channel();
    let mut attempt = 1;
    let mut gone = false;
    loop {
        let failure = match teardown::remove_run(engine, run, By::Reaper, &progress).await {
            Ok(teardown) if teardown.left.is_empty() => {
                if gone && teardown.removed == 0 {
                    return Ok(());
                }
                gone = true;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Ok(teardown) => {
                let mut error = RuntimeError::new(format!("failed to remove run `{run}`"));
                error.left = teardown.left;
                error
            }
            Err(error) => error,
        };
        if attempt == ATTEMPTS {
            return Err(failure);
        }
        attempt += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// The maker's end of the reaper's stream.
#[derive(Debug)]
pub(crate) struct ReaperHandle {
    detach: oneshot::Sender<oneshot::Sender<Result<(), String>>>,
    expected: Arc<AtomicBool>,
}

/// A reaper that exists and does not run yet.
#[derive(Debug)]
pub(crate) struct Dormant {
    name: String,
    pipe: Pipe,
}

fn failed_to(what: &str, name: &str) -> String {
    format!("failed to {what} the reaper `{name}`")
}

/// Creates the reaper and connects to it.
pub(crate) async fn create(
    engine: &dyn Engine,
    spec: &ContainerSpec,
) -> Result<Dormant, RuntimeError> {
    let name = spec.name.clone();
    let create = engine.create_container(spec).await;
    create.map_err(|error| error.during(failed_to("create", &name)))?;
    let pipe = engine.attach(&name).await;
    let pipe = pipe.map_err(|error| error.during(failed_to("attach to", &name)))?;
    Ok(Dormant { name, pipe })
}

impl Dormant {
    /// Starts the reaper and returns once it watches. From the engine's taking of the call on, the maker may die: the
    /// reaper will miss its first sign of life.
    pub(crate) async fn start(self, engine: &dyn Engine) -> Result<ReaperHandle, RuntimeError> {
        let Self { name, pipe } = self;
        let start = engine.start_container(&name).await;
        start.map_err(|error| error.during(failed_to("start", &name)))?;
        watched(&name, pipe).await
    }
}

async fn watched(name: &str, pipe: Pipe) -> Result<ReaperHandle, RuntimeError> {
    let operation = |what: &str| failed_to(what, name);
    let Pipe {
        reader,
        mut writer,
        last_words,
    } = pipe;
    let mut lines = BufReader::new(reader);
    let mut line = String::new();
    let ready = timeout(READY, lines.read_line(&mut line)).await;
    if !matches!(ready, Ok(Ok(_))) || line != READY_LINE {
        return Err(silent(operation("hear from"), &last_words));
    }
    let (detach, farewell) = oneshot::channel();
    // The first sign of life is not left to the scheduler.
    let beat = writer.write_all(BEAT_LINE.as_bytes()).await;
    beat.map_err(|error| RuntimeError::with_source(operation("write to"), error))?;
    let expected = Arc::new(AtomicBool::new(false));
    let end = expected.clone();
    tokio::spawn(async move {
        if !keep_alive(lines, writer, farewell).await && !end.load(Ordering::Relaxed) {
            tracing::warn!(
                last_words = ?last_words.lines(),
                "the reaper is gone: should this process be killed, `netsplit gc` has to clean up"
            );
        }
    });
    Ok(ReaperHandle { detach, expected })
}

fn silent(operation: String, last_words: &LastWords) -> RuntimeError {
    let error = last_words
        .lines()
        .into_iter()
        .fold(RuntimeError::new(operation), RuntimeError::hint);
    error.hint(
        "it needs the engine's socket: is it where `DOCKER_HOST` says, on the engine's own host?",
    )
}

/// Beats until told to detach, or until the handle is dropped: then the stream closes and the reaper acts. Returns false
/// when the reaper itself went away.
async fn keep_alive(
    mut lines: impl AsyncBufRead + Unpin,
    mut writer: impl tokio::io::AsyncWrite + Unpin,
    mut farewell: oneshot::Receiver<oneshot::Sender<Result<(), String>>>,
) -> bool {
    let mut beats = tokio::time::interval(BEAT);
    let mut line = String::new();
    loop {
        tokio::select! {
            asked = &mut farewell => {
                if let Ok(answer) = asked {
                    // Whoever asked may have given up.
                    let _ = answer.send(say_detach(&mut lines, &mut writer).await);
                }
                return true;
            }
            _ = beats.tick() => {
                if writer.write_all(BEAT_LINE.as_bytes()).await.is_err() {
                    return false;
                }
            }
            read = lines.read_line(&mut line) => {
                if !matches!(read, Ok(length) if length > 0) {
                    return false;
                }
                line.clear();
            }
        }
    }
}

/// Returns once the reaper's output has ended: it has exited and touches nothing any more.
async fn say_detach(
    lines: &mut (impl AsyncBufRead + Unpin),
    writer: &mut (impl tokio::io::AsyncWrite + Unpin),
) -> Result<(), String> {
    let mut rest = String::new();
    let exchange = async {
        writer.write_all(DETACH_LINE.as_bytes()).await?;
        writer.flush().await?;
        while lines.read_line(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    match timeout(FAREWELL, exchange).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("it did not let go in time".to_owned()),
    }
}

impl ReaperHandle {
    /// Its end is our own doing from now on.
    pub(crate) fn expect_end(&self) {
        self.expected.store(true, Ordering::Relaxed);
    }

    /// Tells the reaper to leave the run alone, and returns when it is gone.
    pub(crate) async fn detach(self, engine: &dyn Engine, run: &RunId) -> Result<(), RuntimeError> {
        let failed =
            |reason: String| RuntimeError::with_source("failed to detach from the reaper", reason);
        let (answer, answered) = oneshot::channel();
        self.detach
            .send(answer)
            .map_err(|_| failed("it is gone".to_owned()))?;
        answered
            .await
            .map_err(|_| failed("it is gone".to_owned()))?
            .map_err(failed)?;
        // It has said goodbye; its container may still be on its way out.
        let removed = gone_is_fine(engine.remove_container(&node::reaper_name(run)).await);
        removed.map_err(|error| error.during("failed to remove the reaper"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lines: &[&str]) -> mpsc::UnboundedReceiver<String> {
        let (sender, receiver) = mpsc::unbounded_channel();
        for line in lines {
            sender
                .send((*line).to_owned())
                .expect("the receiver is here");
        }
        receiver
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_stream_is_the_makers_death() {
        assert_eq!(watch(said(&["beat", "beat"])).await, Watch::MakerGone);
    }

    #[tokio::test(start_paused = true)]
    async fn detach_lets_the_run_live() {
        assert_eq!(watch(said(&["beat", "detach"])).await, Watch::Detached);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_the_makers_death_and_beats_are_life() {
        let (maker, reaper) = mpsc::unbounded_channel();
        let begun = tokio::time::Instant::now();
        let beating = async {
            for _ in 0..20 {
                maker.send("beat".to_owned()).expect("the reaper listens");
                tokio::time::sleep(BEAT).await;
            }
            // The stream stays open: only the silence tells.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = watch(reaper) => assert_eq!(ended, Watch::MakerGone),
            () = beating => {}
        }
        let lasted = begun.elapsed();
        assert!(
            lasted >= BEAT * 19 + PATIENCE && lasted < BEAT * 20 + PATIENCE,
            "{lasted:?}"
        );
    }
}
