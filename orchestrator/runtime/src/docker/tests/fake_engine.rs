//! An engine in memory that fails where it is told to.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use netsplit_faults::{
    link::{Applied, Counters},
    protocol::{Message, ReplyBody, Request, RequestBody},
};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};

use super::super::{
    engine::{
        ContainerInfo, ContainerSpec, ContainerState, Engine, EngineError, EngineEvent,
        EngineVersion, ErrorKind, ImageInfo, NetworkInfo, NetworkSpec,
    },
    labels::Part,
    launch::now,
    stream::{LastWords, Pipe},
};

/// How a call that is told to fail does so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing happens.
    Before,
    /// It is done, but the answer is lost.
    After,
    /// It is done, but there is never an answer.
    Silence,
}

type CreateHook = Box<dyn Fn(&str) + Send>;

#[derive(Default)]
pub(super) struct State {
    pub(super) calls: Vec<String>,
    /// Containers that leave a network right now, and most at a time so far.
    pub(super) departing: (usize, usize),
    /// When each was tagged, in seconds since the epoch; importing is no tagging.
    pub(super) images: BTreeMap<String, Option<u64>>,
    pub(super) containers: BTreeMap<String, (ContainerSpec, ContainerState)>,
    pub(super) networks: BTreeMap<String, NetworkSpec>,
    pub(super) fail_at: Option<(usize, Failure)>,
    /// Containers that cannot be removed.
    pub(super) stuck: BTreeSet<String>,
    /// So many networks are still refused as overlapping.
    pub(super) overlaps: usize,
    /// Called with the name of whatever is about to be created.
    pub(super) on_create: Option<CreateHook>,
    documents: BTreeMap<String, Value>,
}

/// The engine; clones share it.
#[derive(Clone, Default)]
pub(in super::super) struct FakeEngine(Arc<Mutex<State>>);

impl FakeEngine {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Names of everything there is, images apart.
    pub(super) fn things(&self) -> Vec<String> {
        let state = self.state();
        state
            .containers
            .keys()
            .chain(state.networks.keys())
            .cloned()
            .collect()
    }

    async fn call(
        &self,
        call: String,
        effect: impl FnOnce(&mut State) -> Result<(), EngineError> + Send,
    ) -> Result<(), EngineError> {
        // A real call takes its time: others run meanwhile.
        tokio::task::yield_now().await;
        let broken = EngineError::new(ErrorKind::Other, format!("told to fail: {call}"));
        let failure = {
            let mut state = self.state();
            let number = state.calls.len();
            state.calls.push(call);
            let failure = state
                .fail_at
                .filter(|(at, _)| *at == number)
                .map(|(_, failure)| failure);
            if failure != Some(Failure::Before) {
                effect(&mut state)?;
            }
            failure
        };
        match failure {
            None => Ok(()),
            Some(Failure::Before | Failure::After) => Err(broken),
            Some(Failure::Silence) => std::future::pending().await,
        }
    }

    async fn set(
        &self,
        verb: &str,
        container: &str,
        to: ContainerState,
    ) -> Result<(), EngineError> {
        self.call(format!("{verb} {container}"), |state| {
            let known = state.containers.get_mut(container);
            known.ok_or_else(|| missing(container))?.1 = to;
            Ok(())
        })
        .await
    }

    fn pipe(&self, spec: ContainerSpec) -> Pipe {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let engine = self.clone();
        tokio::spawn(async move {
            // A stream that breaks is what a process that ends looks like.
            let _ = match Part::of(&spec.labels) {
                Some(Part::Reaper) => engine.reaper(&spec.name, theirs).await,
                _ => engine.agent(&spec.labels["netsplit.run"], theirs).await,
            };
        });
        let (reader, writer) = tokio::io::split(ours);
        Pipe {
            reader: Box::new(reader),
            writer: Box::pin(writer),
            last_words: LastWords::default(),
        }
    }

    /// A reaper that does nothing at its maker's death: the tests do that by hand.
    async fn reaper(&self, name: &str, stream: DuplexStream) -> std::io::Result<()> {
        let (reader, mut writer) = tokio::io::split(stream);
        writer.write_all(b"ready\n").await?;
        let mut lines = BufReader::new(reader).lines();
        while let Some(line) = lines.next_line().await? {
            if line == "detach" {
                self.state().containers.remove(name);
                break;
            }
        }
        Ok(())
    }

