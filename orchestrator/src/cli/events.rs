//! `netsplit events`.

use std::{collections::BTreeMap, time::Duration};

use netsplit_api::event::{BlockSource, Event, EventRecord};
use netsplit_plan::{
    plan::{NodeName, Plan},
    planner,
};
use netsplit_runtime::{NetEvent, Testnet};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Context, interrupt,
    options::{Format, Target},
    session,
};
use crate::{error::CommandError, exit, report::lines::count};

/// Without `--follow`: all kept events have come when no old one came for this long.
const QUIET: Duration = Duration::from_millis(500);

/// Print what the nodes said happened: blocks, tips, peers, transactions
///
/// Begins with the oldest events that are still kept, in the order they happened. Each node keeps its own last events, at
/// most 4096, and only since it was last started. With `--format json` every line is one JSON object: `node`,
/// `incarnation`, which changes with every start of the node, `seq`, which counts its events from 1, `time_ns`, `event`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Nodes, groups, `role:x`, `zone:x` or `all`; all when left out
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    /// Go on with new events until interrupted
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let testnet = session::attach(context, args.target.name.as_deref()).await?;
    let mut interrupts = interrupt::listen(None)?;
    tokio::select! {
        printed = print(testnet.as_ref(), &args, context) => printed.map(|()| exit::PASSED),
        () = interrupt::interrupted(&mut interrupts) => Ok(exit::INTERRUPTED),
    }
}

pub(super) async fn print(
    testnet: &dyn Testnet,
    args: &Args,
    context: &Context,
) -> Result<(), CommandError> {
    let wanted = chosen(&testnet.info().plan, &args.nodes)?;
    context
        .ui
        .status("Telling", "what each node said since it was last started");
    let mut past = Some(Vec::new()).filter(|_| !args.follow);
    let mut seen = BTreeMap::new();
    let began = testnet.now();
    let mut end = Instant::now() + QUIET;
    loop {
        let next = testnet.next_event();
        let event = if args.follow {
            next.await
        } else {
            tokio::time::timeout_at(end, next).await.ok().flatten()
        };
        match event {
            None => return put(past.unwrap_or_default(), context),
            Some(NetEvent::Node {
                node,
                incarnation,
                record,
            }) => {
                if past.is_some() && record.time_ns >= began.0 {
                    continue;
                }
                end = Instant::now() + QUIET;
                if !wanted.contains(&node) {
                    continue;
                }
                tell_gap(&mut seen, &node, incarnation, &record, context);
                let told = Told {
                    node,
                    incarnation,
                    record,
                };
                match &mut past {
                    Some(past) => past.push(told),
                    None => context.ui.data(&told.line(context.options.format))?,
                }
            }
            Some(NetEvent::NodeSilent { node, reason }) => {
                context
                    .ui
                    .warning(&format!("events of `{node}` are interrupted: {reason}"));
            }
            Some(NetEvent::NodeExited { node, code, .. }) => {
                let code = code.map_or(String::new(), |code| format!(" with code {code}"));
                context.ui.warning(&format!("`{node}` exited{code}"));
            }
            // Told to the maker of a run only.
            Some(NetEvent::ReaperLost { .. }) => {}
            Some(NetEvent::AgentLost { reason }) => {
                return Err(CommandError::infrastructure(format!(
                    "the agent is gone: {reason}"
                )));
            }
        }
    }
}

/// The nodes whose events are wanted.
fn chosen(plan: &Plan, words: &[String]) -> Result<Vec<NodeName>, CommandError> {
    let all = ["all".to_owned()];
    let words = if words.is_empty() { &all } else { words };
    planner::select(plan, words).map_err(|(message, help)| match help {
        Some(help) => CommandError::usage(message).hint(help),
        None => CommandError::usage(message),
    })
}

/// Says which events of a node are missing before this one, and since when there are any.
fn tell_gap(
    seen: &mut BTreeMap<NodeName, (u64, u64)>,
    node: &NodeName,
    incarnation: u64,
    record: &EventRecord,
    context: &Context,
) {
    let before = seen.insert(node.clone(), (incarnation, record.seq));
    let after = match before {
        Some((same, seq)) if same == incarnation => seq,
        _ => 0,
    };
    let missing = record.seq.saturating_sub(after + 1);
    if missing > 0 {
        let events = count(usize::try_from(missing).unwrap_or(usize::MAX), "event");
        context.ui.warning(&format!(
            "`{node}` no longer keeps {events} after number {after}"
        ));
    }
}

