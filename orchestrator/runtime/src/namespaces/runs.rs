//! Which runs there are, and their end.
//!
//! No engine knows them: a run is what its directory's journal says and whoever answers at the socket there. Runs of other
//! runtimes have journals too, but none that say [`About`].

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::timeout;

use super::{
    client::{self, Client, Failure},
    nodes,
    process::Process,
    protocol::{Door, Lease, SOCKET, Status},
};
use crate::{
    Ownership, Progress, ProgressSink, RunId, RunSummary, RuntimeError, Teardown, clock,
    journal::{self, About, Entry, Journal, Story},
    owner::{Life, Owner},
    state::RunState,
};

/// A supervisor that has not said by then how it is does not answer.
const ANSWER: Duration = Duration::from_secs(1);
/// How long a supervisor may take to end a run in order, before it is killed.
const ORDERLY: Duration = Duration::from_secs(10);
/// How long a process may take to end once nothing holds it, before it is killed.
const LINGER: Duration = Duration::from_secs(5);
/// Age below which a run whose maker cannot be judged from here may still be starting its supervisor.
const GRACE_SECONDS: u64 = 60;

/// A run of which a journal tells.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) directory: PathBuf,
    story: Story,
    about: About,
}

/// What is heard at a run's socket.
#[derive(Debug)]
enum Answer {
    /// How the run is.
    Status(Status),
    /// Somebody is there, but says nothing.
    Silence,
    /// Nobody is there.
    Nobody,
}

/// What the state of a run depends on.
#[derive(Clone, Copy, Debug)]
struct Facts {
    ownership: Ownership,
    /// Whether it was let go, by its journal's word.
    detached: bool,
    maker: Life,
    keepers: Life,
    /// What the supervisor says; `None`: nothing.
    lease: Option<Lease>,
    /// Whether anybody is at the socket.
    somebody: bool,
    age_seconds: u64,
}

impl Facts {
    fn judge(self) -> RunState {
        let holds = match self.ownership {
            Ownership::Owned => RunState::Owned,
            Ownership::Detachable => RunState::Starting,
        };
        match self.lease {
            Some(Lease::Detached) => RunState::Detached,
            // One that lives but does not answer gets the benefit of the doubt: `down` can still remove it.
            _ if self.detached && (self.somebody || self.keepers == Life::Alive) => {
                RunState::Detached
            }
            _ if self.detached => RunState::Dead,
            _ => match self.maker {
                Life::Alive => holds,
                Life::Unknown if self.somebody || self.age_seconds < GRACE_SECONDS => holds,
                Life::Unknown | Life::Dead => RunState::Dead,
            },
        }
    }
}

impl Run {
    /// Reads a run's directory; `None` if it is none of ours, is over, or is on another machine that has the same files.
    fn read(directory: PathBuf) -> Option<Self> {
        let story = journal::read(&directory.join(journal::FILE_NAME)).ok()??;
        let about = story.about.clone().filter(|_| !story.ended)?;
        let run = Self {
            directory,
            story,
            about,
        };
        (!run.is_elsewhere() && run.left_something()).then_some(run)
    }

    fn is_elsewhere(&self) -> bool {
        let here = Owner::current().map(|here| here.boot_id);
        self.about.host != host() && here.is_ok_and(|boot| boot != self.story.owner.boot_id)
    }

    /// Whether there is anything of it but what is kept for people.
    fn left_something(&self) -> bool {
        self.keepers() == Life::Alive
            || nodes::all(&self.directory).exists()
            || self.directory.join(SOCKET).exists()
    }

    fn keepers(&self) -> Life {
        let lives = self.story.keepers.iter().map(Owner::life);
        lives.fold(Life::Dead, |all, life| match (all, life) {
            (Life::Alive, _) | (_, Life::Alive) => Life::Alive,
            (Life::Unknown, _) | (_, Life::Unknown) => Life::Unknown,
            (Life::Dead, Life::Dead) => Life::Dead,
        })
    }

    async fn ask(&self) -> Answer {
        let Ok(stream) = client::connect(&self.directory, Door::Supervisor).await else {
            return Answer::Nobody;
        };
        let (client, _pushes) = Client::new(stream);
        match timeout(ANSWER, client.status()).await {
            Ok(Ok(status)) => Answer::Status(status),
            Ok(Err(Failure::Lost(_))) => Answer::Nobody,
            Ok(Err(Failure::Refused { .. })) | Err(_) => Answer::Silence,
        }
    }

