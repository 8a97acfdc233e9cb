//! The engine behind bollard.
//!
//! Connects as the docker command does (`DOCKER_HOST`, else the local socket) and negotiates the API's version: every
//! engine from API 1.41 on will do. Each call opens a connection of its own.

use std::{collections::HashMap, env, io, time::Duration};

use async_trait::async_trait;
use bollard::{
    Docker,
    container::LogOutput,
    errors::Error,
    exec::{CreateExecOptions, StartExecOptions, StartExecResults},
    models::NetworkDisconnectRequest,
    query_parameters::{
        AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, EventsOptionsBuilder,
        ImportImageOptionsBuilder, KillContainerOptionsBuilder, ListContainersOptionsBuilder,
        ListImagesOptionsBuilder, ListNetworksOptionsBuilder, LogsOptionsBuilder,
        RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder, StopContainerOptionsBuilder,
        TagImageOptionsBuilder, WaitContainerOptionsBuilder,
    },
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream, stream::BoxStream};

use super::{
    bodies::{container_body, container_info, image_info, network_info, network_request},
    engine::{
        ContainerInfo, ContainerSpec, Engine, EngineError, EngineEvent, EngineVersion, ErrorKind,
        ImageInfo, NetworkInfo, NetworkSpec,
    },
    stream::{Output, Pipe},
};
use crate::RuntimeError;

/// The oldest API everything used here exists in (Engine 20.10).
const OLDEST_API: (usize, usize) = (1, 41);

/// How an engine may be named in `DOCKER_HOST`.
const KINDS: [&str; 3] = ["unix://", "tcp://", "http://"];

/// Where the engine's socket is on its host, unless `DOCKER_HOST` names another.
pub(crate) const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// An answer that has not begun by then will not come: a start can queue for minutes inside a busy engine.
const TIMEOUT: Duration = Duration::from_secs(600);

/// An engine reached through bollard.
#[derive(Clone, Debug)]
pub(crate) struct BollardEngine {
    docker: Docker,
}

impl BollardEngine {
    /// Connects and negotiates.
    pub(crate) async fn connect() -> Result<Self, RuntimeError> {
        let host = env::var("DOCKER_HOST").unwrap_or_else(|_| format!("unix://{DEFAULT_SOCKET}"));
        let operation = format!("failed to connect to the Docker engine at `{host}`");
        if host.starts_with("tcp://") && env::var_os("DOCKER_TLS_VERIFY").is_some() {
            return Err(RuntimeError::new(operation)
                .hint("TLS is not supported: forward the engine's socket over ssh and name that in `DOCKER_HOST`"));
        }
        if !KINDS.iter().any(|kind| host.starts_with(kind)) {
            return Err(RuntimeError::new(operation).hint(format!(
                "`DOCKER_HOST` takes one of {}; to reach an engine over ssh, forward its socket",
                KINDS.join(", ")
            )));
        }
        let docker = Docker::connect_with_defaults()
            .map_err(|error| engine_error(error).during(&operation))?
            .with_timeout(TIMEOUT);
        let docker = docker
            .negotiate_version()
            .await
            .map_err(|error| engine_error(error).during(&operation))?;
        let version = docker.client_version();
        if (version.major_version, version.minor_version) < OLDEST_API {
            return Err(RuntimeError::new(format!(
                "the Docker engine at `{host}` is too old: it speaks API {version}"
            ))
            .hint("API 1.41 is needed: install Docker Engine 20.10 or newer"));
        }
        Ok(Self { docker })
    }

    /// Path of the engine's socket on the engine's host.
    pub(crate) fn socket() -> String {
        let host = env::var("DOCKER_HOST").unwrap_or_default();
        match host.strip_prefix("unix://") {
            Some(path) if !path.is_empty() => path.to_owned(),
            // An engine behind TCP has its own socket where every engine has it.
            _ => DEFAULT_SOCKET.to_owned(),
        }
    }

