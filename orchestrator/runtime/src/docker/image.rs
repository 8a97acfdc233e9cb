//! Images made of one static file, packed in memory: the same file gives the same bytes, and the tag is their digest, so
//! an image is imported once and never goes stale.

pub(super) mod old;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::engine::Engine;
use crate::RuntimeError;

/// Changes when the layout of images does, so that an older one is not taken for it.
const LAYOUT: &[u8] = b"netsplit image 1\0";

/// Label of our images; its value is their name and tag.
const LABEL: &str = "netsplit.image";

/// Directories every image has besides its file: nodes keep data in the first, the agent its socket in the second.
const DIRECTORIES: [&str; 3] = ["data/", "run/", "tmp/"];

/// A program and the image that carries it.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// Its name and tag, e.g. `netsplit-node:0123456789ab`.
    pub(crate) reference: String,
    /// The file's path in it.
    pub(crate) program: String,
    binary: Bytes,
    machine: Machine,
}

/// A processor family, in the words of Go, which are those of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    Amd64,
    Arm64,
}

impl Machine {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

/// A file cannot be packed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotPackable {
    #[error("it is no ELF program for a 64-bit little-endian machine")]
    NotElf,
    #[error("it is made for a machine that is neither x86-64 nor AArch64")]
    OtherMachine,
    #[error("it is dynamically linked and would find no libraries in an image made from scratch")]
    Dynamic,
    #[error("its program headers are cut short")]
    Truncated,
}

impl Image {
    /// Reads a program; `name` is the image's and the file's.
    ///
    /// Blocks while it reads and hashes.
    pub(crate) fn read(name: &str, path: &Path) -> Result<Self, RuntimeError> {
        let operation = || format!("failed to pack `{}` into an image", path.display());
        let binary =
            fs::read(path).map_err(|error| RuntimeError::with_source(operation(), error))?;
        Self::of(name, binary.into()).map_err(|error| not_packable(operation(), error))
    }

    /// Whether a program could be packed, without packing it.
    pub(crate) fn check(path: &Path) -> Result<(), RuntimeError> {
        let operation = || format!("failed to pack `{}` into an image", path.display());
        let binary =
            fs::read(path).map_err(|error| RuntimeError::with_source(operation(), error))?;
        inspect(&binary)
            .map(|_| ())
            .map_err(|error| not_packable(operation(), error))
    }

    fn of(name: &str, binary: Bytes) -> Result<Self, NotPackable> {
        let machine = inspect(&binary)?;
        let mut hash = Sha256::new();
        hash.update(LAYOUT);
        hash.update(name);
        hash.update([0]);
        hash.update(&binary);
        let digest = hex::encode(hash.finalize());
        Ok(Self {
            reference: format!("{name}:{}", &digest[..12]),
            program: format!("/{name}"),
            binary,
            machine,
        })
    }

    /// Hands the image to the engine, unless it has it; one it has is marked as used. Returns whether it had to.
    pub(crate) async fn ensure(&self, engine: &dyn Engine) -> Result<bool, RuntimeError> {
        let operation = || format!("failed to import image `{}`", self.reference);
        let found = engine.image(&self.reference).await;
        if let Some(found) = found.map_err(|error| error.during(operation()))? {
            old::touch(engine, &found)
                .await
                .map_err(|error| error.during(operation()))?;
            return Ok(false);
        }
        let image = self.clone();
        let archive = tokio::task::spawn_blocking(move || image.archive())
            .await
            .map_err(io::Error::other)
            .and_then(|archive| archive)
            .map_err(|error| RuntimeError::with_source(operation(), error))?;
        engine
            .import_image(archive)
            .await
            .map_err(|error| error.during(operation()))?;
        Ok(true)
    }

