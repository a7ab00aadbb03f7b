//! A client of what guests serve.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use crate::lab::{DEADLINE, Said};

/// The body of what a guest answers to `GET PATH`.
#[track_caller]
pub fn get(address: impl Into<SocketAddr>, path: &str) -> String {
    request(address.into(), &format!("GET {path} HTTP/1.0\r\n\r\n")).1
}

/// What a shell script printed that was run inside the guest `linux`, all of it in `out`, and how it ended.
#[track_caller]
pub fn inside(address: impl Into<SocketAddr>, script: &str) -> Said {
    let head = format!("POST /cgi-bin/sh HTTP/1.0\r\nContent-Length: {}\r\n\r\n", script.len());
    let (head, out) = request(address.into(), &(head + script));
    let status = head.lines().find_map(|line| line.strip_prefix("Exit-Status: "));
    let code =
        status.and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("'{script}' was not run: {head}"));
    Said { code, out, err: String::new() }
}

/// Head and body of the answer to a request that is granted.
#[track_caller]
fn request(address: SocketAddr, text: &str) -> (String, String) {
    let what = text.lines().next().unwrap_or_default();
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap_or_else(|e| panic!("{address}: {e}"));
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap_or_else(|e| panic!("{address}: {what}: {e}"));
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{address}: {what}: {answer:?}"));
    assert!(head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"), "{address}: {what}: {head}");
    (head.to_owned(), body.to_owned())
}

/// What a guest answers to a datagram.
#[track_caller]
pub fn echo(address: impl Into<SocketAddr>, text: &str) -> String {
    let address = address.into();
    let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.send_to(text.as_bytes(), address).unwrap();
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).unwrap_or_else(|e| panic!("{address}: {e}"));
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// Nobody serves there.
#[track_caller]
pub fn refuses(address: impl Into<SocketAddr>) {
    let address = address.into();
    let error = TcpStream::connect_timeout(&address, DEADLINE).expect_err("somebody serves there");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{address}: {error}");
}

/// Ports that nobody has, each held until all are known.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| TcpListener::bind(("0.0.0.0", 0)).unwrap());
    held.map(|socket| socket.local_addr().unwrap().port())
}

/// An address of this host's on loopback.
pub fn loopback(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}
