//! Runs the real executable in an empty directory and shows what a user would see.

use std::{path::Path, process::Command};

/// A directory to type commands in.
pub(crate) struct Screen {
    directory: tempfile::TempDir,
    engine: &'static str,
    text: String,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            engine: "unix:///nonexistent/docker.sock",
            text: String::new(),
        }
    }

    /// Names another engine than one that is not there.
    pub(crate) const fn engine(&mut self, host: &'static str) -> &mut Self {
        self.engine = host;
        self
    }

    pub(crate) fn file(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Types a command; there is no engine, no terminal and no other environment than what is set here.
    pub(crate) fn type_in(&mut self, line: &str) -> &mut Self {
        let output = Command::new(env!("CARGO_BIN_EXE_netsplit"))
            .args(line.split_whitespace())
            .current_dir(self.path())
            .env_clear()
            .env("XDG_STATE_HOME", self.path().join("state"))
            .env("DOCKER_HOST", self.engine)
            .output()
            .unwrap();
        self.text.extend(["$ netsplit ", line, "\n"]);
        for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
            let text = String::from_utf8_lossy(bytes);
            for line in text.lines() {
                self.text.push_str(format!("{name}| {line}").trim_end());
                self.text.push('\n');
            }
        }
        let code = output
            .status
            .code()
            .map_or("none".to_owned(), |code| code.to_string());
        self.text.extend(["exit code ", &code, "\n\n"]);
        self
    }

    /// Everything typed and answered, without what differs from machine to machine.
    pub(crate) fn text(&self) -> String {
        let directory = self.path().display().to_string();
        self.text.replace(&directory, "[directory]")
    }
}
