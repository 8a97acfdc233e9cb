//! A node reduced to its control port: it answers every call with its name and says that it started.

use std::env;

use netsplit_api::{
    config::{CONFIG_ENV, NodeConfig},
    event::{Event, EventRecord, INCARNATION_HEADER},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
};

pub(crate) async fn serve() {
    let config: NodeConfig = serde_json::from_str(&env::var(CONFIG_ENV).unwrap()).unwrap();
    let incarnation = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros();
    let incarnation = u64::try_from(incarnation).unwrap();
    let listener = TcpListener::bind((config.address, config.rpc_port))
        .await
        .unwrap();
    println!("{} listens at {}", config.name, config.address);
    let mut end = signal(SignalKind::terminate()).unwrap();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            _ = end.recv() => return,
        };
        tokio::spawn(answer(stream, config.name.clone(), incarnation));
    }
}

async fn answer(mut stream: TcpStream, name: String, incarnation: u64) {
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let events = request.starts_with(b"GET /events");
    let body = if events {
        let event = Event::NodeStarted {
            incarnation,
            tip: name,
            height: 0,
        };
        serde_json::to_string(&EventRecord {
            seq: 1,
            time_ns: 1,
            event,
        })
        .unwrap()
            + "\n"
    } else {
        serde_json::json!({ "result": name, "error": null, "id": null }).to_string()
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
        while stream.read_buf(&mut request).await.unwrap_or(0) > 0 {}
    }
}