    async fn agent(&self, run: &str, stream: DuplexStream) -> std::io::Result<()> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        loop {
            let mut frame = vec![0; reader.read_u32().await? as usize];
            reader.read_exact(&mut frame).await?;
            let request: Request = serde_json::from_slice(&frame)?;
            let body = self.answer(run, request.body);
            let reply = serde_json::to_vec(&Message::Reply {
                id: request.id,
                body,
            })?;
            writer
                .write_u32(u32::try_from(reply.len()).unwrap())
                .await?;
            writer.write_all(&reply).await?;
        }
    }

    fn answer(&self, run: &str, request: RequestBody) -> ReplyBody {
        let documents = &mut self.state().documents;
        match request {
            RequestBody::PutState(value) => {
                documents.insert(run.to_owned(), value);
                ReplyBody::Done
            }
            RequestBody::GetState => {
                ReplyBody::State(documents.get(run).cloned().unwrap_or_default())
            }
            RequestBody::Counters => ReplyBody::Counters(Counters::default()),
            RequestBody::Apply(table) => ReplyBody::Applied(Applied {
                version: table.version,
                committed_from_ns: 0,
                committed_to_ns: 0,
                pairs_intended: 0,
                pairs_installed: 0,
                differences: Vec::new(),
            }),
            _ => ReplyBody::Done,
        }
    }
}

fn missing(name: &str) -> EngineError {
    EngineError::new(ErrorKind::NotFound, format!("no such thing: {name}"))
}

fn matches(labels: &BTreeMap<String, String>, label: &str) -> bool {
    match label.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|own| own == value),
        None => labels.contains_key(label),
    }
}