    async fn look(&self) -> (RunState, Option<Status>) {
        let answer = self.ask().await;
        let facts = Facts {
            ownership: self.about.ownership,
            detached: self.story.detached,
            maker: self.story.owner.life(),
            keepers: self.keepers(),
            lease: match &answer {
                Answer::Status(status) => Some(status.lease),
                Answer::Silence | Answer::Nobody => None,
            },
            somebody: !matches!(answer, Answer::Nobody),
            age_seconds: clock::seconds(clock::now()).saturating_sub(self.about.started),
        };
        match answer {
            Answer::Status(status) => (facts.judge(), Some(status)),
            Answer::Silence | Answer::Nobody => (facts.judge(), None),
        }
    }

    async fn summary(&self) -> RunSummary {
        let (state, status) = self.look().await;
        RunSummary {
            run: self.story.run.clone(),
            name: self.about.name.clone(),
            runtime: super::NAME.to_owned(),
            state: state.as_str().to_owned(),
            nodes: match status {
                Some(status) => status.nodes.len(),
                None => node_directories(&self.directory),
            },
            started: self.about.started,
        }
    }

    async fn end(&self, progress: &ProgressSink) -> Teardown {
        end(&self.directory, progress).await
    }
}

/// Name of this machine.
pub(super) fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname");
    name.map(|name| name.trim().to_owned()).unwrap_or_default()
}

