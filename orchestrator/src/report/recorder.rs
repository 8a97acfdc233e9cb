//! The run's directory: `$XDG_STATE_HOME/netsplit/<run>/`, a copy of the run for people. Nothing depends on it.

use std::{
    env, fs,
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use netsplit_runtime::RunId;

use super::{Reporter, json::cannot_write};
use crate::{
    error::{CommandError, ErrorKind},
    event::{RunEvent, RunEventKind},
    ui::Ui,
};

/// A run's directory.
#[derive(Clone, Debug)]
pub struct RunDirectory {
    path: PathBuf,
}

impl RunDirectory {
    /// Creates the directory with the topology as it was read and the plan as it was resolved.
    ///
    /// # Errors
    /// When it cannot be created or written.
    pub fn create(run: &RunId, topology: &str, plan: &str) -> Result<Self, CommandError> {
        Self::create_in(&state_home(), run, topology, plan)
    }

    /// The same below another directory than the user's own.
    ///
    /// # Errors
    /// When it cannot be created or written.
    pub fn create_in(
        home: &Path,
        run: &RunId,
        topology: &str,
        plan: &str,
    ) -> Result<Self, CommandError> {
        let path = home.join(&run.0);
        let hint = "set XDG_STATE_HOME to a directory that can be written";
        let failed =
            |path: &Path, error| cannot_write(ErrorKind::Infrastructure, path, error).hint(hint);
        fs::create_dir_all(path.join("logs")).map_err(|error| failed(&path, error))?;
        for (name, text) in [("topology.yaml", topology), ("plan.json", plan)] {
            let file = path.join(name);
            fs::write(&file, text).map_err(|error| failed(&file, error))?;
        }
        Ok(Self { path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A reporter that writes `events.ndjson` and, at the end, `verdict.json`.
    #[must_use]
    pub fn recorder(&self, ui: Ui) -> Recorder {
        Recorder {
            directory: self.path.clone(),
            ui,
            events: Events::Closed,
        }
    }
}

/// Directory of all runs: `$XDG_STATE_HOME/netsplit`, by default below `~/.local/state` (XDG Base Directory
/// Specification 0.8).
#[must_use]
pub fn state_home() -> PathBuf {
    let absolute = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(env::temp_dir)
        .join("netsplit")
}

/// Writes what happens into the run's directory. A full disk must not change a verdict: the first failure is told,
/// then nothing more is written.
pub struct Recorder {
    directory: PathBuf,
    ui: Ui,
    events: Events,
}

enum Events {
    Closed,
    Open(BufWriter<File>),
    Failed,
}

impl Recorder {
    fn append(&mut self, event: &RunEvent) -> std::io::Result<()> {
        if matches!(self.events, Events::Closed) {
            let file = File::create(self.directory.join("events.ndjson"))?;
            self.events = Events::Open(BufWriter::new(file));
        }
        let Events::Open(file) = &mut self.events else {
            return Ok(());
        };
        serde_json::to_writer(&mut *file, event)?;
        file.write_all(b"\n")?;
        // Nodes say much; all else is rare and should be there even when we are killed the next moment.
        if matches!(event.kind, RunEventKind::Node { .. }) {
            Ok(())
        } else {
            file.flush()
        }
    }

    fn conclude(&self, event: &RunEvent) -> std::io::Result<()> {
        let RunEventKind::RunFinished(report) = &event.kind else {
            return Ok(());
        };
        let text = serde_json::to_string_pretty(report)?;
        fs::write(self.directory.join("verdict.json"), text + "\n")
    }
}

impl Reporter for Recorder {
    fn on_event(&mut self, event: &RunEvent) {
        if matches!(self.events, Events::Failed) {
            return;
        }
        if let Err(error) = self.append(event).and_then(|()| self.conclude(event)) {
            self.events = Events::Failed;
            let path = self.directory.display();
            self.ui.warning(&format!(
                "the run is no longer recorded in `{path}`: {error}"
            ));
        }
    }
}
