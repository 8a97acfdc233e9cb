//! The nodes, and HTTP to their control ports over sockets that cannot leave the run's own network.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use reqwest::{
    Client, RequestBuilder, Response,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde_json::{Value, json};

use crate::{links::within, protocol::Configure};

/// A node on the same bridge answers a connection attempt within a millisecond, or is not there.
const CONNECT: Duration = Duration::from_secs(1);
/// What was sent and not acknowledged for this long went to a node that is gone.
const UNACKNOWLEDGED: Duration = Duration::from_secs(2);
/// A silent event stream is asked this often whether the other end is still there.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// Longest answer of a node.
const ANSWER: usize = 32 * 1024 * 1024;
/// Longest a call may take, whatever its caller asks.
const LONGEST: Duration = Duration::from_secs(600);

/// One list of nodes; replaced as a whole.
pub(super) struct Directory {
    device: Option<String>,
    rpc_port: u16,
    authorisation: HeaderValue,
    nodes: BTreeMap<String, Arc<Node>>,
}

/// One node.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) address: IpAddr,
    // Replaced when the node went away, so that no call waits for a connection to a process that is dead.
    client: Mutex<Option<Client>>,
}

impl Directory {
    /// Checks a configuration. Nodes that `before` has as well keep their connections.
    pub(super) fn new(configure: &Configure, before: Option<&Self>) -> Result<Self, String> {
        let mut nodes = BTreeMap::new();
        for node in &configure.nodes {
            if !within(node.address, configure.subnet) {
                return Err(format!(
                    "node `{}` is at {}, outside the run's network",
                    node.name, node.address
                ));
            }
            let known = before.and_then(|before| before.nodes.get(&node.name));
            let known = known.filter(|known| known.address == node.address).cloned();
            let node = known.unwrap_or_else(|| {
                Arc::new(Node {
                    name: node.name.clone(),
                    address: node.address,
                    client: Mutex::default(),
                })
            });
            if let Some(twice) = nodes.insert(node.name.clone(), node) {
                return Err(format!("node `{}` is named twice", twice.name));
            }
        }
        let credentials = format!("{}:{}", configure.rpc_user, configure.rpc_password.0);
        let mut authorisation =
            HeaderValue::from_str(&format!("Basic {}", BASE64.encode(credentials)))
                .expect("base64 is legal in a header");
        authorisation.set_sensitive(true);
        Ok(Self {
            device: configure.device.clone(),
            rpc_port: configure.rpc_port,
            authorisation,
            nodes,
        })
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<Node>> {
        self.nodes.get(name).cloned()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// Calls a method; the answer is the HTTP status and the JSON-RPC document, in the form of version 1 that Bitcoin Core
    /// answers with when no version is named: with both `result` and `error`.
    pub(super) async fn call(
        &self,
        node: &Node,
        method: &str,
        params: Value,
        timeout: Duration,
    ) -> Result<(u16, Value), String> {
        let request = json!({"id": 0, "method": method, "params": params});
        let call = async {
            let url = format!("http://{}/", SocketAddr::new(node.address, self.rpc_port));
            let request = self
                .client(node)?
                .post(url)
                .header(AUTHORIZATION, self.authorisation.clone())
                .header(CONTENT_TYPE, "application/json")
                .body(request.to_string());
            let response = node.sent(request).await?;
            let status = response.status().as_u16();
            let body = body(response).await.inspect_err(|_| node.forget())?;
            // A refusal (401, 404) has no document.
            let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
            Ok((
                status,
                serde_json::from_slice(&body).unwrap_or_else(|_| text()),
            ))
        };
        match tokio::time::timeout(timeout.min(LONGEST), call).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {} ms", timeout.as_millis())),
        }
    }

    /// Opens a node's event stream.
    pub(super) async fn events(&self, node: &Node, query: &str) -> Result<Response, String> {
        let url = format!(
            "http://{}/events{query}",
            SocketAddr::new(node.address, self.rpc_port)
        );
        let request = self
            .client(node)?
            .get(url)
            .header(AUTHORIZATION, self.authorisation.clone());
        let response = node.sent(request).await?;
        match response.status().as_u16() {
            200 => Ok(response),
            status => Err(format!("the node answered `/events` with status {status}")),
        }
    }

    /// A TCP connection to a port of a node, bound to the bridge if there is one.
    pub(super) async fn connect(
        &self,
        node: &Node,
        port: u16,
    ) -> std::io::Result<tokio::net::TcpStream> {
        let socket = match node.address {
            IpAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
            IpAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
        };
        socket.bind_device(self.device.as_deref().map(str::as_bytes))?;
        socket.set_nodelay(true)?;
        let connect = socket.connect(SocketAddr::new(node.address, port));
        tokio::time::timeout(CONNECT, connect).await?
    }

    fn client(&self, node: &Node) -> Result<Client, String> {
        let mut client = node.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let mut builder = Client::builder();
        if let Some(device) = &self.device {
            builder = builder.interface(device);
        }
        let built = builder
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(HeaderMap::new())
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .tcp_user_timeout(UNACKNOWLEDGED)
            .tcp_keepalive(KEEPALIVE)
            .tcp_keepalive_interval(KEEPALIVE)
            .tcp_keepalive_retries(3)
            .build();
        Ok(client.insert(built.map_err(|error| chain(&error))?).clone())
    }
}

impl Node {
    /// Lets go of connections: the process at their other end is not to be trusted to be there.
    pub(super) fn forget(&self) {
        self.client
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// Sends a request. What became of an old connection may have become of the others; where there was none to begin with,
    /// nothing is let go of: a node that is not up yet is tried often, and a client is not free.
    async fn sent(&self, request: RequestBuilder) -> Result<Response, String> {
        request.send().await.map_err(|error| {
            if !error.is_connect() {
                self.forget();
            }
            chain(&error)
        })
    }
}

async fn body(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| chain(&error))? {
        if body.len() + chunk.len() > ANSWER {
            return Err(format!("an answer longer than {ANSWER} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An error with all its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::net::Ipv4Addr;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::protocol::{AgentNode, Secret};

    fn directory(port: u16) -> (Directory, Arc<Node>) {
        let node = AgentNode {
            name: "a".to_owned(),
            address: Ipv4Addr::LOCALHOST.into(),
        };
        let configure = Configure {
            run: "test".to_owned(),
            device: None,
            subnet: (Ipv4Addr::LOCALHOST.into(), 8),
            rpc_user: "u".to_owned(),
            rpc_password: Secret("p".to_owned()),
            rpc_port: port,
            probe_port: 9,
            nodes: vec![node],
        };
        let directory = Directory::new(&configure, None).unwrap();
        let node = directory.get("a").unwrap();
        (directory, node)
    }

    fn has_client(node: &Node) -> bool {
        node.client.lock().unwrap().is_some()
    }

    /// A node that is not up yet is tried again and again; one that breaks off may be gone with all its connections.
    #[tokio::test]
    async fn connections_are_let_go_of_when_one_breaks_but_not_when_none_is_made() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (directory, node) = directory(listener.local_addr().unwrap().port());
        let call = || directory.call(&node, "x", json!([]), CONNECT);
        let breaks_off = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 16]).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        };
        let (answer, ()) = tokio::join!(call(), breaks_off);
        assert!(answer.is_err() && !has_client(&node), "{answer:?}");
        drop(listener);
        let answer = call().await;
        assert!(answer.is_err() && has_client(&node), "{answer:?}");
    }
}
