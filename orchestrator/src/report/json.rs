//! The verdict as JSON: one line per run, with the fields of design §6 as [`RunReport`] declares them.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use crate::{
    error::{CommandError, ErrorKind},
    event::RunReport,
    ui::Ui,
};

/// The report as one line of JSON.
#[must_use]
pub fn json_line(report: &RunReport) -> String {
    serde_json::to_string(report).expect("a report has string keys and no failing serialisers")
}

/// Where `--json` writes to: one line per run, each as soon as its run is over.
pub struct JsonFile(Target);

enum Target {
    Stdout(Ui),
    File(File, PathBuf),
}

impl JsonFile {
    /// Creates the file, or takes stdout for `-`. Done before anything is started, so that a wrong path costs nothing.
    ///
    /// # Errors
    /// Usage, when the file cannot be created.
    pub fn create(path: PathBuf, ui: &Ui) -> Result<Self, CommandError> {
        if path == Path::new("-") {
            return Ok(Self(Target::Stdout(ui.clone())));
        }
        let file =
            File::create(&path).map_err(|error| cannot_write(ErrorKind::Usage, &path, error))?;
        Ok(Self(Target::File(file, path)))
    }

    /// Adds a run.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, report: &RunReport) -> Result<(), CommandError> {
        match &mut self.0 {
            Target::Stdout(ui) => ui.data(&json_line(report)),
            Target::File(file, path) => writeln!(file, "{}", json_line(report))
                .map_err(|error| cannot_write(ErrorKind::Infrastructure, path, error)),
        }
    }
}

pub(super) fn cannot_write(kind: ErrorKind, path: &Path, error: std::io::Error) -> CommandError {
    CommandError::caused(kind, format!("failed to write `{}`", path.display()), error)
}
