//! Every method: its name, parameters, what it does, and how it is run. `help` puts that into words.

use std::fmt;

use super::{
    Run, blockchain, control, mining, network, rawtransactions, wallet,
    x_probe::{self, Probe},
};

/// A method of the control API.
pub(crate) struct Method {
    pub(crate) name: &'static str,
    pub(super) group: Group,
    pub(super) params: &'static [Param],
    /// What it does, in a sentence or two.
    pub(super) summary: &'static str,
    /// What it answers.
    pub(super) result: &'static str,
    pub(crate) run: Run,
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Method").field(&self.name).finish()
    }
}

/// A parameter. Its name may have a second one after `|`.
pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) required: bool,
    pub(super) text: &'static str,
}

/// Core's groups of methods, and one of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Blockchain,
    Control,
    Mining,
    Network,
    Rawtransactions,
    Wallet,
    /// Methods Core does not have.
    Netsplit,
}

impl Group {
    pub(super) const ALL: [Self; 7] = [
        Self::Blockchain,
        Self::Control,
        Self::Mining,
        Self::Network,
        Self::Rawtransactions,
        Self::Wallet,
        Self::Netsplit,
    ];
}

const fn required(name: &'static str, kind: &'static str, text: &'static str) -> Param {
    Param {
        name,
        kind,
        required: true,
        text,
    }
}

const fn optional(name: &'static str, kind: &'static str, text: &'static str) -> Param {
    Param {
        name,
        kind,
        required: false,
        text,
    }
}

const IGNORED: &str = "Taken and ignored.";
const BLOCK_HASH: Param = required("blockhash", "string", "Hash of the block.");
const TXID: Param = required("txid", "string", "Transaction id.");
const PROBE_ID: Param = required("id", "string", "The round: 16 lower-case hex digits.");