#[async_trait]
impl Engine for FakeEngine {
    async fn version(&self) -> Result<EngineVersion, EngineError> {
        self.call("version".into(), |_| Ok(())).await?;
        Ok(EngineVersion {
            engine: "0".into(),
            api: "1.41".into(),
            arch: "amd64".into(),
        })
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>, EngineError> {
        self.call(format!("image {reference}"), |_| Ok(())).await?;
        let tagged = self.state().images.get(reference).copied();
        Ok(tagged.map(|tagged| ImageInfo {
            reference: reference.to_owned(),
            tagged,
        }))
    }

    async fn images(&self, _: &str) -> Result<Vec<ImageInfo>, EngineError> {
        self.call("images".into(), |_| Ok(())).await?;
        let state = self.state();
        let info = |(reference, tagged): (&String, &Option<u64>)| ImageInfo {
            reference: reference.clone(),
            tagged: *tagged,
        };
        Ok(state.images.iter().map(info).collect())
    }

    async fn tag_image(&self, reference: &str) -> Result<(), EngineError> {
        self.call(format!("tag {reference}"), |state| {
            let tagged = state.images.get_mut(reference);
            *tagged.ok_or_else(|| missing(reference))? = Some(now().0 / 1_000_000_000);
            Ok(())
        })
        .await
    }

    async fn remove_image(&self, reference: &str) -> Result<(), EngineError> {
        self.call(format!("remove-image {reference}"), |state| {
            let used = |(spec, _): &(ContainerSpec, _)| spec.image == reference;
            if state.containers.values().any(used) {
                return Err(EngineError::new(ErrorKind::Conflict, "a container uses it"));
            }
            let removed = state.images.remove(reference);
            removed.map(|_| ()).ok_or_else(|| missing(reference))
        })
        .await
    }

    async fn import_image(&self, archive: Bytes) -> Result<(), EngineError> {
        self.call("import-image".into(), |state| {
            let mut archive = tar::Archive::new(&archive[..]);
            let manifest = archive
                .entries()
                .unwrap()
                .map(Result::unwrap)
                .find(|entry| entry.path().unwrap().ends_with("manifest.json"));
            let manifest: Value = serde_json::from_reader(manifest.unwrap()).unwrap();
            state.images.insert(
                manifest[0]["RepoTags"][0].as_str().unwrap().to_owned(),
                None,
            );
            Ok(())
        })
        .await
    }

    async fn networks(&self, label: Option<&str>) -> Result<Vec<NetworkInfo>, EngineError> {
        self.call("networks".into(), |_| Ok(())).await?;
        let state = self.state();
        let networks = state.networks.values();
        let wanted = networks.filter(|spec| label.is_none_or(|label| matches(&spec.labels, label)));
        Ok(wanted
            .map(|spec| NetworkInfo {
                id: spec.name.clone(),
                name: spec.name.clone(),
                labels: spec.labels.clone(),
                subnets: vec![spec.subnet],
            })
            .collect())
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<(), EngineError> {
        self.call(format!("create-network {}", spec.subnet), |state| {
            if let Some(hook) = &state.on_create {
                hook(&spec.name);
            }
            if state.overlaps > 0 {
                state.overlaps -= 1;
                return Err(EngineError::new(ErrorKind::Overlap, "pool overlaps"));
            }
            state.networks.insert(spec.name.clone(), spec.clone());
            Ok(())
        })
        .await
    }

    async fn remove_network(&self, network: &str) -> Result<(), EngineError> {
        self.call(format!("remove-network {network}"), |state| {
            let in_use = state.containers.values().any(|(spec, _)| {
                matches!(&spec.network, super::super::engine::Attachment::Network { name, .. } if name == network)
            });
            if in_use {
                return Err(EngineError::new(ErrorKind::Other, "it has active endpoints"));
            }
            state.networks.remove(network).map(|_| ()).ok_or_else(|| missing(network))
        })
        .await
    }

    async fn disconnect(&self, network: &str, container: &str) -> Result<(), EngineError> {
        {
            let (now, most) = &mut self.state().departing;
            *now += 1;
            *most = (*most).max(*now);
        }
        let call = self.call(format!("disconnect {network} {container}"), |state| {
            let known = state
                .containers
                .get_mut(container)
                .ok_or_else(|| missing(container))?;
            known.0.network = super::super::engine::Attachment::None;
            Ok(())
        });
        let result = call.await;
        self.state().departing.0 -= 1;
        result
    }

    async fn containers(&self, label: &str) -> Result<Vec<ContainerInfo>, EngineError> {
        self.call("containers".into(), |_| Ok(())).await?;
        let state = self.state();
        let wanted = state
            .containers
            .values()
            .filter(|(spec, _)| matches(&spec.labels, label));
        Ok(wanted
            .map(|(spec, state)| ContainerInfo {
                id: spec.name.clone(),
                name: spec.name.clone(),
                labels: spec.labels.clone(),
                state: *state,
            })
            .collect())
    }

    async fn create_container(&self, spec: &ContainerSpec) -> Result<(), EngineError> {
        self.call(format!("create {}", spec.name), |state| {
            if let Some(hook) = &state.on_create {
                hook(&spec.name);
            }
            if !state.images.contains_key(&spec.image) {
                return Err(missing(&spec.image));
            }
            let created = (spec.clone(), ContainerState::Created);
            state.containers.insert(spec.name.clone(), created);
            Ok(())
        })
        .await
    }

    async fn start_container(&self, container: &str) -> Result<(), EngineError> {
        self.set("start", container, ContainerState::Running).await
    }

    async fn kill_container(&self, container: &str) -> Result<(), EngineError> {
        self.set("kill", container, ContainerState::Exited).await
    }

    async fn stop_container(&self, container: &str, _: i32) -> Result<(), EngineError> {
        self.set("stop", container, ContainerState::Exited).await
    }

    async fn pause_container(&self, container: &str) -> Result<(), EngineError> {
        self.set("pause", container, ContainerState::Paused).await
    }

    async fn unpause_container(&self, container: &str) -> Result<(), EngineError> {
        self.set("unpause", container, ContainerState::Running)
            .await
    }

    async fn remove_container(&self, container: &str) -> Result<(), EngineError> {
        self.call(format!("remove {container}"), |state| {
            if state.stuck.contains(container) {
                return Err(EngineError::new(
                    ErrorKind::Other,
                    "device or resource busy",
                ));
            }
            state
                .containers
                .remove(container)
                .map(|_| ())
                .ok_or_else(|| missing(container))
        })
        .await
    }

    async fn attach(&self, container: &str) -> Result<Pipe, EngineError> {
        self.call(format!("attach {container}"), |_| Ok(())).await?;
        let spec = self
            .state()
            .containers
            .get(container)
            .map(|(spec, _)| spec.clone());
        spec.map(|spec| self.pipe(spec))
            .ok_or_else(|| missing(container))
    }

    async fn exec(&self, container: &str, _: &[&str]) -> Result<Pipe, EngineError> {
        self.call(format!("exec {container}"), |_| Ok(())).await?;
        let spec = self
            .state()
            .containers
            .get(container)
            .map(|(spec, _)| spec.clone());
        spec.map(|spec| self.pipe(spec))
            .ok_or_else(|| missing(container))
    }

    async fn logs(&self, _: &str, _: usize) -> Result<Vec<String>, EngineError> {
        Ok(Vec::new())
    }

    fn follow_logs(&self, _: &str) -> BoxStream<'static, Result<String, EngineError>> {
        stream::empty().boxed()
    }

    fn events(
        &self,
        _: &str,
        _: Option<u64>,
    ) -> BoxStream<'static, Result<EngineEvent, EngineError>> {
        stream::pending().boxed()
    }
}