    /// The image as `docker save` would write it.
    fn archive(&self) -> io::Result<Bytes> {
        let layer = self.layer()?;
        let layer_digest = hex::encode(Sha256::digest(&layer));
        let config = json!({
            "architecture": self.machine.as_str(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "Entrypoint": [self.program],
                "Labels": { LABEL: self.reference },
            },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_digest}")] },
            "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "netsplit" }],
        })
        .to_string();
        let config_name = format!("{}.json", hex::encode(Sha256::digest(&config)));
        let layer_name = format!("{layer_digest}/layer.tar");
        let manifest = json!([{
            "Config": config_name,
            "RepoTags": [self.reference],
            "Layers": [layer_name],
        }])
        .to_string();
        let mut archive = tar::Builder::new(Vec::with_capacity(layer.len() + 16 * 1024));
        append(&mut archive, &config_name, config.as_bytes(), 0o644)?;
        append(&mut archive, &layer_name, &layer, 0o644)?;
        append(&mut archive, "manifest.json", manifest.as_bytes(), 0o644)?;
        Ok(archive.into_inner()?.into())
    }

    fn layer(&self) -> io::Result<Vec<u8>> {
        let mut layer = tar::Builder::new(Vec::with_capacity(self.binary.len() + 16 * 1024));
        for directory in DIRECTORIES {
            let mut header = header(0, 0o755);
            header.set_entry_type(tar::EntryType::Directory);
            layer.append_data(&mut header, directory, io::empty())?;
        }
        append(
            &mut layer,
            self.program.trim_start_matches('/'),
            &self.binary,
            0o755,
        )?;
        layer.into_inner()
    }
}

fn not_packable(operation: String, error: NotPackable) -> RuntimeError {
    let dynamic = error == NotPackable::Dynamic;
    let error = RuntimeError::with_source(operation, error);
    if dynamic {
        error.hint(
            "link it statically: build with `-C target-feature=+crt-static`, as the workspace's `.cargo/config.toml` does, or install the released binary",
        )
    } else {
        error
    }
}

fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn append(
    archive: &mut tar::Builder<Vec<u8>>,
    path: &str,
    content: &[u8],
    mode: u32,
) -> io::Result<()> {
    archive.append_data(&mut header(content.len() as u64, mode), path, content)
}

/// Checks that an ELF file (System V ABI, chapter 4 and 5) needs no interpreter, and says what machine it is for.
fn inspect(file: &[u8]) -> Result<Machine, NotPackable> {
    const INTERPRETER: u32 = 3;
    // Magic, 64-bit class, little-endian data.
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return Err(NotPackable::NotElf);
    }
    let half = |at: usize| {
        file.get(at..at + 2)
            .map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
    };
    let machine = match half(18).ok_or(NotPackable::Truncated)? {
        62 => Machine::Amd64,
        183 => Machine::Arm64,
        _ => return Err(NotPackable::OtherMachine),
    };
    let offset: [u8; 8] = file
        .get(32..40)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(NotPackable::Truncated)?;
    let offset = usize::try_from(u64::from_le_bytes(offset)).map_err(|_| NotPackable::Truncated)?;
    let size = usize::from(half(54).ok_or(NotPackable::Truncated)?);
    let count = usize::from(half(56).ok_or(NotPackable::Truncated)?);
    for number in 0..count {
        let at = offset
            .checked_add(number * size)
            .ok_or(NotPackable::Truncated)?;
        let kind = at.checked_add(4).and_then(|end| file.get(at..end));
        let kind: [u8; 4] = kind
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(NotPackable::Truncated)?;
        if u32::from_le_bytes(kind) == INTERPRETER {
            return Err(NotPackable::Dynamic);
        }
    }
    Ok(machine)
}

/// The programs a run packs: our own file for agent and reaper, and the nodes'.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// `/proc/self/exe` unless told otherwise.
    pub(crate) own: PathBuf,
    /// The small node binary, if there is one.
    pub(crate) node: Option<PathBuf>,
}

impl Programs {
    /// The file of this process, and `netsplit-node` beside it unless another is named.
    pub(crate) fn of_this_process(node_binary: Option<&Path>) -> Self {
        let beside = || {
            let path = std::env::current_exe()
                .ok()?
                .parent()?
                .join("netsplit-node");
            path.is_file().then_some(path)
        };
        Self {
            own: PathBuf::from("/proc/self/exe"),
            node: node_binary.map(Path::to_path_buf).or_else(beside),
        }
    }
}

#[cfg(test)]
mod tests;
