//! From the words of a topology to a plan; everything that makes no sense is reported on the way.
//!
//! Only what is certainly wrong is a problem: a scenario may well fail on purpose.

mod checks;
mod churn;
mod faults;
mod keys;
mod nodes;
mod payments;
mod random;
mod remarks;
mod select;
mod stage;
mod world;

use std::collections::BTreeMap;

pub use self::{remarks::remarks, select::select, world::Situation};
use self::{stage::Stage, world::World};
use crate::{
    plan::{Plan, PlannedChain, PlannedStep},
    problem::{Collector, Fault},
    topology::{
        Damage,
        steps::Step,
        tree::{Path, Tree},
        words::Topology,
    },
};

/// Plans a topology; `None` if it cannot be planned at all.
pub(crate) fn plan(
    topology: &Topology,
    tree: &Tree,
    damage: Damage,
    problems: &mut Collector,
) -> Option<Plan> {
    let nodes = nodes::plan(topology, &joining(topology), tree, problems);
    let payees = if topology.chain.premine == 0 {
        Vec::new()
    } else {
        nodes::payees(&nodes)
    };
    if topology.chain.premine > 0 && payees.is_empty() && !damage.nodes {
        let path = Path::default().key("chain").key("premine");
        let fault = Fault::new("premined blocks have nobody to pay")
            .label("no wallet and no miner")
            .help("add a node with the role `wallet` or `miner`, or leave `premine` out");
        problems.report(path.span(tree), fault);
    }
    let defaults = &topology.defaults;
    if let (Some(min), Some(max)) = (defaults.min_peers, defaults.max_peers)
        && min > max
    {
        let fault = Fault::new(format!("`min_peers` {min} is above `max_peers` {max}"));
        problems.report(
            Path::default().key("defaults").key("min_peers").span(tree),
            fault,
        );
    }
    let world = World::fresh(&nodes, topology.chain.premine);
    let path = Path::default().key("scenario");
    let mut stage = Stage::new(&nodes, world, topology.seed, damage, tree, path, problems);
    stage.premine(topology.chain.premine);
    let steps = stage.steps(&topology.scenario);
    Some(Plan {
        name: topology.name.0.clone(),
        description: topology.description.clone(),
        seed: topology.seed,
        chain: PlannedChain {
            network: topology.chain.network,
            block_interval_ms: topology.chain.block_interval.0,
            premine: topology.chain.premine,
            payees,
        },
        nodes,
        steps,
        timeout_ms: topology.timeout.map(|timeout| timeout.0),
    })
}

/// Plans more steps for a testnet that runs.
pub(crate) fn plan_steps(
    steps: &[Option<Step>],
    tree: &Tree,
    plan: &Plan,
    situation: &Situation,
    damage: Damage,
    problems: &mut Collector,
) -> Option<Vec<PlannedStep>> {
    let world = World::running(plan, situation);
    let path = Path::default();
    let mut stage = Stage::new(&plan.nodes, world, plan.seed, damage, tree, path, problems);
    stage.premine(plan.chain.premine);
    Some(stage.steps(steps))
}

/// How many nodes join each group in the course of the scenario.
fn joining(topology: &Topology) -> BTreeMap<String, u32> {
    let mut joining = BTreeMap::new();
    for step in topology.scenario.iter().flatten() {
        if let Step::Join(join) = step {
            let count: &mut u32 = joining.entry(join.group.clone()).or_default();
            *count = count.saturating_add(join.count);
        }
    }
    joining
}