    /// Waits until a container that is being removed is gone.
    async fn gone(&self, container: &str) -> Result<(), EngineError> {
        let options = WaitContainerOptionsBuilder::default()
            .condition("removed")
            .build();
        let mut waiting = Box::pin(self.docker.wait_container(container, Some(options)));
        match waiting.next().await {
            None | Some(Ok(_) | Err(Error::DockerContainerWaitError { .. })) => Ok(()),
            Some(Err(error)) => Err(engine_error(error)),
        }
    }
}

#[async_trait]
impl Engine for BollardEngine {
    async fn version(&self) -> Result<EngineVersion, EngineError> {
        let version = self.docker.version().await.map_err(engine_error)?;
        Ok(EngineVersion {
            engine: version.version.unwrap_or_default(),
            api: self.docker.client_version().to_string(),
            arch: version.arch.unwrap_or_default(),
        })
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>, EngineError> {
        let inspected = self.docker.inspect_image(reference).await;
        match inspected.map_err(engine_error) {
            Ok(image) => Ok(Some(image_info(reference, image))),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn images(&self, label: &str) -> Result<Vec<ImageInfo>, EngineError> {
        let options = ListImagesOptionsBuilder::default()
            .filters(&filters([("label", vec![label])]))
            .build();
        let listed = self.docker.list_images(Some(options)).await;
        let mut images = Vec::new();
        for image in listed.map_err(engine_error)? {
            let Some(own) = image.labels.get(label) else {
                continue;
            };
            if image.repo_tags.contains(own) {
                images.extend(self.image(own).await?);
            }
        }
        Ok(images)
    }

    async fn tag_image(&self, reference: &str) -> Result<(), EngineError> {
        let (name, tag) = reference.rsplit_once(':').unwrap_or((reference, "latest"));
        let options = TagImageOptionsBuilder::default()
            .repo(name)
            .tag(tag)
            .build();
        self.docker
            .tag_image(reference, Some(options))
            .await
            .map_err(engine_error)
    }

    async fn remove_image(&self, reference: &str) -> Result<(), EngineError> {
        let options = RemoveImageOptionsBuilder::default().force(false).build();
        self.docker
            .remove_image(reference, Some(options), None)
            .await
            .map_err(engine_error)?;
        Ok(())
    }

    async fn import_image(&self, archive: Bytes) -> Result<(), EngineError> {
        let options = ImportImageOptionsBuilder::default().quiet(true).build();
        let progress = self
            .docker
            .import_image(options, bollard::body_full(archive), None);
        progress
            .try_for_each(|_| async { Ok(()) })
            .await
            .map_err(engine_error)
    }

    async fn networks(&self, label: Option<&str>) -> Result<Vec<NetworkInfo>, EngineError> {
        let mut options = ListNetworksOptionsBuilder::default();
        if let Some(label) = label {
            options = options.filters(&filters([("label", vec![label])]));
        }
        let networks = self.docker.list_networks(Some(options.build())).await;
        Ok(networks
            .map_err(engine_error)?
            .into_iter()
            .filter_map(network_info)
            .collect())
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<(), EngineError> {
        self.docker
            .create_network(network_request(spec))
            .await
            .map_err(engine_error)?;
        Ok(())
    }

    async fn remove_network(&self, network: &str) -> Result<(), EngineError> {
        self.docker
            .remove_network(network)
            .await
            .map_err(engine_error)
    }

    async fn disconnect(&self, network: &str, container: &str) -> Result<(), EngineError> {
        let request = NetworkDisconnectRequest {
            container: container.to_owned(),
            force: Some(true),
        };
        self.docker
            .disconnect_network(network, request)
            .await
            .map_err(engine_error)
    }

    async fn containers(&self, label: &str) -> Result<Vec<ContainerInfo>, EngineError> {
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters([("label", vec![label])]))
            .build();
        let containers = self.docker.list_containers(Some(options)).await;
        Ok(containers
            .map_err(engine_error)?
            .into_iter()
            .filter_map(container_info)
            .collect())
    }

    async fn create_container(&self, spec: &ContainerSpec) -> Result<(), EngineError> {
        let options = CreateContainerOptionsBuilder::default()
            .name(&spec.name)
            .build();
        let body = container_body(spec);
        self.docker
            .create_container(Some(options), body)
            .await
            .map_err(engine_error)?;
        Ok(())
    }

    async fn start_container(&self, container: &str) -> Result<(), EngineError> {
        self.docker
            .start_container(container, None)
            .await
            .map_err(engine_error)
    }

    async fn kill_container(&self, container: &str) -> Result<(), EngineError> {
        let options = KillContainerOptionsBuilder::default()
            .signal("SIGKILL")
            .build();
        self.docker
            .kill_container(container, Some(options))
            .await
            .map_err(engine_error)
    }

    async fn stop_container(&self, container: &str, seconds: i32) -> Result<(), EngineError> {
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        self.docker
            .stop_container(container, Some(options))
            .await
            .map_err(engine_error)
    }

    async fn pause_container(&self, container: &str) -> Result<(), EngineError> {
        self.docker
            .pause_container(container)
            .await
            .map_err(engine_error)
    }

    async fn unpause_container(&self, container: &str) -> Result<(), EngineError> {
        self.docker
            .unpause_container(container)
            .await
            .map_err(engine_error)
    }

    async fn remove_container(&self, container: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::default()
            .force(true)
            .v(true)
            .build();
        match self
            .docker
            .remove_container(container, Some(options))
            .await
            .map_err(engine_error)
        {
            // Somebody else is at it already.
            Err(error) if error.kind == ErrorKind::Conflict => self.gone(container).await,
            other => other,
        }
    }

    async fn attach(&self, container: &str) -> Result<Pipe, EngineError> {
        let options = AttachContainerOptionsBuilder::default()
            .stream(true)
            .stdin(true)
            .stdout(true)
            .stderr(true)
            .build();
        let attached = self
            .docker
            .attach_container(container, Some(options))
            .await
            .map_err(engine_error)?;
        Ok(Pipe::new(outputs(attached.output), attached.input))
    }

    async fn exec(&self, container: &str, command: &[&str]) -> Result<Pipe, EngineError> {
        let config = CreateExecOptions {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.to_vec()),
            ..CreateExecOptions::default()
        };
        let exec = self
            .docker
            .create_exec(container, config)
            .await
            .map_err(engine_error)?;
        // Output comes in pieces of at most this many bytes.
        let options = StartExecOptions {
            output_capacity: Some(64 * 1024),
            ..StartExecOptions::default()
        };
        match self
            .docker
            .start_exec(&exec.id, Some(options))
            .await
            .map_err(engine_error)?
        {
            StartExecResults::Attached { output, input } => Ok(Pipe::new(outputs(output), input)),
            StartExecResults::Detached => Err(EngineError::new(
                ErrorKind::Other,
                "the engine did not connect the process",
            )),
        }
    }

    async fn logs(&self, container: &str, lines: usize) -> Result<Vec<String>, EngineError> {
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(&lines.to_string())
            .build();
        let pieces: Vec<LogOutput> = self
            .docker
            .logs(container, Some(options))
            .try_collect()
            .await
            .map_err(engine_error)?;
        let bytes: Vec<u8> = pieces.into_iter().flat_map(LogOutput::into_bytes).collect();
        Ok(String::from_utf8_lossy(&bytes)
            .lines()
            .map(str::to_owned)
            .collect())
    }

    fn follow_logs(&self, container: &str) -> BoxStream<'static, Result<String, EngineError>> {
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .follow(true)
            .tail("0")
            .build();
        lines(
            self.docker
                .logs(container, Some(options))
                .map_ok(LogOutput::into_bytes)
                .boxed(),
        )
    }

    fn events(
        &self,
        label: &str,
        since: Option<u64>,
    ) -> BoxStream<'static, Result<EngineEvent, EngineError>> {
        let filters = filters([
            ("label", vec![label]),
            ("type", vec!["container"]),
            ("event", vec!["start", "die"]),
        ]);
        let mut options = EventsOptionsBuilder::default().filters(&filters);
        if let Some(since) = since {
            options = options.since(&since.to_string());
        }
        let events = self.docker.events(Some(options.build()));
        let event = |event: bollard::models::EventMessage| EngineEvent {
            action: event.action.unwrap_or_default(),
            attributes: event
                .actor
                .and_then(|actor| actor.attributes)
                .unwrap_or_default()
                .into_iter()
                .collect(),
            time_ns: event.time_nano.unwrap_or_default(),
        };
        events.map_ok(event).map_err(engine_error).boxed()
    }
}