/// All methods, by group and name.
pub(super) static METHODS: &[Method] = &[
    Method {
        name: "getbestblockhash",
        group: Group::Blockchain,
        params: &[],
        summary: "The active tip.",
        result: "The hash of the last block of the active chain.",
        run: Run::Read(blockchain::getbestblockhash),
    },
    Method {
        name: "getblock",
        group: Group::Blockchain,
        params: &[
            BLOCK_HASH,
            optional(
                "verbosity|verbose",
                "number",
                "0, 1 (default) or 2; true means 1, false 0.",
            ),
        ],
        summary: "A stored block, of the active chain or beside it.",
        result: "With 0 the block in hex, with 1 an object with the ids of its transactions, with 2 one with \
                 the transactions. `confirmations` is -1 beside the active chain; `nextblockhash` is absent at the tip.",
        run: Run::Read(blockchain::getblock),
    },
    Method {
        name: "getblockchaininfo",
        group: Group::Blockchain,
        params: &[],
        summary: "The state of the chain.",
        result: "An object. `initialblockdownload` is true while blocks of the best header chain are missing.",
        run: Run::Read(blockchain::getblockchaininfo),
    },
    Method {
        name: "getblockcount",
        group: Group::Blockchain,
        params: &[],
        summary: "The height of the active tip.",
        result: "A number; the genesis block has 0.",
        run: Run::Read(blockchain::getblockcount),
    },
    Method {
        name: "getblockhash",
        group: Group::Blockchain,
        params: &[required("height", "number", "Height on the active chain.")],
        summary: "The active block at a height.",
        result: "Its hash.",
        run: Run::Read(blockchain::getblockhash),
    },
    Method {
        name: "getblockheader",
        group: Group::Blockchain,
        params: &[
            BLOCK_HASH,
            optional(
                "verbose",
                "boolean",
                "Whether an object is wanted (default) or the header in hex.",
            ),
        ],
        summary: "A known header, whether or not its block is stored.",
        result: "An object or hex. `nTx` is 0 when the block is not stored.",
        run: Run::Read(blockchain::getblockheader),
    },
    Method {
        name: "getchaintips",
        group: Group::Blockchain,
        params: &[],
        summary: "All ends of the block tree.",
        result: "A list of objects with `height`, `hash`, `branchlen` and `status`: `active`, `valid-fork`, \
                 `valid-headers`, `headers-only` or `invalid`.",
        run: Run::Read(blockchain::getchaintips),
    },
    Method {
        name: "getmempoolentry",
        group: Group::Blockchain,
        params: &[TXID],
        summary: "A transaction in the mempool.",
        result: "An object as in `getrawmempool true`.",
        run: Run::Read(blockchain::getmempoolentry),
    },
    Method {
        name: "getmempoolinfo",
        group: Group::Blockchain,
        params: &[],
        summary: "The state of the mempool.",
        result: "An object.",
        run: Run::Read(blockchain::getmempoolinfo),
    },
    Method {
        name: "getrawmempool",
        group: Group::Blockchain,
        params: &[optional(
            "verbose",
            "boolean",
            "Whether more than ids is wanted; false if absent.",
        )],
        summary: "The transactions in the mempool.",
        result: "A list of ids, or an object of objects by id.",
        run: Run::Read(blockchain::getrawmempool),
    },
    Method {
        name: "gettxout",
        group: Group::Blockchain,
        params: &[
            TXID,
            required("n", "number", "Which output, from 0."),
            optional(
                "include_mempool",
                "boolean",
                "Whether the mempool counts; true if absent.",
            ),
        ],
        summary: "An unspent output.",
        result: "An object, or null when there is no such output or it is spent.",
        run: Run::Read(blockchain::gettxout),
    },
    Method {
        name: "gettxoutsetinfo",
        group: Group::Blockchain,
        params: &[optional(
            "hash_type",
            "string",
            "`hash_serialized_3` (default) or `none`.",
        )],
        summary: "Figures of all unspent outputs at the active tip. Reads them all.",
        result: "An object.",
        run: Run::Read(blockchain::gettxoutsetinfo),
    },
    Method {
        name: "help",
        group: Group::Control,
        params: &[optional("command", "string", "A method.")],
        summary: "What methods there are, or what one of them does.",
        result: "Text.",
        run: Run::Read(control::help),
    },
    Method {
        name: "stop",
        group: Group::Control,
        params: &[optional("wait", "number", IGNORED)],
        summary: "Ends the node in good order, with exit code 0.",
        result: "Text.",
        run: Run::Stop,
    },
    Method {
        name: "uptime",
        group: Group::Control,
        params: &[],
        summary: "How long the node has been running.",
        result: "Whole seconds.",
        run: Run::Read(control::uptime),
    },
    Method {
        name: "generatetoaddress",
        group: Group::Mining,
        params: &[
            required("nblocks", "number", "How many blocks, at most 2000."),
            required("address", "string", "Who is paid."),
            optional("maxtries", "number", IGNORED),
        ],
        summary: "Mines blocks at once on top of the active tip, with what is in the mempool.",
        result: "A list of their hashes.",
        run: Run::Command(mining::generatetoaddress, mining::generated),
    },
    Method {
        name: "submitblock",
        group: Group::Mining,
        params: &[
            required("hexdata", "string", "The block in hex."),
            optional("dummy", "string", IGNORED),
        ],
        summary: "Hands in a block as if a peer had sent it.",
        result: "null when it was accepted, else the reason in Bitcoin Core's words, e.g. `duplicate` or `high-hash`.",
        run: Run::Command(mining::submitblock, mining::submitted),
    },
    Method {
        name: "addnode",
        group: Group::Network,
        params: &[
            required(
                "node",
                "string",
                "`ip:port` or `ip`. Names are not looked up.",
            ),
            required("command", "string", "`add`, `remove` or `onetry`."),
            optional("v2transport", "boolean", IGNORED),
        ],
        summary: "Keeps a connection to a node, no longer keeps one, or tries once.",
        result: "null.",
        run: Run::Command(network::addnode, network::done),
    },
    Method {
        name: "disconnectnode",
        group: Group::Network,
        params: &[
            optional("address", "string", "`ip:port` of the peer."),
            optional(
                "nodeid",
                "number",
                "Its number in `getpeerinfo`, when there is no address.",
            ),
        ],
        summary: "Hangs up on a peer.",
        result: "null.",
        run: Run::Command(network::disconnectnode, network::done),
    },
    Method {
        name: "getconnectioncount",
        group: Group::Network,
        params: &[],
        summary: "The number of peers.",
        result: "A number.",
        run: Run::Read(network::getconnectioncount),
    },
    Method {
        name: "getnetworkinfo",
        group: Group::Network,
        params: &[],
        summary: "The state of the P2P network as this node sees it.",
        result: "An object.",
        run: Run::Read(network::getnetworkinfo),
    },
    Method {
        name: "getnodeaddresses",
        group: Group::Network,
        params: &[
            optional(
                "count",
                "number",
                "How many at most; 1 if absent, 0 means all.",
            ),
            optional("network", "string", "`ipv4` or `ipv6`."),
        ],
        summary: "The address book.",
        result: "A list of objects with `time`, `services`, `address`, `port` and `network`.",
        run: Run::Read(network::getnodeaddresses),
    },
    Method {
        name: "getpeerinfo",
        group: Group::Network,
        params: &[],
        summary: "The peers whose handshake is complete.",
        result: "A list of objects.",
        run: Run::Read(network::getpeerinfo),
    },
    Method {
        name: "getrawtransaction",
        group: Group::Rawtransactions,
        params: &[
            TXID,
            optional(
                "verbosity|verbose",
                "number",
                "0 (default) or 1; true means 1.",
            ),
            optional("blockhash", "string", "The block to look in."),
        ],
        summary: "A transaction. There is no index: without a block hash the mempool is searched, then the active \
                  chain from its tip down, which takes long for an old one.",
        result: "Hex, or an object.",
        run: Run::Read(rawtransactions::getrawtransaction),
    },
    Method {
        name: "sendrawtransaction",
        group: Group::Rawtransactions,
        params: &[
            required("hexstring", "string", "The transaction in hex."),
            optional("maxfeerate", "number", IGNORED),
            optional("maxburnamount", "number", IGNORED),
        ],
        summary: "Puts a transaction into the mempool and announces it.",
        result: "Its id.",
        run: Run::Command(rawtransactions::sendrawtransaction, rawtransactions::sent),
    },
    Method {
        name: "getbalance",
        group: Group::Wallet,
        params: &[
            optional("dummy", "string", "`*` or nothing."),
            optional(
                "minconf",
                "number",
                "1 leaves out own unconfirmed change; 0 if absent.",
            ),
            optional("include_watchonly", "boolean", IGNORED),
            optional("avoid_reuse", "boolean", IGNORED),
        ],
        summary: "What the wallet can spend now.",
        result: "An amount.",
        run: Run::Read(wallet::getbalance),
    },
    Method {
        name: "getbalances",
        group: Group::Wallet,
        params: &[],
        summary: "What the wallet has, by how far it can be relied upon.",
        result: "An object with `mine`: `trusted`, `untrusted_pending` and `immature`.",
        run: Run::Read(wallet::getbalances),
    },
    Method {
        name: "getnewaddress",
        group: Group::Wallet,
        params: &[
            optional("label", "string", IGNORED),
            optional("address_type", "string", "`bech32`."),
        ],
        summary: "An address of the wallet that has not been given out yet.",
        result: "The address.",
        run: Run::Command(wallet::getnewaddress, wallet::new_address),
    },
    Method {
        name: "getwalletinfo",
        group: Group::Wallet,
        params: &[],
        summary: "The state of the wallet. There is one: `/wallet/<name>` reaches it by any name.",
        result: "An object.",
        run: Run::Read(wallet::getwalletinfo),
    },
    Method {
        name: "sendtoaddress",
        group: Group::Wallet,
        params: &[
            required("address", "string", "Who is paid."),
            required("amount", "number or string", "How much, in bitcoins."),
            optional("comment", "string", IGNORED),
            optional("comment_to", "string", IGNORED),
            optional(
                "subtractfeefromamount",
                "boolean",
                "Only false is possible.",
            ),
            optional("replaceable", "boolean", IGNORED),
            optional("conf_target", "number", IGNORED),
            optional("estimate_mode", "string", IGNORED),
            optional("avoid_reuse", "boolean", IGNORED),
            optional(
                "fee_rate",
                "number",
                "Whole satoshis per virtual byte; 1 if absent.",
            ),
        ],
        summary: "Pays, and announces the transaction.",
        result: "Its id.",
        run: Run::Command(wallet::sendtoaddress, wallet::sent),
    },
    Method {
        name: "x_probe_listen",
        group: Group::Netsplit,
        params: &[
            PROBE_ID,
            required(
                "for_ms",
                "number",
                "How long, in milliseconds, at most 60000.",
            ),
        ],
        summary: "Opens the probe port, UDP and TCP, and counts what arrives of a round.",
        result: "An object with `addresses`: all of the node's own, the configured one first.",
        run: Run::Probe(Probe::Listen),
    },
    Method {
        name: "x_probe_report",
        group: Group::Netsplit,
        params: &[PROBE_ID],
        summary: "Who was heard in a round.",
        result: "An object with `senders`: `address`, `datagrams` and `connections` of each.",
        run: Run::Probe(Probe::Report),
    },
    Method {
        name: "x_probe_send",
        group: Group::Netsplit,
        params: &[
            PROBE_ID,
            required("targets", "list of strings", "IP addresses."),
            required(
                "datagrams",
                "number",
                "How many to each, 10 ms apart, at most 100.",
            ),
            required(
                "timeout_ms",
                "number",
                "When a TCP attempt is given up, in milliseconds.",
            ),
        ],
        summary: "Sends datagrams to all targets at once and tries one TCP connection to each.",
        result: "An object with `targets`: `address`, `datagrams_sent`, `datagram_errors` and `tcp` (`connected`, \
                 `timed_out`, `refused` or `{\"failed\": text}`) of each.",
        run: Run::Probe(Probe::Send),
    },
    Method {
        name: "x_sockets",
        group: Group::Netsplit,
        params: &[],
        summary: "What the kernel says of the node's TCP connections with other nodes (`TCP_INFO`).",
        result: "An object with `sockets`. Their `peer` numbers connections, handshaken or not; it is not the `id` of \
                 `getpeerinfo`.",
        run: Run::Read(x_probe::x_sockets),
    },
    Method {
        name: "x_status",
        group: Group::Netsplit,
        params: &[],
        summary: "How the node is, in one call.",
        result: "An object with `height`, `tip`, `peers`, `inbound`, `outbound`, `mempool`, `rss_bytes` and `dns_nodes`.",
        run: Run::Read(x_probe::x_status),
    },
];

/// The method with this name.
pub(super) fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sorted_within_their_group() {
        for group in Group::ALL {
            let names: Vec<_> = METHODS
                .iter()
                .filter(|m| m.group == group)
                .map(|m| m.name)
                .collect();
            assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
        }
    }

    #[test]
    fn required_parameters_come_first() {
        for method in METHODS {
            let required: Vec<bool> = method.params.iter().map(|param| param.required).collect();
            assert!(required.is_sorted_by(|a, b| a >= b), "{}", method.name);
        }
    }
}
