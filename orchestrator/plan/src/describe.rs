//! A plan as a page for people.

use std::fmt::{self, Write as _};

use netsplit_api::config::Behaviour;

use crate::plan::{Action, NodeVerb, Plan, PlannedNode};

impl Plan {
    /// The plan as text: what runs, what happens, every random choice; ends with a newline.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("a string takes any text");
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "{}", self.name)?;
        if !self.description.is_empty() {
            writeln!(out, "{}", self.description)?;
        }
        writeln!(out)?;
        writeln!(out, "seed      {}", self.seed)?;
        writeln!(
            out,
            "chain     regtest, a block every {} on average, {} premined",
            duration(self.chain.block_interval_ms),
            self.chain.premine
        )?;
        if let Some(timeout) = self.timeout_ms {
            writeln!(out, "timeout   {}", duration(timeout))?;
        }
        self.write_nodes(out)?;
        self.write_steps(out)
    }

    fn write_nodes(&self, out: &mut String) -> fmt::Result {
        let name = self
            .nodes
            .iter()
            .map(|node| node.name.0.len())
            .max()
            .unwrap_or(0)
            .max(4);
        let roles = self
            .nodes
            .iter()
            .map(|node| roles(node).len())
            .max()
            .unwrap_or(0)
            .max(5);
        let zone = |node: &PlannedNode| node.zone.clone().unwrap_or_else(|| "-".to_owned());
        let zones = self
            .nodes
            .iter()
            .map(|node| zone(node).len())
            .max()
            .unwrap_or(0)
            .max(4);
        writeln!(
            out,
            "\nnodes     {}, in the order they start\n",
            self.nodes.len()
        )?;
        writeln!(
            out,
            "  host  {:name$}  {:roles$}  {:zones$}   share  peers  notes",
            "name", "roles", "zone"
        )?;
        for node in &self.nodes {
            let share = node
                .share
                .map_or_else(|| "-".to_owned(), |share| format!("{:.1}%", share * 100.0));
            let peers = format!("{}..{}", node.peers.min, node.peers.max);
            let line = format!(
                "  {:>4}  {:name$}  {:roles$}  {:zones$}  {share:>6}  {peers:5}  {}",
                node.host,
                node.name,
                self::roles(node),
                zone(node),
                notes(node)
            );
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn write_steps(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "\nscenario  {} steps\n", self.steps.len())?;
        for step in &self.steps {
            writeln!(out, "  {:>4}  {}", step.index, step.text)?;
            write_action(out, &step.action)?;
        }
        Ok(())
    }
}

fn write_action(out: &mut String, action: &Action) -> fmt::Result {
    match action {
        Action::Partition(cut) => {
            for (i, group) in cut.groups.iter().enumerate() {
                let names: Vec<&str> = group.iter().map(AsRef::as_ref).collect();
                writeln!(out, "        group {}: {}", i + 1, names.join(", "))?;
            }
        }
        Action::Churn(churn) => {
            for event in &churn.events {
                let word = if event.verb == NodeVerb::Start {
                    "returns"
                } else {
                    "leaves"
                };
                writeln!(
                    out,
                    "        {:>8}  {} {word}",
                    duration(event.at_ms),
                    event.node
                )?;
            }
        }
        Action::Nodes { nodes, .. } | Action::Join { nodes } => {
            let names: Vec<&str> = nodes.iter().map(AsRef::as_ref).collect();
            writeln!(out, "        {}", names.join(", "))?;
        }
        Action::Sleep { .. }
        | Action::Over { .. }
        | Action::Wait(_)
        | Action::Assert(_)
        | Action::Heal { .. }
        | Action::Mine { .. }
        | Action::Send { .. } => {}
    }
    Ok(())
}

fn roles(node: &PlannedNode) -> String {
    node.roles
        .iter()
        .map(|role| role.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn notes(node: &PlannedNode) -> String {
    let mut notes = String::new();
    if node.joins {
        notes.push_str("joins later");
    }
    match node.behaviour {
        Behaviour::Honest => {}
    }
    notes
}

/// Milliseconds as people write them.
fn duration(ms: u64) -> String {
    if ms.is_multiple_of(60_000) && ms > 0 {
        format!("{}m", ms / 60_000)
    } else if ms < 1_000 {
        format!("{ms}ms")
    } else if ms.is_multiple_of(1_000) {
        format!("{}s", ms / 1_000)
    } else {
        format!("{}.{:03}s", ms / 1_000, ms % 1_000)
    }
}