fn filters<const N: usize>(filters: [(&str, Vec<&str>); N]) -> HashMap<String, Vec<String>> {
    filters
        .into_iter()
        .map(|(key, values)| {
            (
                key.to_owned(),
                values.into_iter().map(str::to_owned).collect(),
            )
        })
        .collect()
}

fn outputs(
    output: impl Stream<Item = Result<LogOutput, Error>> + Send + 'static,
) -> impl Stream<Item = io::Result<Output>> + Send + 'static {
    output
        .map_err(io::Error::other)
        .map_ok(|piece| match piece {
            LogOutput::StdErr { message } => Output::Stderr(message),
            LogOutput::StdOut { message }
            | LogOutput::StdIn { message }
            | LogOutput::Console { message } => Output::Stdout(message),
        })
}

/// Splits pieces of bytes into lines; what follows the last line break is a line too.
fn lines(
    pieces: BoxStream<'static, Result<Bytes, Error>>,
) -> BoxStream<'static, Result<String, EngineError>> {
    let text = |line: Vec<u8>| {
        String::from_utf8_lossy(&line)
            .trim_end_matches('\r')
            .to_owned()
    };
    let state = (Some(pieces), Vec::new());
    let split = stream::unfold(state, move |(pieces, mut rest)| async move {
        let mut pieces = pieces?;
        match pieces.next().await {
            Some(Ok(piece)) => {
                rest.extend_from_slice(&piece);
                let end = rest
                    .iter()
                    .rposition(|byte| *byte == b'\n')
                    .map_or(0, |at| at + 1);
                let whole: Vec<u8> = rest.drain(..end).collect();
                let lines: Vec<_> = whole
                    .split_inclusive(|byte| *byte == b'\n')
                    .map(|line| Ok(text(line[..line.len() - 1].to_vec())))
                    .collect();
                Some((lines, (Some(pieces), rest)))
            }
            Some(Err(error)) => Some((vec![Err(engine_error(error))], (None, Vec::new()))),
            None if rest.is_empty() => None,
            None => Some((vec![Ok(text(rest))], (None, Vec::new()))),
        }
    });
    split.flat_map(stream::iter).boxed()
}

