//! What a run is about to create, written down before it exists.
//!
//! One line of JSON per entry in `journal.ndjson` of the run's directory. Intents are on the disk before the engine is
//! asked, so whatever exists is written here; outcomes are not waited for. `gc` reads journals back to find what carries
//! no labels.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{Ownership, RunId, owner::Owner};

/// The journal's name in a run's directory.
pub const FILE_NAME: &str = "journal.ndjson";

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Entry {
    /// A run began.
    Began {
        /// Its identity.
        run: RunId,
        /// Who made it.
        owner: Owner,
    },
    /// What labels say of a run in an engine; of one that has none, this.
    About(About),
    /// A process that keeps the run alive has been started.
    Keeper {
        /// Which.
        process: Owner,
    },
    /// A thing is about to be created.
    Intent {
        /// What.
        thing: Thing,
    },
    /// It was created, or was not.
    Outcome {
        /// What.
        thing: Thing,
        /// Why not.
        error: Option<String>,
    },
    /// The run lives on without its maker.
    Detached,
    /// The run is over.
    Ended {
        /// What could not be removed.
        left: Vec<String>,
    },
}

/// What people are told of a run that no engine knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Name people call it by.
    pub name: String,
    /// Who ends it.
    pub ownership: Ownership,
    /// When the launch began, in seconds since the epoch.
    pub started: u64,
    /// Name of the machine it is on.
    pub host: String,
}

/// Something that has to be removed, by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", content = "name", rename_all = "snake_case")]
pub enum Thing {
    /// A container.
    Container(String),
    /// A network.
    Network(String),
    /// A directory with everything in it.
    Directory(PathBuf),
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    file: Mutex<File>,
}

impl Journal {
    /// Begins a journal in `directory`, which is created if need be.
    ///
    /// # Errors
    /// When the directory or the file cannot be written.
    pub fn begin(directory: &Path, run: &RunId, owner: &Owner) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let journal = Self::open(directory)?;
        journal.write(
            &[Entry::Began {
                run: run.clone(),
                owner: owner.clone(),
            }],
            true,
        )?;
        // The file's name has to survive as well as its content.
        File::open(directory)?.sync_all()?;
        Ok(journal)
    }

    /// Goes on with the journal in `directory`, or begins one that does not say whose it is.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(directory.join(FILE_NAME))?;
        let file = Mutex::new(file);
        Ok(Self { file })
    }

    /// Writes down what is about to be created; on the disk when this returns.
    ///
    /// # Errors
    /// When the file cannot be written: then nothing may be created.
    pub fn intend(&self, things: impl IntoIterator<Item = Thing>) -> io::Result<()> {
        let entries: Vec<_> = things
            .into_iter()
            .map(|thing| Entry::Intent { thing })
            .collect();
        self.write(&entries, true)
    }

    /// Writes down how things went since. Not synced, and a failure is only logged: the intent covers it.
    pub fn note(&self, entry: Entry) {
        if let Err(error) = self.write(&[entry], false) {
            tracing::warn!(%error, "failed to write the journal");
        }
    }

    fn write(&self, entries: &[Entry], sync: bool) -> io::Result<()> {
        let mut lines = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut lines, entry)?;
            lines.push(b'\n');
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&lines)?;
        if sync { file.sync_data() } else { Ok(()) }
    }
}

/// A journal read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// Whose it is.
    pub run: RunId,
    /// Who made it.
    pub owner: Owner,
    /// What it is, if no engine says so.
    pub about: Option<About>,
    /// Processes that keep it alive, or did.
    pub keepers: Vec<Owner>,
    /// Everything it ever meant to create.
    pub things: Vec<Thing>,
    /// Whether it was let go.
    pub detached: bool,
    /// Whether its end was written and nothing was left.
    pub ended: bool,
}

