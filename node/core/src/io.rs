//! The whole boundary between a node's decisions and the world.

use std::net::{IpAddr, SocketAddr};

use bitcoin::{Address, Amount, Block, BlockHash, ScriptBuf, Transaction, Txid};
use netsplit_api::{event::Event, rpc::RpcError};

/// A connection, from the moment it is dialled or accepted. Never reused while the node lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// A question to a DNS seed. Never reused while the node lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub u64);

/// A command that waits for a reply. Chosen by whoever sends the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// [`Input::Closed`]'s reason when the stream ended in order: the other side hung up on purpose, the link is whole.
/// With any other reason a peer counts as lost and is dialled again.
pub const ENDED: &str = "closed by the peer";

/// Something that happened to the node.
#[derive(Debug)]
pub enum Input {
    /// A deadline has passed, or the node has just been created.
    Tick,
    /// A peer dialled us. The shell numbers these connections with [`ConnId`]s from the upper half (bit 63 set).
    Accepted {
        /// The new connection.
        conn: ConnId,
        /// Where it comes from.
        remote: SocketAddr,
    },
    /// A dial that the node asked for is connected.
    Connected {
        /// The connection named in [`Output::Dial`].
        conn: ConnId,
    },
    /// A dial failed.
    DialFailed {
        /// The connection named in [`Output::Dial`].
        conn: ConnId,
        /// Why.
        reason: String,
    },
    /// Bytes arrived.
    Received {
        /// Where.
        conn: ConnId,
        /// In order, cut anywhere.
        bytes: Vec<u8>,
    },
    /// The other side closed the connection or it failed. Not sent after [`Output::Hangup`].
    Closed {
        /// Which.
        conn: ConnId,
        /// [`ENDED`], or what failed.
        reason: String,
    },
    /// A DNS seed answered, or did not.
    Resolved {
        /// The question named in [`Output::Resolve`].
        query: QueryId,
        /// Addresses, or why there are none.
        result: Result<Vec<IpAddr>, String>,
    },
    /// Somebody asked this DNS seed; the answer has been given from [`Node::dns_answer`](crate::node::Node::dns_answer).
    DnsAsked {
        /// Who asked: perhaps a node that can be reached.
        from: IpAddr,
    },
    /// The control API wants something done.
    Command {
        /// Named again in [`Output::Reply`].
        id: CommandId,
        /// What.
        command: Command,
    },
}

/// Something the node wants done.
#[derive(Debug)]
pub enum Output {
    /// Send bytes. The shell hangs up on a peer that lets too much of it pile up.
    Send {
        /// To whom.
        conn: ConnId,
        /// One or more whole messages.
        bytes: Vec<u8>,
    },
    /// Open a connection.
    Dial {
        /// Its number from now on.
        conn: ConnId,
        /// Where to.
        remote: SocketAddr,
    },
    /// Close a connection after what was sent before, or give up dialling it.
    Hangup {
        /// Which.
        conn: ConnId,
        /// Why, for the log.
        reason: String,
    },
    /// Ask a DNS seed for A records.
    Resolve {
        /// Named again in [`Input::Resolved`].
        query: QueryId,
        /// The DNS server.
        server: SocketAddr,
    },
    /// The answer to a command; exactly one for each.
    Reply {
        /// Which command.
        id: CommandId,
        /// How it went.
        result: Result<Reply, RpcError>,
    },
    /// Something happened that others may want to know.
    Event(Event),
}

/// What the control API can have done. Reading needs no command: the shell reads the node's parts directly.
#[derive(Debug)]
pub enum Command {
    /// `addnode`.
    AddNode {
        /// Which node.
        address: SocketAddr,
        /// What to do about it.
        mode: AddNode,
    },
    /// `disconnectnode`, by address or by number.
    DisconnectNode {
        /// By address.
        address: Option<SocketAddr>,
        /// By number of the connection, if no address is given.
        peer: Option<u64>,
    },
    /// `submitblock`.
    SubmitBlock(Box<Block>),
    /// `sendrawtransaction`.
    SendRawTransaction(Box<Transaction>),
    /// `generatetoaddress`.
    Generate {
        /// How many blocks.
        blocks: u32,
        /// Who is paid.
        script: ScriptBuf,
    },
    /// `getnewaddress`.
    NewAddress,
    /// `sendtoaddress`.
    SendToAddress {
        /// Who is paid.
        script: ScriptBuf,
        /// How much.
        amount: Amount,
        /// Fee in satoshis per virtual byte; 1 if absent.
        fee_rate: Option<u64>,
    },
}

/// What `addnode` is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddNode {
    /// Keep a connection to it.
    Add,
    /// No longer keep one.
    Remove,
    /// Try once.
    OneTry,
}

/// How a command went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done, nothing to say.
    Done,
    /// `submitblock`: Core's reject word, or `None` when accepted.
    Submitted(Option<String>),
    /// `generatetoaddress`.
    Generated(Vec<BlockHash>),
    /// `sendrawtransaction`, `sendtoaddress`.
    Sent(Txid),
    /// `getnewaddress`.
    Address(Address),
}