/// All runs below `home` of which anything is there.
async fn all(home: &Path) -> Result<Vec<Run>, RuntimeError> {
    let home = home.to_owned();
    let read = move || match fs::read_dir(&home) {
        Ok(entries) => {
            let directories = entries.flatten().map(|entry| entry.path());
            Ok(directories.filter_map(Run::read).collect())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => {
            let operation = format!("failed to look for runs in `{}`", home.display());
            Err(RuntimeError::with_source(operation, error))
        }
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(runs) => runs,
        Err(error) => Err(RuntimeError::with_source("failed to look for runs", error)),
    }
}

/// The run with this identity.
///
/// # Errors
/// When one cannot look for it.
pub(super) async fn find(home: &Path, run: &RunId) -> Result<Option<Run>, RuntimeError> {
    let runs = all(home).await?;
    Ok(runs.into_iter().find(|found| found.story.run == *run))
}

/// All runs of which anything is there.
///
/// # Errors
/// When one cannot look for them.
pub(super) async fn list(home: &Path) -> Result<Vec<RunSummary>, RuntimeError> {
    let runs = all(home).await?;
    Ok(join_all(runs.iter().map(Run::summary)).await)
}

/// Removes a run in whatever state it is.
///
/// # Errors
/// When one cannot look for it.
pub(super) async fn remove(
    home: &Path,
    run: &RunId,
    progress: &ProgressSink,
) -> Result<Teardown, RuntimeError> {
    Ok(match find(home, run).await? {
        Some(run) => run.end(progress).await,
        None => Teardown::default(),
    })
}

/// Removes what dead runs left.
///
/// # Errors
/// When one cannot look for them.
pub(super) async fn collect(home: &Path) -> Result<Vec<(RunId, Teardown)>, RuntimeError> {
    let (progress, _) = tokio::sync::mpsc::unbounded_channel();
    let mut collected = Vec::new();
    for run in all(home).await? {
        if run.look().await.0 == RunState::Dead {
            let teardown = run.end(&progress).await;
            collected.push((run.story.run, teardown));
        }
    }
    Ok(collected)
}

/// Ends the run in this directory: in order if its supervisor answers, else by killing it. Doing it again is harmless.
pub(super) async fn end(directory: &Path, progress: &ProgressSink) -> Teardown {
    let mut teardown = Teardown::default();
    let nodes = node_directories(directory);
    // Progress is a courtesy: nobody has to listen.
    let _ = progress.send(Progress::Phase {
        name: "remove",
        total: nodes,
    });
    let story = journal::read(&directory.join(journal::FILE_NAME));
    let keepers = story.ok().flatten().map(|story| story.keepers);
    let held: Vec<_> = keepers.iter().flatten().map(hold).collect();
    let ordered = matches!(timeout(ORDERLY, shut_down(directory)).await, Ok(Ok(())));
    for (place, process) in held.iter().enumerate().rev() {
        let Some(process) = process else { continue };
        // The guard is the first to be written down, and ends by itself once it has cleaned up after the supervisor.
        let kill_now = !ordered && place > 0;
        if let Err(reason) = finish(process, kill_now).await {
            teardown.left.push(reason);
        }
    }
    let files = directory.to_owned();
    let removing = move || remove_files(&files);
    match tokio::task::spawn_blocking(removing).await {
        Ok(left) => teardown.left.extend(left),
        Err(error) => teardown.left.push(error.to_string()),
    }
    let lived = ordered || held.iter().any(Option::is_some);
    teardown.removed = nodes + usize::from(lived);
    for _ in 0..nodes {
        let _ = progress.send(Progress::Step {
            name: "remove",
            item: String::new(),
        });
    }
    note_end(directory, &teardown);
    teardown
}

fn hold(owner: &Owner) -> Option<Process> {
    Process::hold(owner)
        .inspect_err(|error| tracing::warn!(%error, pid = owner.pid, "cannot watch a process"))
        .ok()
        .flatten()
}

/// Asks the supervisor to end the run, and waits until it is gone.
async fn shut_down(directory: &Path) -> Result<(), Failure> {
    let stream = client::connect(directory, Door::Supervisor).await;
    let stream = stream.map_err(|error| Failure::Lost(error.to_string()))?;
    let (client, pushes) = Client::new(stream);
    // One that is stuck would let everybody wait; that the run has not begun is an answer too.
    if timeout(ANSWER, client.status()).await.is_err() {
        return Err(Failure::Lost("it does not answer".to_owned()));
    }
    client.shutdown(pushes).await
}

/// Waits for a process that has to end, and kills it if it does not.
async fn finish(process: &Process, kill_now: bool) -> Result<(), String> {
    if !kill_now && timeout(LINGER, process.ended()).await.is_ok() {
        return Ok(());
    }
    let left = |reason: String| format!("a process of the run: {reason}");
    process.kill().map_err(|error| left(error.to_string()))?;
    let ended = timeout(LINGER, process.ended()).await;
    ended.map_err(|_| left("it was killed, but does not end".to_owned()))
}

/// Removes what the guard should have removed; returns what cannot be.
fn remove_files(directory: &Path) -> Vec<String> {
    let nodes = nodes::all(directory);
    let socket = directory.join(SOCKET);
    let removed = [
        (fs::remove_dir_all(&nodes), &nodes),
        (fs::remove_file(&socket), &socket),
    ];
    let left = removed.into_iter().filter_map(|(result, path)| {
        let error = result.err()?;
        let gone = error.kind() == io::ErrorKind::NotFound;
        (!gone).then(|| format!("`{}`: {error}", path.display()))
    });
    left.collect()
}

fn node_directories(directory: &Path) -> usize {
    fs::read_dir(nodes::all(directory)).map_or(0, Iterator::count)
}

/// So that nobody has to look at this directory again.
fn note_end(directory: &Path, teardown: &Teardown) {
    match Journal::open(directory) {
        Ok(journal) => journal.note(Entry::Ended {
            left: teardown.left.clone(),
        }),
        Err(error) => tracing::warn!(%error, "failed to write the journal"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GONE: Facts = Facts {
        ownership: Ownership::Owned,
        detached: false,
        maker: Life::Dead,
        keepers: Life::Dead,
        lease: None,
        somebody: false,
        age_seconds: 3600,
    };

    #[test]
    fn an_owned_run_lives_as_long_as_its_maker() {
        for lease in [None, Some(Lease::Owned)] {
            for (maker, state) in [(Life::Alive, RunState::Owned), (Life::Dead, RunState::Dead)] {
                let facts = Facts {
                    maker,
                    lease,
                    somebody: lease.is_some(),
                    ..GONE
                };
                assert_eq!(facts.judge(), state, "{facts:?}");
            }
        }
    }

    #[test]
    fn a_detached_run_lives_by_its_supervisors_word_or_its_process() {
        let gone = Facts {
            ownership: Ownership::Detachable,
            detached: true,
            ..GONE
        };
        // Whether its maker has ended is nobody's business any more.
        for maker in [Life::Alive, Life::Dead, Life::Unknown] {
            assert_eq!(Facts { maker, ..gone }.judge(), RunState::Dead);
        }
        let says = Facts {
            lease: Some(Lease::Detached),
            somebody: true,
            ..gone
        };
        assert_eq!(says.judge(), RunState::Detached);
        for maker in [Life::Alive, Life::Dead, Life::Unknown] {
            let hangs = Facts {
                maker,
                keepers: Life::Alive,
                ..gone
            };
            assert_eq!(hangs.judge(), RunState::Detached);
        }
    }

    #[test]
    fn a_run_that_was_not_let_go_dies_with_its_maker_whoever_else_hangs() {
        let hangs = Facts {
            ownership: Ownership::Detachable,
            keepers: Life::Alive,
            somebody: true,
            ..GONE
        };
        assert_eq!(hangs.judge(), RunState::Dead);
    }

    #[test]
    fn a_maker_that_cannot_be_judged_holds_while_somebody_is_there_or_it_is_young() {
        let unknown = Facts {
            maker: Life::Unknown,
            keepers: Life::Unknown,
            ..GONE
        };
        assert_eq!(unknown.judge(), RunState::Dead);
        let somebody = Facts {
            somebody: true,
            ..unknown
        };
        assert_eq!(somebody.judge(), RunState::Owned);
        let young = Facts {
            age_seconds: 3,
            ..unknown
        };
        assert_eq!(young.judge(), RunState::Owned);
    }
}
