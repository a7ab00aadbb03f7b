//! Network namespaces that a test owns: hosts of its own, joined by cables of its own. Servers in them answer by the
//! address that they see their client have.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What does not answer within this is not let through.
const SILENT: Duration = Duration::from_millis(700);

/// A namespace with an up loopback, gone when dropped.
#[derive(Debug)]
pub struct Netns {
    pub name: String,
}

impl Netns {
    pub fn new(name: &str) -> Self {
        let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
        assert!(Command::new("ip").args(["netns", "add", name]).status().expect("ip runs").success());
        let ns = Self { name: name.into() };
        // Addresses are used at once: nobody else can have them.
        for interfaces in ["all", "default"] {
            ns.sysctl(&format!("ipv6/conf/{interfaces}/accept_dad"), "0");
        }
        ns.ip("link set lo up");
        ns
    }

    /// Runs `ip` in it.
    #[track_caller]
    pub fn ip(&self, arguments: &str) {
        self.call("ip", &arguments.split(' ').collect::<Vec<_>>());
    }

    /// Runs a program in it; returns what it prints.
    #[track_caller]
    pub fn call(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new("ip").args(["netns", "exec", &self.name, program]).args(arguments).output();
        let output = output.expect("ip runs");
        assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Lays a cable to another one.
    pub fn cable(&self, here: &str, other: &Self, there: &str) {
        self.ip(&format!("link add {here} type veth peer name {there} netns {}", other.name));
        self.ip(&format!("link set {here} up"));
        other.ip(&format!("link set {there} up"));
    }

    /// Lays a cable to the host that the test itself is on. The host's end is called as the namespace is.
    pub fn cable_to_host(&self, address: &str, host: &str) {
        let end = &self.name[..self.name.len().min(15)];
        let ip = |arguments: String| {
            assert!(Command::new("ip").args(arguments.split(' ')).status().expect("ip runs").success(), "{arguments}");
        };
        ip(format!("link add {end} type veth peer name eth netns {}", self.name));
        ip(format!("address add {host} dev {end}"));
        ip(format!("link set {end} up"));
        self.address("eth", address);
        self.ip("link set eth up");
    }

    /// Gives an interface an address, usable at once.
    pub fn address(&self, interface: &str, address: &str) {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        self.ip(&format!("address add {address} dev {interface}{nodad}"));
    }

    /// Does something in it.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let inside = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let ns = std::fs::File::open(format!("/run/netns/{}", self.name)).expect("it is there");
                    move_into_link_name_space(std::os::fd::AsFd::as_fd(&ns), Some(LinkNameSpaceType::Network))
                        .expect("root may");
                    act()
                })
                .join()
        });
        inside.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Sets a switch of the kernel's network.
    pub fn sysctl(&self, name: &str, value: &str) {
        self.within(|| std::fs::write(format!("/proc/sys/net/{name}"), value).expect("it can be set"));
    }

    /// Has bridged packets pass the packet filter, as other programs ask for. Returns whether this kernel can.
    pub fn filter_bridged(&self, filter: bool) -> bool {
        let switches = ["iptables", "ip6tables"].map(|name| format!("/proc/sys/net/bridge/bridge-nf-call-{name}"));
        let value = if filter { "1" } else { "0" };
        self.within(|| switches.iter().all(|switch| std::fs::write(switch, value).is_ok()))
    }

    /// Answers on a port over TCP and UDP: `WORD CLIENT`. Ends with the test.
    pub fn serve(&self, word: &str, port: u16) {
        let (tcp, udp) = self.within(|| {
            let all = SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), port);
            (TcpListener::bind(all).expect("the port is free"), UdpSocket::bind(all).expect("the port is free"))
        });
        let answer = |word: &str, from: SocketAddr| format!("{word} {}", from.ip().to_canonical());
        let said = word.to_owned();
        std::thread::spawn(move || {
            while let Ok((mut stream, from)) = tcp.accept() {
                let _ = stream.write_all(answer(&said, from).as_bytes());
            }
        });
        let said = word.to_owned();
        std::thread::spawn(move || {
            while let Ok((_, from)) = udp.recv_from(&mut [0; 64]) {
                let _ = udp.send_to(answer(&said, from).as_bytes(), from);
            }
        });
    }

    /// What a server answers over TCP, or why there is none: `refused`, `silent`.
    pub fn tcp(&self, to: &str) -> String {
        let to: SocketAddr = to.parse().expect("an address");
        self.within(|| {
            let mut stream = match TcpStream::connect_timeout(&to, SILENT) {
                Ok(stream) => stream,
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => return "refused".into(),
                Err(_) => return "silent".into(),
            };
            stream.set_read_timeout(Some(SILENT)).expect("it can be set");
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            answer
        })
    }

    /// The same over UDP.
    pub fn udp(&self, to: &str) -> String {
        let to: SocketAddr = to.parse().expect("an address");
        self.within(|| {
            let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
            let socket = UdpSocket::bind((any, 0)).expect("a port is free");
            socket.set_read_timeout(Some(SILENT)).expect("it can be set");
            let mut buffer = [0; 64];
            if socket.connect(to).and_then(|()| socket.send(b"?")).is_err() {
                return "refused".into();
            }
            match socket.recv(&mut buffer) {
                Ok(n) => String::from_utf8_lossy(&buffer[..n]).into_owned(),
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => "refused".into(),
                Err(_) => "silent".into(),
            }
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}
