//! `netsplit forward`.

use std::{net::Ipv4Addr, sync::Arc};

use netsplit_api::config::RPC_PORT;
use netsplit_plan::plan::NodeName;
use netsplit_runtime::Testnet;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use super::{
    Context, interrupt,
    options::{Format, Target, number},
    session,
};
use crate::{
    error::{CommandError, ErrorKind},
    exit,
};

/// Open a port on 127.0.0.1 that leads to a node's JSON-RPC; prints a ready `bitcoin-cli` line
///
/// Works until Ctrl-C (exit code 130). The bytes take the engine's own stream, not the testnet's links: no cut touches them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A node
    #[arg(value_name = "NODE")]
    node: String,
    /// Port on 127.0.0.1; a free one when left out
    #[arg(value_name = "PORT", default_value_t = 0, hide_default_value = true, value_parser = number(0..=u16::MAX))]
    port: u16,
    /// The node's port
    #[arg(long, value_name = "PORT", default_value_t = RPC_PORT, value_parser = number(1..=u16::MAX))]
    to: u16,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let testnet: Arc<dyn Testnet> = session::attach(context, args.target.name.as_deref())
        .await?
        .into();
    let node = session::node(testnet.as_ref(), &args.node)?;
    let failed = |error| {
        let what = format!("failed to listen on 127.0.0.1:{}", args.port);
        CommandError::caused(ErrorKind::Infrastructure, what, error)
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port))
        .await
        .map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    announce(context, testnet.as_ref(), &args, port)?;
    let mut interrupts = interrupt::listen(None)?;
    tokio::select! {
        () = serve(&listener, &testnet, &node, args.to, context) => Ok(exit::PASSED),
        () = interrupt::interrupted(&mut interrupts) => Ok(exit::INTERRUPTED),
    }
}

fn announce(
    context: &Context,
    testnet: &dyn Testnet,
    args: &Args,
    port: u16,
) -> Result<(), CommandError> {
    let (user, password) = testnet.credentials();
    let node = &args.node;
    context.ui.status(
        "Forwarding",
        &format!("127.0.0.1:{port} to `{node}`, port {}", args.to),
    );
    match context.options.format {
        Format::Json => context.ui.data(
            &json!({ "node": node, "port": port, "user": user, "password": password }).to_string(),
        ),
        Format::Table if args.to == RPC_PORT => context.ui.data(&format!(
            "bitcoin-cli -regtest -rpcconnect=127.0.0.1 -rpcport={port} -rpcuser={user} -rpcpassword={password} getblockchaininfo"
        )),
        Format::Table => context.ui.data(&format!("127.0.0.1:{port}")),
    }
}

async fn serve(
    listener: &TcpListener,
    testnet: &Arc<dyn Testnet>,
    node: &NodeName,
    port: u16,
    context: &Context,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (testnet, node, ui) = (Arc::clone(testnet), node.clone(), context.ui.clone());
                tokio::spawn(async move {
                    if let Err(error) = carry(testnet.as_ref(), &node, port, stream).await {
                        ui.warning(&format!("{error}: {}", error.causes().join(": ")));
                    }
                });
            }
            Err(error) => context
                .ui
                .warning(&format!("a connection was lost: {error}")),
        }
    }
}

async fn carry(
    testnet: &dyn Testnet,
    node: &NodeName,
    port: u16,
    stream: TcpStream,
) -> Result<(), CommandError> {
    Ok(testnet.tunnel(node, port, stream).await?)
}
