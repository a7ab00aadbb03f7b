//! Who listens on a port of this host, from what the kernel says of sockets and of processes (`proc(5)`).

use std::path::Path;

use crate::machine::Protocol;
use crate::paths;

/// The state of a TCP socket that listens; a UDP socket that is bound has 07.
const LISTENS: [&str; 2] = ["0A", "07"];

/// A process with a socket on that port, and its name. None if it cannot be seen: another user's, another namespace's.
pub(super) fn listener(port: u16, protocol: Protocol) -> Option<(u32, String)> {
    let tables: &[&str] = match protocol {
        Protocol::Tcp => &["tcp", "tcp6"],
        Protocol::Udp => &["udp", "udp6"],
    };
    let sockets: Vec<String> = tables
        .iter()
        .filter_map(|table| std::fs::read_to_string(Path::new(paths::SOCKETS).join(table)).ok())
        .flat_map(|text| text.lines().filter_map(|line| socket(line, port)).collect::<Vec<_>>())
        .collect();
    if sockets.is_empty() {
        return None;
    }
    let processes = std::fs::read_dir(paths::PROCESSES).ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(|pid: u32| (pid, entry.path()))).find_map(
        |(pid, path)| {
            let mut files = std::fs::read_dir(path.join("fd")).ok()?.flatten();
            files.find(|file| {
                std::fs::read_link(file.path()).is_ok_and(|to| sockets.iter().any(|socket| to == Path::new(socket)))
            })?;
            let name = std::fs::read_to_string(path.join("comm")).ok()?;
            Some((pid, name.trim().to_owned()))
        },
    )
}

/// What a descriptor of the socket in this line of a table leads to, if it listens on that port.
///
/// ```text
///   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
///    0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 ...
/// ```
fn socket(line: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, local) = fields.get(1)?.rsplit_once(':')?;
    let ours = u16::from_str_radix(local, 16) == Ok(port) && LISTENS.contains(fields.get(3)?);
    ours.then(|| fields.get(9).map(|inode| format!("socket:[{inode}]"))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_socket_is_found() {
        let ours = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = ours.local_addr().unwrap().port();
        assert_eq!(listener(port, Protocol::Tcp).unwrap().0, std::process::id());
        assert_eq!(listener(port, Protocol::Udp), None);
        drop(ours);
        assert_eq!(listener(port, Protocol::Tcp), None);
    }
}
