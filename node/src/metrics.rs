//! `GET /metrics`: figures of the node in the OpenMetrics text format, for Prometheus.

use netsplit_api::rpc::Status;
use prometheus_client::{
    encoding::text,
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

/// The format's media type.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The node's figures as text. `events` is how many have happened since the start.
pub(crate) fn encode(status: &Status, events: u64) -> String {
    let Status {
        height,
        tip: _,
        peers: _,
        inbound,
        outbound,
        mempool,
        rss_bytes,
        dns_nodes,
    } = status;
    let mut registry = Registry::with_prefix("netsplit");
    let gauges = [
        ("chain_height", "Height of the active tip", *height),
        ("peers_inbound", "Peers that dialled this node", *inbound),
        ("peers_outbound", "Peers this node dialled", *outbound),
        (
            "mempool_transactions",
            "Transactions that wait for a block",
            *mempool,
        ),
        ("dns_nodes", "Nodes this DNS seed can name", *dns_nodes),
    ];
    for (name, help, value) in gauges {
        registry.register(name, help, ConstGauge::new(i64::from(value)));
    }
    let resident = ConstGauge::new(i64::try_from(*rss_bytes).unwrap_or(i64::MAX));
    registry.register_with_unit("resident_memory", "Resident memory", Unit::Bytes, resident);
    registry.register(
        "events",
        "Events since the start",
        ConstCounter::new(events),
    );
    let dropped = ConstCounter::new(crate::logs::dropped());
    registry.register(
        "log_lines_dropped",
        "Log lines stdout could not take",
        dropped,
    );
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("writing to a string cannot fail");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_names_and_units() {
        let status = Status {
            height: 7,
            tip: String::new(),
            peers: 3,
            inbound: 1,
            outbound: 2,
            mempool: 4,
            rss_bytes: 5_000_000,
            dns_nodes: 0,
        };
        let text = encode(&status, 9);
        for line in [
            "netsplit_chain_height 7",
            "netsplit_peers_inbound 1",
            "netsplit_peers_outbound 2",
            "netsplit_mempool_transactions 4",
            "netsplit_resident_memory_bytes 5000000",
            "netsplit_events_total 9",
            "# EOF",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }
}
