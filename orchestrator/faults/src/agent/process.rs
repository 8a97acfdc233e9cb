//! The agent as a process: its first client on standard input and output, later ones on a socket.

use std::{
    fs, io,
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, PermissionsExt},
    },
    path::Path,
    sync::Arc,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{UnixListener, UnixStream, unix::pipe},
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

use super::{
    sanitise::{Settings, sanitise},
    server::{Agent, Open},
    session,
};
use crate::{
    enforcer::EnforceError,
    links::LinkError,
    nft::{
        build::Scope,
        kernel::Kernel,
        ruleset::{Family, table_name},
    },
    protocol::{Configure, SOCKET},
};

/// The agent could not be, or could not clean up.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The process could not be set up.
    #[error("failed to {operation}")]
    Start {
        /// What was attempted.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A cut may be left in the kernel.
    #[error("failed to remove the firewall table")]
    Clear(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn start(operation: &'static str) -> impl FnOnce(io::Error) -> ServeError {
    move |source| ServeError::Start { operation, source }
}

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// The hidden subcommand `agent`: serves until it is told to end (`SIGTERM`, `SIGINT`) or, where it is owned, its first client
/// is gone; then removes the table. Must be called before anything else is done in the process.
///
/// # Errors
/// When it cannot start, or the table cannot be removed.
pub fn serve() -> Result<(), ServeError> {
    let settings = sanitise().map_err(start("give up what was inherited"))?;
    log_to_stderr();
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let agent = Arc::new(Agent::new(enforcers(settings)));
        let listener = listen(Path::new(SOCKET)).map_err(start("listen for clients"))?;
        let (reader, writer) = standard_streams()?;
        serve_on(&agent, (reader, writer), listener, settings.owned).await?;
        agent
            .clear()
            .map_err(|error: LinkError| ServeError::Clear(error.into()))
    });
    // A read of standard input may still be pending; it must not hold the process up.
    runtime.shutdown_background();
    result
}

/// The hidden subcommand `agent connect`: carries standard input and output to the agent's socket until either ends.
///
/// # Errors
/// When there is no agent, or the stream breaks.
pub fn bridge() -> Result<(), ServeError> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let stream = UnixStream::connect(SOCKET)
            .await
            .map_err(start("reach the agent"))?;
        let (reader, writer) = standard_streams()?;
        carry(stream, reader, writer)
            .await
            .map_err(start("carry a client's stream"))
    });
    runtime.shutdown_background();
    result
}

/// Ends when the agent's side does; the end of our input is passed on, and what the agent still says is read.
async fn carry(stream: UnixStream, mut reader: Reader, mut writer: Writer) -> io::Result<()> {
    let (mut from_agent, mut to_agent) = stream.into_split();
    let up = async {
        tokio::io::copy(&mut reader, &mut to_agent).await?;
        drop(to_agent);
        std::future::pending::<io::Result<()>>().await
    };
    let down = async {
        tokio::io::copy(&mut from_agent, &mut writer)
            .await
            .map(drop)
    };
    tokio::select! {
        result = up => result,
        result = down => result,
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(start("start the runtime"))
}

fn log_to_stderr() {
    let subscriber = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO);
    // Whoever set one before knows better.
    let _ = subscriber.try_init();
}

/// The kernel as the enforcer of the run's table.
#[cfg(not(feature = "sabotage"))]
fn enforcers(_: Settings) -> Open {
    Box::new(|configure| Ok(Box::new(open_kernel(configure)?)))
}

/// The kernel as the enforcer of the run's table, broken if that was asked for.
#[cfg(feature = "sabotage")]
fn enforcers(settings: Settings) -> Open {
    Box::new(move |configure| {
        let kernel = Box::new(open_kernel(configure)?);
        Ok(super::sabotage::wrap(kernel, settings.sabotage))
    })
}