/// Prints what happened in the order it did.
fn put(mut past: Vec<Told>, context: &Context) -> Result<(), CommandError> {
    past.sort_by(|a, b| {
        let key = |told: &Told| (told.record.time_ns, told.incarnation, told.record.seq);
        key(a).cmp(&key(b)).then_with(|| a.node.cmp(&b.node))
    });
    for told in past {
        context.ui.data(&told.line(context.options.format))?;
    }
    Ok(())
}

/// One event and who told of it.
struct Told {
    node: NodeName,
    incarnation: u64,
    record: EventRecord,
}

impl Told {
    fn line(&self, format: Format) -> String {
        match format {
            Format::Json => as_json(&self.node, self.incarnation, &self.record).to_string(),
            Format::Table => as_text(&self.node, &self.record),
        }
    }
}

fn as_json(node: &NodeName, incarnation: u64, record: &EventRecord) -> Value {
    let EventRecord {
        seq,
        time_ns,
        event,
    } = record;
    json!({ "node": node, "incarnation": incarnation, "seq": seq, "time_ns": time_ns, "event": event })
}

/// Time of day in UTC, node, what happened.
fn as_text(node: &NodeName, record: &EventRecord) -> String {
    let ms = record.time_ns / 1_000_000;
    let (seconds, ms) = (ms / 1_000 % 86_400, ms % 1_000);
    let (h, m, s) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!(
        "{h:02}:{m:02}:{s:02}.{ms:03} {node:<12} {}",
        describe(&record.event)
    )
}

fn describe(event: &Event) -> String {
    match event {
        Event::NodeStarted { tip, height, .. } => format!("started at {height} {}", short(tip)),
        Event::PeerConnected {
            address,
            inbound,
            user_agent,
            height,
            ..
        } => {
            let way = if *inbound { "from" } else { "to" };
            format!("connected {way} {address} {user_agent} at {height}")
        }
        Event::PeerDisconnected {
            address, reason, ..
        } => format!("lost {address}: {reason}"),
        Event::HandshakeRefused {
            address, reason, ..
        } => {
            format!("no handshake with {address}: {reason}")
        }
        Event::BlockAccepted {
            hash,
            height,
            source,
            transactions,
            ..
        } => {
            let source = match source {
                BlockSource::Mined => "mined".to_owned(),
                BlockSource::Peer(peer) => format!("from peer {peer}"),
                BlockSource::Rpc => "by RPC".to_owned(),
            };
            format!(
                "accepted block {height} {} {source}, {transactions} tx",
                short(hash)
            )
        }
        Event::BlockRejected { hash, reason, .. } => {
            format!("rejected block {}: {reason}", short(hash))
        }
        Event::TipChanged { hash, height, .. } => format!("tip is now {height} {}", short(hash)),
        Event::ChainReorganised {
            from,
            to,
            fork_height,
            disconnected,
            connected,
        } => format!(
            "reorganised from {} to {} above {fork_height}: {disconnected} out, {connected} in",
            short(from),
            short(to)
        ),
        Event::TransactionAccepted { txid, .. } => format!("accepted tx {}", short(txid)),
        Event::TransactionRejected { txid, reason, .. } => {
            format!("rejected tx {}: {reason}", short(txid))
        }
        Event::DnsSeedQueried {
            server,
            addresses,
            error,
        } => match error {
            Some(error) => format!("asked DNS seed {server}: {error}"),
            None => format!("asked DNS seed {server}: {addresses} addresses"),
        },
        Event::DnsNodeReached { address } => format!("reached {address}"),
        Event::DnsNodeForgotten { address, reason } => format!("forgot {address}: {reason}"),
        Event::EventsLost { count } => format!("lost {count} events"),
        Event::StoreFailed { reason } => format!("store failed: {reason}"),
    }
}

/// The last 8 digits of a hash.
fn short(hash: &str) -> String {
    format!(
        "..{}",
        hash.get(hash.len().saturating_sub(8)..).unwrap_or(hash)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> EventRecord {
        let hash = "0000aaaa0000aaaa0000aaaa12345678".to_owned();
        let event = Event::TipChanged {
            hash,
            height: 105,
            previous: "00".to_owned(),
        };
        EventRecord {
            seq: 7,
            time_ns: 1_700_000_000_123_456_789,
            event,
        }
    }

    #[test]
    fn a_line_begins_with_the_time_of_day() {
        let node = NodeName("full-1".into());
        assert_eq!(
            as_text(&node, &record()),
            "22:13:20.123 full-1       tip is now 105 ..12345678"
        );
    }

    #[test]
    fn json_lines_name_the_node() {
        let line = as_json(&NodeName("full-1".into()), 3, &record());
        assert_eq!(line["node"], "full-1");
        assert_eq!(line["seq"], 7);
        assert_eq!(line["event"]["type"], "tip_changed");
    }
}
