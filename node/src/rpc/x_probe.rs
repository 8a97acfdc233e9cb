//! Methods Bitcoin Core does not have: how the node is, and what it sees of its links.

use netsplit_api::{
    probe::{SocketInfo, Sockets},
    rpc::Status,
};

use super::{Answer, Params, View, answer, network::count_peers};
use crate::{net::socket, probes::Probes};

/// A method of the probes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Probe {
    Listen,
    Send,
    Report,
}

impl Probe {
    pub(super) async fn run(self, probes: &Probes, params: &Params) -> Answer {
        match self {
            Self::Listen => answer(&probes.listen(&params.object()?)?),
            Self::Send => answer(&probes.send(&params.object()?).await?),
            Self::Report => answer(&probes.report(&params.object()?)?),
        }
    }
}

pub(super) fn x_status(view: &View<'_>, _: &Params) -> Answer {
    answer(&status(view))
}

/// How the node is.
pub(super) fn status(view: &View<'_>) -> Status {
    let tip = view.node.chain().tip();
    let (inbound, outbound) = count_peers(view);
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Status {
        height: tip.height,
        tip: tip.hash.to_string(),
        peers: inbound + outbound,
        inbound,
        outbound,
        mempool: count(view.node.mempool().len()),
        rss_bytes: resident_bytes(),
        dns_nodes: count(view.node.dns_answer().len()),
    }
}

/// The process's resident memory; 0 where there is no `/proc`.
fn resident_bytes() -> u64 {
    // Fields of statm are in pages; the second is the resident set (proc_pid_statm(5)).
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten();
    pages.unwrap_or(0)
        * page
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or(4096)
}

pub(super) fn x_sockets(view: &View<'_>, _: &Params) -> Answer {
    // A connection that ends at this moment is left out.
    let mut sockets: Vec<SocketInfo> = view
        .network
        .streams()
        .filter_map(|(conn, stream)| socket::describe(stream, conn.0).ok())
        .collect();
    sockets.sort_unstable_by_key(|socket| socket.peer);
    answer(&Sockets { sockets })
}