/// Sorts an error by what has to be done about it.
fn engine_error(error: Error) -> EngineError {
    if let Error::DockerResponseServerError {
        status_code,
        message,
    } = &error
    {
        return EngineError::new(server_error(*status_code, message), message.trim());
    }
    if let Error::SocketNotFoundError(path) = &error {
        return EngineError::new(ErrorKind::NoEngine, format!("there is no socket `{path}`"));
    }
    let kind = match io_kind(&error) {
        Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => ErrorKind::NoEngine,
        Some(io::ErrorKind::PermissionDenied) => ErrorKind::NoPermission,
        _ => ErrorKind::Other,
    };
    let message = match kind {
        ErrorKind::NoEngine => "no engine listens there",
        ErrorKind::NoPermission => "this user may not open the engine's socket",
        _ => "the call to the engine failed",
    };
    EngineError {
        source: Some(Box::new(error)),
        ..EngineError::new(kind, message)
    }
}

fn server_error(status: u16, message: &str) -> ErrorKind {
    match status {
        _ if message.contains("overlap") => ErrorKind::Overlap,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        _ => ErrorKind::Other,
    }
}

/// The kind of the first I/O error among the causes.
fn io_kind(error: &Error) -> Option<io::ErrorKind> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        cause = error.source();
    }
    None
}
