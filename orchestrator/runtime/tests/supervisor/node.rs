//! A node reduced to one port that echoes datagrams, and a socket in its data directory that is told what to try.

use std::{
    env, fs, io,
    net::UdpSocket,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process,
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::sys::signal::{SigSet, Signal};

const PORT: u16 = 7000;
/// Where broadcasts are heard.
const SHOUTS: u16 = 7001;
/// How long an echo may take.
const ECHO: Duration = Duration::from_millis(500);

/// Serves until it is told to end; answers what to exit with.
pub(crate) fn serve() -> u8 {
    // Blocked rather than handled: then it waits to be heard, even by the first process of a namespace.
    let mut end = SigSet::empty();
    end.add(Signal::SIGTERM);
    end.thread_block().unwrap();
    let data = PathBuf::from(env::var("NODE_DATA").unwrap());
    let address = env::var("NODE_ADDRESS").unwrap();
    let echo = UdpSocket::bind((address.as_str(), PORT)).unwrap();
    thread::spawn(move || {
        let mut datagram = [0; 256];
        while let Ok((length, peer)) = echo.recv_from(&mut datagram) {
            let _ = echo.send_to(&datagram[..length], peer);
        }
    });
    let path = data.join("control");
    let _ = fs::remove_file(&path);
    let control = UnixDatagram::bind(path).unwrap();
    let told = data.clone();
    let ear = UdpSocket::bind(("0.0.0.0", SHOUTS)).unwrap();
    ear.set_read_timeout(Some(ECHO)).unwrap();
    let (ending, ends) = mpsc::channel();
    let exit = ending.clone();
    thread::spawn(move || {
        let mut command = [0; 256];
        while let Ok((length, asker)) = control.recv_from(&mut command) {
            let command = String::from_utf8_lossy(&command[..length]);
            if let Some(code) = command.strip_prefix("exit ") {
                exit.send(code.parse().unwrap()).unwrap();
            } else {
                let _ = control.send_to_addr(obey(&told, &ear, &command).as_bytes(), &asker);
            }
        }
    });
    thread::spawn(move || {
        end.wait().unwrap();
        fs::write(data.join("stopped"), "").unwrap();
        ending.send(0).unwrap();
    });
    println!("{address} is up");
    ends.recv().unwrap()
}

fn obey(data: &Path, ear: &UdpSocket, command: &str) -> String {
    match command.split_once(' ').unwrap_or((command, "")) {
        ("reach", address) => reach(address).unwrap_or_else(|error| format!("error {error}")),
        ("shout", text) => shout(text).map_or_else(|error| error.to_string(), |()| "ok".into()),
        ("hear", _) => hear(ear),
        ("host", _) => fs::read_to_string("/proc/sys/kernel/hostname").unwrap(),
        ("pid", _) => process::id().to_string(),
        ("write", text) => {
            fs::write(data.join("kept"), text).map_or("error".into(), |()| "ok".into())
        }
        ("read", _) => fs::read_to_string(data.join("kept")).unwrap_or_default(),
        ("dns", _) => UdpSocket::bind("0.0.0.0:53").map_or_else(|e| e.to_string(), |_| "ok".into()),
        _ => "error unknown command".to_owned(),
    }
}

fn shout(text: &str) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_broadcast(true)?;
    socket.send_to(text.as_bytes(), ("255.255.255.255", SHOUTS))?;
    Ok(())
}

/// What was shouted and by whom, or `silent`.
fn hear(ear: &UdpSocket) -> String {
    let mut text = [0; 64];
    match ear.recv_from(&mut text) {
        Ok((length, peer)) => format!("{} {}", peer.ip(), String::from_utf8_lossy(&text[..length])),
        Err(_) => "silent".to_owned(),
    }
}

/// Sends three datagrams, so that an answer to an earlier one (ICMP) would be seen.
fn reach(address: &str) -> io::Result<String> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((address, PORT))?;
    socket.set_read_timeout(Some(ECHO / 3))?;
    for _ in 0..3 {
        socket.send(b"echo")?;
        match socket.recv(&mut [0; 16]) {
            Ok(_) => return Ok("ok".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok("silent".to_owned())
}
