//! Stories of the packet filter, in hosts that are network namespaces of the test's own.

use std::net::IpAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use kraft::machine::{MachineId, MachineName, Port, Record};
use kraft::network::Network;
use kraft::network::nft::{self, Filter};
use serde_json::json;

use crate::lab::Lab;
use crate::netns::Netns;

/// A host between an outside and its guests.
///
/// ```text
/// out 192.0.2.2 -- eth 192.0.2.1, .11 host -- kr-a 10.88.0.1: one .2, two .3
///                                          -- kr-b 10.89.0.1: three .2
///                                          -- kr-i 10.90.0.1: four .2      internal
/// ```
struct World {
    host: Netns,
    out: Netns,
    guests: Vec<Netns>,
}

const BRIDGES: [(&str, &str, &str); 3] = [
    ("kr-a", "10.88.0.1/24", "fd00:88::1/64"),
    ("kr-b", "10.89.0.1/24", "fd00:89::1/64"),
    ("kr-i", "10.90.0.1/24", "fd00:90::1/64"),
];
const GUESTS: [(&str, usize, &str); 4] = [("one", 0, "2"), ("two", 0, "3"), ("three", 1, "2"), ("four", 2, "2")];

impl World {
    fn new(test: &str) -> Self {
        let host = Netns::new(&format!("{test}-host"));
        let out = Netns::new(&format!("{test}-out"));
        host.cable("eth", &out, "eth");
        for address in ["192.0.2.1/24", "192.0.2.11/24", "2001:db8::1/64"] {
            host.address("eth", address);
        }
        out.address("eth", "192.0.2.2/24");
        out.address("eth", "2001:db8::2/64");
        for (bridge, v4, v6) in BRIDGES {
            host.ip(&format!("link add {bridge} type bridge"));
            host.ip(&format!("link set {bridge} up"));
            host.address(bridge, v4);
            host.address(bridge, v6);
            host.sysctl(&format!("ipv4/conf/{bridge}/route_localnet"), "1");
            // Who knows the way may try to go it.
            let subnet = |gateway: &str| gateway.replace("1/", "0/").replace(":0/", ":/");
            out.ip(&format!("route add {} via 192.0.2.1", subnet(v4)));
            out.ip(&format!("route add {} via 2001:db8::1", subnet(v6)));
        }
        host.filter_bridged(false);
        host.sysctl("ipv4/ip_forward", "1");
        host.sysctl("ipv6/conf/all/forwarding", "1");
        let guests = GUESTS
            .iter()
            .map(|(name, bridge, last)| {
                let guest = Netns::new(&format!("{test}-{name}"));
                let (bridge, v4, v6) = BRIDGES[*bridge];
                host.cable(name, &guest, "eth");
                host.ip(&format!("link set {name} master {bridge}"));
                guest.address("eth", &v4.replace("1/", &format!("{last}/")));
                guest.address("eth", &v6.replace("1/", &format!("{last}/")));
                if bridge != "kr-i" {
                    guest.ip(&format!("route add default via {}", v4.trim_end_matches("/24")));
                    guest.ip(&format!("route add default via {}", v6.trim_end_matches("/64")));
                }
                guest.serve(name, 80);
                guest
            })
            .collect();
        out.serve("out", 7);
        Self { host, out, guests }
    }

    fn network(&self, index: usize) -> Network {
        let (bridge, v4, v6) = BRIDGES[index];
        Network {
            schema: kraft::network::SCHEMA,
            name: bridge.trim_start_matches("kr-").parse().unwrap(),
            id: MachineId::from_bytes([u8::try_from(index).unwrap(); 16]),
            bridge: bridge.into(),
            ipv4: Some(v4.parse().unwrap()),
            ipv6: Some(v6.parse().unwrap()),
            internal: bridge == "kr-i",
            created: jiff::Timestamp::UNIX_EPOCH,
            labels: std::collections::BTreeMap::new(),
        }
    }

    /// All networks are up.
    fn up(&self) {
        for index in 0..BRIDGES.len() {
            self.host.within(|| Filter::default().network_up(&self.network(index)).unwrap());
        }
    }

    fn rules(&self) -> String {
        self.host.call("nft", &["list", "ruleset"])
    }
}

fn machine(name: &str, id: u8, ports: &[&str]) -> Record {
    let spec = json!({
        "name": name, "platform": "qemu", "arch": "x86_64", "memory": "64MiB", "cpus": 1, "accel": "auto",
        "stop_timeout_ms": 10000, "restart": "no",
        "kernel": {"path": "/kernel", "kind": "pvh"},
    });
    let id = MachineId::from_bytes([id; 16]);
    let record =
        json!({"schema": 1, "id": id, "created": jiff::Timestamp::UNIX_EPOCH, "manager": "local", "spec": spec});
    let mut record: Record = serde_json::from_value(record).unwrap();
    record.spec.ports = ports.iter().flat_map(|text| Port::parse(text).unwrap()).collect();
    record
}