fn open_kernel(configure: &Configure) -> Result<Kernel, EnforceError> {
    let Some(device) = &configure.device else {
        return Err(EnforceError::Refused {
            operation: "find the network that is to be cut",
            source: io::Error::new(io::ErrorKind::InvalidInput, "no bridge was named"),
        });
    };
    let table = table_name(&configure.run);
    let scope = Scope {
        family: Family::Bridge,
        table,
        probe_port: configure.probe_port,
    };
    Kernel::open(scope, Some(device))
}

/// Standard input and output, which are pipes wherever an engine or a program started us.
fn standard_streams() -> Result<(Reader, Writer), ServeError> {
    let open = || {
        let reader = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
        let writer = pipe::Sender::from_owned_fd(io::stdout().as_fd().try_clone_to_owned()?)?;
        Ok((Box::new(reader) as Reader, Box::new(writer) as Writer))
    };
    open().map_err(start("use standard input and output as pipes"))
}

/// A socket that only this user reaches.
fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves until told to end.
async fn serve_on(
    agent: &Arc<Agent>,
    (reader, writer): (Reader, Writer),
    listener: UnixListener,
    owned: bool,
) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(start("wait for signals"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(start("wait for signals"))?;
    let mut first = tokio::spawn(session::serve(Arc::clone(agent), reader, writer));
    let mut first_ended = false;
    let mut later = JoinSet::new();
    loop {
        tokio::select! {
            ended = &mut first, if !first_ended => {
                first_ended = true;
                report(ended);
                if owned {
                    return Ok(());
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (reader, writer) = stream.into_split();
                    later.spawn(session::serve(Arc::clone(agent), reader, writer));
                }
                Err(error) => tracing::warn!(%error, "a client could not be accepted"),
            },
            Some(ended) = later.join_next() => report(ended),
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

fn report(ended: Result<io::Result<()>, tokio::task::JoinError>) {
    match ended {
        Ok(Ok(())) => tracing::info!("a client left"),
        Ok(Err(error)) => tracing::info!(%error, "a client was lost"),
        Err(error) => tracing::error!(%error, "a client's session failed"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use tokio::io::DuplexStream;

    use super::*;
    use crate::{agent::client::AgentClient, enforcer::fake::FakeKernel};

    const PATIENCE: Duration = Duration::from_secs(10);

    fn agent() -> Arc<Agent> {
        let scope = Scope {
            family: Family::Bridge,
            table: "t".to_owned(),
            probe_port: 9,
        };
        let kernel = FakeKernel::new(scope);
        Arc::new(Agent::new(Box::new(move |_| Ok(Box::new(kernel.clone())))))
    }

    fn streams() -> (DuplexStream, (Reader, Writer)) {
        let (near, far) = tokio::io::duplex(4096);
        let (reader, writer) = tokio::io::split(far);
        (near, (Box::new(reader), Box::new(writer)))
    }

    #[tokio::test]
    async fn an_owned_agent_ends_with_its_first_client() {
        let directory = tempfile::tempdir().unwrap();
        let listener = listen(&directory.path().join("run/agent.sock")).unwrap();
        let (first, standard) = streams();
        let serving =
            tokio::spawn(async move { serve_on(&agent(), standard, listener, true).await });
        let (reader, writer) = tokio::io::split(first);
        let (client, pushes) = AgentClient::new(reader, writer);
        client.health().await.unwrap();
        drop((client, pushes));
        tokio::time::timeout(PATIENCE, serving)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn a_detached_agent_serves_later_clients_on_its_socket_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/agent.sock");
        let listener = listen(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let (first, standard) = streams();
        let serving =
            tokio::spawn(async move { serve_on(&agent(), standard, listener, false).await });
        drop(first);
        // As `agent connect` does it.
        let (near, (reader, writer)) = streams();
        let stream = UnixStream::connect(&path).await.unwrap();
        let carrying = tokio::spawn(carry(stream, reader, writer));
        let (reader, writer) = tokio::io::split(near);
        let (client, pushes) = AgentClient::new(reader, writer);
        client.put_state(serde_json::json!(1)).await.unwrap();
        drop((client, pushes));
        tokio::time::timeout(PATIENCE, carrying)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert!(!serving.is_finished());
        serving.abort();
    }
}
