//! A node reduced to its control port: it says that it started, answers every call with its name, and tells which others it
//! can reach. One whose name begins with `broken` ends at once.

use std::{env, io, net::IpAddr, process::ExitCode, time::Duration};

use netsplit_api::{
    config::{CONFIG_ENV, NodeConfig, RPC_PORT},
    event::{Event, EventRecord, INCARNATION_HEADER},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    time::timeout,
};

/// What a node is asked for whom it can reach.
pub(crate) const REACH: &str = "reach";

/// A packet that has not arrived by then has been dropped.
const SILENT: Duration = Duration::from_millis(700);

pub(crate) async fn serve() -> ExitCode {
    let config: NodeConfig = serde_json::from_str(&env::var(CONFIG_ENV).unwrap()).unwrap();
    if config.name.starts_with("broken") {
        println!("{} cannot go on", config.name);
        return ExitCode::from(3);
    }
    let incarnation = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros();
    let incarnation = u64::try_from(incarnation).unwrap();
    let mut end = signal(SignalKind::terminate()).unwrap();
    let listener = TcpListener::bind((config.address, config.rpc_port))
        .await
        .unwrap();
    println!("{} listens at {}", config.name, config.address);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            _ = end.recv() => return ExitCode::SUCCESS,
        };
        tokio::spawn(answer(stream, config.name.clone(), incarnation));
    }
}

/// Head and body of a request; `None` when the client left.
async fn request(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            break String::from_utf8(std::mem::replace(&mut bytes, rest)).ok()?;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let length = head.to_lowercase();
    let length = length
        .split_once("content-length:")
        .map_or("0", |(_, rest)| rest);
    let length: usize = length.split_whitespace().next()?.parse().ok()?;
    while bytes.len() < length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, serde_json::from_slice(&bytes).unwrap_or_default()))
}

async fn answer(mut stream: TcpStream, name: String, incarnation: u64) {
    let Some((head, call)) = request(&mut stream).await else {
        return;
    };
    let events = head.starts_with("GET /events");
    let body = if events {
        let event = Event::NodeStarted {
            incarnation,
            tip: name,
            height: 0,
        };
        let record = EventRecord {
            seq: 1,
            time_ns: 1,
            event,
        };
        serde_json::to_string(&record).unwrap() + "\n"
    } else {
        println!("asked {}", call["method"].as_str().unwrap_or("nothing"));
        let result = match call["method"].as_str() {
            Some(REACH) => json!(reach(call["params"][0].as_str().unwrap()).await),
            _ => json!(name),
        };
        json!({ "result": result, "error": null, "id": null }).to_string()
    };
    let head = format!("HTTP/1.1 200 OK\r\n{INCARNATION_HEADER}: {incarnation}\r\n");
    let length = if events {
        String::new()
    } else {
        format!("content-length: {}\r\n", body.len())
    };
    let answer = format!("{head}{length}connection: close\r\n\r\n{body}");
    // The agent may have gone.
    let _ = stream.write_all(answer.as_bytes()).await;
    if events {
        // Open until the agent closes it.
        let mut rest = Vec::new();
        while stream.read_buf(&mut rest).await.unwrap_or(0) > 0 {}
    }
}

/// What comes of connecting to another node.
async fn reach(address: &str) -> String {
    let address: IpAddr = address.parse().unwrap();
    match timeout(SILENT, TcpStream::connect((address, RPC_PORT))).await {
        Ok(Ok(_)) => "reached".to_owned(),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => "refused".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "silence".to_owned(),
    }
}