/// Reads a journal. A last line cut short by a crash is ignored, as is what cannot be understood.
///
/// # Errors
/// When the file cannot be read. `Ok(None)`: it does not say whose it is.
pub fn read(path: &Path) -> io::Result<Option<Story>> {
    let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
    let mut story = None;
    for entry in text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
    {
        match (entry, &mut story) {
            (Entry::Began { run, owner }, None) => {
                story = Some(Story {
                    run,
                    owner,
                    about: None,
                    keepers: Vec::new(),
                    things: Vec::new(),
                    detached: false,
                    ended: false,
                });
            }
            (Entry::About(about), Some(story)) => story.about = Some(about),
            (Entry::Keeper { process }, Some(story)) => story.keepers.push(process),
            (Entry::Intent { thing }, Some(story)) => story.things.push(thing),
            (Entry::Detached, Some(story)) => story.detached = true,
            (Entry::Ended { left }, Some(story)) => story.ended = left.is_empty(),
            _ => {}
        }
    }
    Ok(story)
}

/// Journals of all runs below `directory`, one directory each. What cannot be read is skipped with a warning.
#[must_use]
pub fn read_all(directory: &Path) -> Vec<Story> {
    let Ok(runs) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let paths = runs.flatten().map(|run| run.path().join(FILE_NAME));
    paths
        .filter(|path| path.is_file())
        .filter_map(|path| read_or_warn(&path))
        .collect()
}

fn read_or_warn(path: &Path) -> Option<Story> {
    read(path)
        .inspect_err(|error| tracing::warn!(%error, path = %path.display(), "skipped a journal"))
        .ok()
        .flatten()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn begin(directory: &Path) -> Journal {
        Journal::begin(directory, &RunId("r-1".into()), &Owner::current().unwrap()).unwrap()
    }

    #[test]
    fn a_journal_tells_what_was_meant_whatever_came_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let journal = begin(&directory.path().join("r-1"));
        let things = [Thing::Network("n".into()), Thing::Container("c".into())];
        journal.intend(things.clone()).unwrap();
        journal.note(Entry::Outcome {
            thing: things[0].clone(),
            error: Some("no".into()),
        });
        let stories = read_all(directory.path());
        assert_eq!(stories.len(), 1);
        assert_eq!(
            (&stories[0].run.0[..], &stories[0].things[..]),
            ("r-1", &things[..])
        );
        assert!(!stories[0].ended && !stories[0].detached);
    }

    #[test]
    fn a_run_that_no_engine_knows_tells_of_itself() {
        let directory = tempfile::tempdir().unwrap();
        let about = About {
            name: "x".into(),
            ownership: Ownership::Detachable,
            started: 7,
            host: "here".into(),
        };
        let process = Owner::current().unwrap();
        begin(directory.path()).note(Entry::About(about.clone()));
        let again = Journal::open(directory.path()).unwrap();
        again.note(Entry::Keeper {
            process: process.clone(),
        });
        let story = read(&directory.path().join(FILE_NAME)).unwrap().unwrap();
        assert_eq!((story.about, story.keepers), (Some(about), vec![process]));
    }

    #[test]
    fn an_end_that_left_something_is_no_end() {
        let directory = tempfile::tempdir().unwrap();
        let journal = begin(directory.path());
        let path = directory.path().join(FILE_NAME);
        journal.note(Entry::Ended {
            left: vec!["x".into()],
        });
        assert!(!read(&path).unwrap().unwrap().ended);
        journal.note(Entry::Ended { left: Vec::new() });
        assert!(read(&path).unwrap().unwrap().ended);
    }

    #[test]
    fn a_journal_cut_at_any_byte_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let journal = begin(directory.path());
        journal
            .intend([Thing::Container("a".into()), Thing::Container("b".into())])
            .unwrap();
        let path = directory.path().join(FILE_NAME);
        let whole = fs::read(&path).unwrap();
        let mut seen = 0;
        for end in 0..=whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            let things = read(&path).unwrap().map_or(0, |story| story.things.len());
            assert!(things >= seen, "at byte {end}");
            seen = things;
        }
        assert_eq!(seen, 2);
    }
}
