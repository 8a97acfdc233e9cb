//! Which runtimes a command works with: a new testnet is made on Docker where an engine answers, else in namespaces; those
//! that run are looked for everywhere.

use async_trait::async_trait;
use netsplit_plan::plan::Plan;
use netsplit_runtime::{
    Diagnosis, Launch, ProgressSink, RunId, RunSummary, Runtime, RuntimeError, Teardown, Testnet,
    docker::Docker, namespaces::Namespaces,
};

use super::{Context, options::RuntimeChoice};
use crate::{error::CommandError, report::recorder::state_home};

/// Where testnets that run are looked for: the runtime that `--runtime` names, or all.
///
/// # Errors
/// When the runtime is not built yet, or its engine was asked for and does not answer.
pub(super) async fn running(context: &Context) -> Result<Box<dyn Runtime>, CommandError> {
    match context.options.runtime {
        RuntimeChoice::Docker => Ok(Box::new(Docker::connect().await?)),
        RuntimeChoice::Namespaces => Ok(Box::new(namespaces())),
        RuntimeChoice::Auto => Ok(Box::new(auto(docker().await?.ok()))),
        RuntimeChoice::Swarm => Err(not_built("swarm")),
        RuntimeChoice::Sim => Err(not_built("sim")),
    }
}

/// Where a new testnet is made: as [`running`], but Docker only where an engine answers, and it is told if none does.
///
/// # Errors
/// As [`running`].
pub(super) async fn launching(context: &Context) -> Result<Box<dyn Runtime>, CommandError> {
    if context.options.runtime != RuntimeChoice::Auto {
        return running(context).await;
    }
    let docker = docker().await?;
    if let Err(why) = &docker {
        let text = format!("namespaces, because of Docker: {why}");
        context.ui.status("Using", &text);
    }
    Ok(Box::new(auto(docker.ok())))
}

/// What every runtime needs and has here, by runtime, and why Docker could not be asked.
///
/// # Errors
/// As [`running`].
pub(super) async fn doctor(context: &Context) -> Result<Vec<Vec<Diagnosis>>, CommandError> {
    if context.options.runtime != RuntimeChoice::Auto {
        return Ok(vec![running(context).await?.doctor().await]);
    }
    let docker = match Docker::connect().await {
        Ok(docker) => docker.doctor().await,
        Err(error) => vec![Diagnosis {
            what: "engine".to_owned(),
            ok: false,
            detail: error.to_string(),
            hint: error.hints.first().cloned(),
        }],
    };
    let named = |runtime: &str, diagnoses: Vec<Diagnosis>| {
        let name = |diagnosis: Diagnosis| Diagnosis {
            what: format!("{runtime}: {}", diagnosis.what),
            ..diagnosis
        };
        diagnoses.into_iter().map(name).collect()
    };
    Ok(vec![
        named("docker", docker),
        named("namespaces", namespaces().doctor().await),
    ])
}

/// The engine, or why it does not answer. Whoever names one with `DOCKER_HOST` wants that one and no other runtime.
async fn docker() -> Result<Result<Docker, RuntimeError>, CommandError> {
    let named = std::env::var_os("DOCKER_HOST").is_some_and(|host| !host.is_empty());
    match Docker::connect().await {
        Err(error) if named => Err(error.into()),
        answer => Ok(answer),
    }
}

fn auto(docker: Option<Docker>) -> Several {
    let docker = docker.map(|docker| Box::new(docker) as Box<dyn Runtime>);
    let namespaces = Box::new(namespaces());
    Several(
        docker
            .into_iter()
            .chain([namespaces as Box<dyn Runtime>])
            .collect(),
    )
}

fn namespaces() -> Namespaces {
    Namespaces::new(state_home())
}

fn not_built(name: &str) -> CommandError {
    CommandError::usage(format!("the runtime `{name}` is not built yet"))
        .hint("use `--runtime docker` or `--runtime namespaces`")
}

/// Several runtimes as one; never empty. A run belongs to the one that lists it.
struct Several(Vec<Box<dyn Runtime>>);

impl Several {
    fn first(&self) -> &dyn Runtime {
        self.0[0].as_ref()
    }

    /// The runtime that has this run; the first, which then says what is wrong, if none has it.
    async fn holder(&self, run: &RunId) -> Result<&dyn Runtime, RuntimeError> {
        for runtime in &self.0 {
            if runtime.list().await?.iter().any(|other| other.run == *run) {
                return Ok(runtime.as_ref());
            }
        }
        Ok(self.first())
    }
}

#[async_trait]
impl Runtime for Several {
    fn name(&self) -> &'static str {
        self.first().name()
    }

    async fn check(&self, plan: &Plan) -> Result<(), RuntimeError> {
        self.first().check(plan).await
    }

    async fn launch(
        &self,
        launch: Launch,
        progress: ProgressSink,
    ) -> Result<Box<dyn Testnet>, RuntimeError> {
        self.first().launch(launch, progress).await
    }

    async fn list(&self) -> Result<Vec<RunSummary>, RuntimeError> {
        let mut all = Vec::new();
        for runtime in &self.0 {
            all.extend(runtime.list().await?);
        }
        Ok(all)
    }

    async fn attach(&self, run: &RunId) -> Result<Box<dyn Testnet>, RuntimeError> {
        self.holder(run).await?.attach(run).await
    }

    async fn remove(&self, run: &RunId, progress: ProgressSink) -> Result<Teardown, RuntimeError> {
        self.holder(run).await?.remove(run, progress).await
    }

    async fn gc(&self) -> Result<Vec<(RunId, Teardown)>, RuntimeError> {
        let mut all = Vec::new();
        for runtime in &self.0 {
            all.extend(runtime.gc().await?);
        }
        Ok(all)
    }

    async fn doctor(&self) -> Vec<Diagnosis> {
        self.first().doctor().await
    }
}