/// Every machine runs.
fn there(_: &MachineName, _: MachineId) -> kraft::error::Result<bool> {
    Ok(true)
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_published_port_answers_on_the_addresses_asked() {
    let _lab = Lab::new("nft-asked");
    let world = World::new("nft-asked");
    world.up();
    let ports = ["127.0.0.1:8080:80", "8081:80", "192.0.2.11:8082:80", "5353:80/udp", "[2001:db8::1]:8083:80"];
    let web = machine("web", 1, &ports);
    world.host.within(|| Filter::default().publish(&web, &ips(&["10.88.0.2", "fd00:88::2"]), there).unwrap());

    let answers = |from: &Netns, to: &str| from.tcp(to).split(' ').next().unwrap_or_default().to_owned();
    let World { host, out, guests } = &world;
    for (from, to, answer) in [
        (host, "127.0.0.1:8080", "one"),
        (host, "192.0.2.1:8080", "refused"),
        (out, "192.0.2.1:8080", "refused"),
        (host, "127.0.0.1:8081", "one"),
        (host, "127.5.5.5:8081", "one"),
        (host, "192.0.2.1:8081", "one"),
        (out, "192.0.2.1:8081", "one"),
        (out, "[2001:db8::1]:8081", "one"),
        (host, "[2001:db8::1]:8081", "one"),
        (host, "[2001:db8::1]:8083", "one"),
        (out, "[2001:db8::1]:8083", "one"),
        (out, "192.0.2.1:8083", "refused"),
        (host, "192.0.2.11:8082", "one"),
        (out, "192.0.2.11:8082", "one"),
        (out, "192.0.2.1:8082", "refused"),
        // Straight to the guests: the host may, others may not.
        (host, "10.88.0.2:80", "one"),
        (out, "10.88.0.2:80", "silent"),
        (out, "[fd00:88::2]:80", "silent"),
        // By a published port: a guest to itself, to its neighbour, to another network.
        (&guests[0], "192.0.2.1:8081", "one"),
        (&guests[1], "192.0.2.1:8081", "one"),
        (&guests[2], "192.0.2.1:8081", "one"),
        (&guests[1], "10.88.0.1:8081", "one"),
        (&guests[1], "192.0.2.1:8080", "refused"),
        (&guests[1], "[2001:db8::1]:8081", "one"),
        (&guests[3], "10.90.0.1:8081", "silent"),
        // Two networks do not see each other.
        (&guests[1], "10.88.0.2:80", "one"),
        (&guests[2], "10.88.0.2:80", "silent"),
        (&guests[2], "[fd00:88::2]:80", "silent"),
    ] {
        assert_eq!(answers(from, to), answer, "from {} to {to}", from.name);
    }
    assert_eq!(out.tcp("192.0.2.1:8081"), "one 192.0.2.2", "the guest sees who calls");
    if host.filter_bridged(true) {
        for (from, to, answer) in [
            (&guests[1], "192.0.2.1:8081", "one"),
            (&guests[1], "10.88.0.2:80", "one"),
            (&guests[2], "192.0.2.1:8081", "one"),
            (&guests[2], "10.88.0.2:80", "silent"),
            (out, "192.0.2.1:8081", "one"),
        ] {
            assert_eq!(answers(from, to), answer, "from {} to {to}, bridged packets filtered", from.name);
        }
        host.filter_bridged(false);
    }
    assert_eq!(out.udp("192.0.2.1:5353"), "one 192.0.2.2");
    assert!(host.udp("127.0.0.1:5353").starts_with("one "));
    assert!(guests[0].udp("192.0.2.1:5353").starts_with("one "));

    host.within(|| nft::unpublish(&web.spec.name, web.id, &web.spec.ports).unwrap());
    host.within(|| nft::unpublish(&web.spec.name, web.id, &web.spec.ports).unwrap());
    assert_eq!(out.tcp("192.0.2.1:8081"), "refused");
    assert!(!world.rules().contains("web "), "{}", world.rules());
}

#[test]
fn networks_are_let_out_and_internal_ones_are_not() {
    let _lab = Lab::new("nft-out");
    let world = World::new("nft-out");
    world.up();
    let World { host, out, guests } = &world;
    assert_eq!(guests[0].tcp("192.0.2.2:7"), "out 192.0.2.1");
    assert_eq!(guests[0].udp("192.0.2.2:7"), "out 192.0.2.1");
    assert_eq!(guests[0].tcp("[2001:db8::2]:7"), "out 2001:db8::1");
    let four = machine("four", 4, &["8084:80", "127.0.0.1:8085:80"]);
    host.within(|| Filter::default().publish(&four, &ips(&["10.90.0.2"]), there).unwrap());
    // Not even one that finds the way leaves, and nobody comes in but the host itself.
    guests[3].ip("route add 192.0.2.0/24 via 10.90.0.1");
    assert_eq!(guests[3].tcp("192.0.2.2:7"), "silent");
    assert_eq!(guests[3].tcp("10.88.0.2:80"), "silent");
    assert_eq!(out.tcp("192.0.2.1:8084"), "silent");
    assert!(host.tcp("192.0.2.1:8084").starts_with("four "));
    assert!(host.tcp("127.0.0.1:8085").starts_with("four "));
}

/// The bridge routes loopback addresses, for the host's own sake. A guest that makes use of it gets nowhere.
#[test]
fn a_guest_does_not_reach_the_host_s_loopback() {
    let _lab = Lab::new("nft-lo");
    let world = World::new("nft-lo");
    world.up();
    let World { host, guests, .. } = &world;
    host.serve("secret", 9);
    assert!(host.tcp("127.0.0.1:9").starts_with("secret "));
    let guest = &guests[1];
    guest.sysctl("ipv4/conf/all/route_localnet", "1");
    guest.ip("route del local 127.0.0.0/8 dev lo table local");
    guest.ip("route del local 127.0.0.1 dev lo table local");
    guest.ip("route add 127.0.0.1 via 10.88.0.1 src 10.88.0.3");
    assert_eq!(guest.tcp("127.0.0.1:9"), "silent");
    assert!(guest.tcp("10.88.0.1:9").starts_with("secret "), "what the host offers to all is reached");
}

#[test]
fn a_port_is_one_machine_s_and_the_last_network_leaves_nothing() {
    let _lab = Lab::new("nft-taken");
    let world = World::new("nft-taken");
    let World { host, out, .. } = &world;
    world.up();
    let (web, other) = (machine("web", 1, &["8081:80"]), machine("other", 2, &["192.0.2.1:8081:80", "8090:80"]));
    host.within(|| {
        Filter::default().publish(&web, &ips(&["10.88.0.2"]), there).unwrap();
        let before = world.rules();
        Filter::default().publish(&web, &ips(&["10.88.0.2"]), there).unwrap();
        Filter::default().network_up(&world.network(0)).unwrap();
        assert_eq!(world.rules(), before, "twice is once");
        let error = Filter::default().publish(&other, &ips(&["10.88.0.3"]), there).unwrap_err();
        let said = "cannot publish the ports of other: port 8081/tcp is taken: machine web has 8081:80/tcp";
        assert_eq!(error.to_string(), said);
        assert_eq!(world.rules(), before, "all or nothing");
        assert_eq!(nft::known().unwrap().ports, [(web.spec.name.clone(), web.id, web.spec.ports[0])]);
        nft::unpublish(&other.spec.name, other.id, &other.spec.ports).unwrap();
        assert_eq!(world.rules(), before, "another's stays");
        // At another address after a crash.
        Filter::default().publish(&web, &ips(&["10.88.0.3"]), there).unwrap();
    });
    assert_eq!(out.tcp("192.0.2.1:8081"), "two 192.0.2.2");
    host.within(|| {
        nft::network_down(&world.network(1)).unwrap();
        nft::network_down(&world.network(2)).unwrap();
    });
    assert_eq!(out.tcp("192.0.2.1:8081"), "two 192.0.2.2");
    host.within(|| {
        nft::network_down(&world.network(0)).unwrap();
        nft::network_down(&world.network(0)).unwrap();
    });
    assert_eq!(world.rules(), "");
}

/// The kernel takes a transaction as one message.
#[test]
fn a_killed_nft_leaves_all_or_nothing() {
    let _lab = Lab::new("nft-killed");
    let world = World::new("nft-killed");
    world.up();
    let many = machine("many", 1, &["10000-11023:10000-11023"]);
    let wanted = many.spec.ports.len();
    let (mut all, mut nothing) = (0, 0);
    for micros in (0..40).map(|n| n * 700) {
        world.host.within(|| {
            let (send, done) = channel();
            let killer = std::thread::spawn(move || kill_nft_after(Duration::from_micros(micros), &done));
            let published = Filter::default().publish(&many, &ips(&["10.88.0.2"]), there);
            let _ = send.send(());
            killer.join().unwrap();
            let held = nft::known().unwrap().ports.len();
            assert!(held == 0 || held == wanted, "{held} of {wanted}");
            if held == 0 {
                nothing += 1;
                assert!(published.is_err(), "it said that it had");
            } else {
                all += 1;
            }
            nft::unpublish(&many.spec.name, many.id, &many.spec.ports).unwrap();
        });
    }
    assert!(nothing > 0, "no kill came in time ({all} published)");
}

/// Kills the nft in this thread's namespace that changes something, so long after it was seen first, unless it ends before.
fn kill_nft_after(delay: Duration, done: &Receiver<()>) {
    let changes = |pid: &u32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with("nft\0") && line.contains("\0-f\0")
    };
    // Other stories have theirs in other namespaces.
    let ours = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let is_ours = |pid: &u32| std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|ns| ns == ours);
    let find = || {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let mut pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.find(|pid| changes(pid) && is_ours(pid))
    };
    let nft = loop {
        if let Some(nft) = find() {
            break nft;
        }
        if done.recv_timeout(Duration::from_micros(100)) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    };
    if done.recv_timeout(delay) == Err(RecvTimeoutError::Timeout) {
        let nft = rustix::process::Pid::from_raw(nft.try_into().unwrap()).unwrap();
        let _ = rustix::process::kill_process(nft, rustix::process::Signal::KILL);
    }
}
