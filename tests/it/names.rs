//! Machines on networks of ours: their names, their published ports, and what they cannot reach.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::keeper::{Keeper, under_both};
use crate::lab::{DEADLINE, Lab, Said, process_ends};
use crate::netns::Netns;
use crate::wire::{echo, free_ports, get, loopback, refuses};

under_both! {
    machines_find_each_other_by_name,
    a_killed_server_of_names_comes_back,
    ports_are_published_by_a_network,
    an_internal_network_cannot_leave,
}

/// A network of one test's, removed with it.
struct Net<'a> {
    lab: &'a Lab,
    name: String,
    gateway: IpAddr,
}

impl<'a> Net<'a> {
    fn new(lab: &'a Lab, gateway: &str, options: &[&str]) -> Self {
        let name = lab.name("n");
        lab.kraft(["net", "rm", "--force", &name]);
        let subnet = format!("{gateway}/24");
        lab.kraft(["net", "create", "-n", &subnet].into_iter().chain(options.iter().copied()).chain([name.as_str()]))
            .ok();
        Self { lab, name, gateway: gateway.parse().unwrap() }
    }

    fn start(&self, keeper: Keeper, short: &str, options: &[&str], words: &[&str]) -> Said {
        let options: Vec<&str> = ["--network", &self.name].into_iter().chain(options.iter().copied()).collect();
        let words: Vec<&str> = std::iter::once("--").chain(words.iter().copied()).collect();
        self.lab.start_guest("net-unikraft", short, keeper.has_units(), &options, &words)
    }

    /// Waits until a name has as many addresses as that.
    #[track_caller]
    fn until_known(&self, name: &str, count: u8) {
        let deadline = Instant::now() + DEADLINE;
        while ask(self.gateway, name) != Some(count) {
            assert!(Instant::now() < deadline, "{name} has not got {count} addresses");
        }
    }

    /// The processes that hold this network's names.
    fn servers(&self, program: &str) -> Vec<u32> {
        let ours = |line: &str| line.contains(program) && line.contains(&self.name);
        self.lab.processes().into_iter().filter(|(_, line)| ours(line)).map(|(pid, _)| pid).collect()
    }

    /// The machines go, and then nothing is left of the network.
    #[track_caller]
    fn remove(self) {
        let names = self.lab.kraft(["ps", "-aq"]).out;
        let prefix = self.lab.name("");
        let ours: Vec<&str> = names.lines().filter(|name| name.starts_with(&prefix)).collect();
        if !ours.is_empty() {
            self.lab.kraft(["rm", "--force"].into_iter().chain(ours)).ok();
        }
        self.lab.kraft(["net", "rm", &self.name]).ok();
        let rules = Command::new("nft").args(["list", "ruleset"]).output().unwrap();
        let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
        assert!(!rules.contains(&prefix), "{rules}");
        self.lab.until_gone();
    }
}

/// How many addresses a name server says that a name has; `None` if it says nothing in a moment.
fn ask(server: IpAddr, name: &str) -> Option<u8> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend(label.as_bytes());
    }
    question.extend(b"\x00\x00\x01\x00\x01");
    socket.connect(SocketAddr::new(server, 53)).and_then(|()| socket.send(&question)).ok()?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).ok()?;
    (length > 12).then_some(answer[7])
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

/// The server that systemd started ends with the last machine of systemd's: who is left goes on being served.
#[test]
fn names_outlive_the_unit() {
    let lab = Lab::new("outlive");
    let net = Net::new(&lab, "10.203.1.1", &[]);
    net.start(Keeper::Systemd, "web", &[], &[]).ok();
    net.start(Keeper::Local, "db", &[], &[]).ok();
    let db = lab.name("db");
    net.until_known(&db, 1);
    lab.kraft(["stop", "--force", &lab.name("web")]).ok();
    let unit = format!("kraft:net-{}.service", net.name);
    lab.systemctl(["stop", &unit]);
    net.until_known(&db, 1);
    net.until_known(&lab.name("web"), 0);
    lab.kraft(["start", &lab.name("web")]).ok();
    net.until_known(&lab.name("web"), 1);
    // The other way round: the unit goes on where the other one was killed.
    assert_eq!(lab.systemctl(["is-active", &unit]).ok().trim(), "active");
    for pid in net.servers("--while-needed") {
        kill(pid);
        assert!(process_ends(pid, DEADLINE));
    }
    net.until_known(&db, 1);
    net.remove();
}

fn machines_find_each_other_by_name(keeper: Keeper) {
    let lab = keeper.lab("nm");
    let net = Net::new(&lab, if keeper.has_units() { "10.201.1.1" } else { "10.202.1.1" }, &[]);
    let [web, db, late, last] = ["web", "db", "late", "last"].map(|short| lab.name(short));
    net.start(keeper, "web", &[], &[]).ok();
    net.start(keeper, "db", &[], &[&format!("fetch={web}")]).ok();
    lab.until_console("db", &format!("fetch {web}: hello from {web}"));
    // One that comes while they run, and one that looks for it.
    net.start(keeper, "late", &[], &[&format!("fetch={db}")]).ok();
    lab.until_console("late", &format!("fetch {db}: hello from {db}"));
    net.start(keeper, "last", &[], &[&format!("fetch={late}")]).ok();
    lab.until_console("last", &format!("fetch {late}: hello from {late}"));
    // A name goes with its machine, and comes again.
    lab.kraft(["stop", "--force", &web]).ok();
    net.until_known(&web, 0);
    lab.kraft(["start", &web]).ok();
    net.until_known(&web, 1);
    if keeper.has_units() {
        let unit = format!("kraft:net-{}.service", net.name);
        let all = [&web, &db, &late, &last].map(String::as_str);
        lab.kraft(["stop", "--force"].into_iter().chain(all)).ok();
        lab.systemctl(["start", &lab.unit("web")]).ok();
        assert_eq!(lab.systemctl(["is-active", &unit]).ok().trim(), "active");
        net.until_known(&web, 1);
    }
    net.remove();
}

fn a_killed_server_of_names_comes_back(keeper: Keeper) {
    let lab = keeper.lab("nk");
    let net = Net::new(&lab, if keeper.has_units() { "10.201.2.1" } else { "10.202.2.1" }, &[]);
    let web = lab.name("web");
    net.start(keeper, "web", &[], &[]).ok();
    net.until_known(&web, 1);
    for _ in 0..3 {
        let before = net.servers("dnsmasq");
        assert_eq!(before.len(), 1);
        kill(before[0]);
        net.until_known(&web, 1);
    }
    let serve = net.servers("net serve");
    assert_eq!(serve.len(), 1);
    kill(serve[0]);
    if keeper == Keeper::Local {
        net.start(keeper, "db", &[], &[]).ok();
        net.until_known(&lab.name("db"), 1);
    }
    net.until_known(&web, 1);
    net.remove();
}

fn ports_are_published_by_a_network(keeper: Keeper) {
    let lab = keeper.lab("np");
    let (gateway, host, outside) = match keeper {
        Keeper::Systemd | Keeper::User => ("10.201.3.1", "198.51.100.1", "198.51.100.2"),
        Keeper::Local => ("10.202.3.1", "203.0.113.1", "203.0.113.2"),
    };
    let net = Net::new(&lab, gateway, &[]);
    // Its mount is a unit, which is not to be taken for a machine's.
    let out = Netns::new(&lab.name("out").replace("t-", "x-"));
    out.cable_to_host(&format!("{outside}/24"), &format!("{host}/24"));
    let [one, every, udp] = free_ports();
    let ports = [format!("127.0.0.1:{one}:80"), format!("{every}:80"), format!("{udp}:53/udp")];
    let options = ["-p", &ports[0], "-p", &ports[1], "-p", &ports[2]];
    let hello = format!("hello from {}", lab.name("web"));
    net.start(keeper, "web", &options, &[&format!("ping={outside}")]).ok();
    lab.until_console("web", &format!("ping {outside}: ok"));
    let at = |ip: &str| ip.parse::<IpAddr>().unwrap();
    assert_eq!(get((loopback(1), one), "/").trim(), hello);
    assert_eq!(get((loopback(1), every), "/").trim(), hello);
    assert_eq!(get((at(host), every), "/").trim(), hello);
    assert_eq!(echo((loopback(1), udp), "ping"), format!("{}: ping", lab.name("web")));
    refuses((at(host), one));
    out.within(|| {
        assert_eq!(get((at(host), every), "/").trim(), hello);
        assert_eq!(echo((at(host), udp), "ping"), format!("{}: ping", lab.name("web")));
        refuses((at(host), one));
    });
    let fetch = format!("{host}:{every}");
    net.start(keeper, "near", &[], &[&format!("fetch={fetch}")]).ok();
    lab.until_console("near", &format!("fetch {fetch}: {hello}"));
    let (error, _) = net.start(keeper, "other", &["-p", &format!("{every}:81")], &[]).fails_with_hint(125);
    assert_eq!(error, format!("port {every}/tcp is taken: machine {} has {every}:80/tcp", lab.name("web")));
    lab.kraft(["stop", "--force", &lab.name("web")]).ok();
    out.within(|| refuses((at(host), every)));
    net.remove();
}

fn an_internal_network_cannot_leave(keeper: Keeper) {
    let lab = keeper.lab("ni");
    let (gateway, host, outside) = match keeper {
        Keeper::Systemd | Keeper::User => ("10.201.4.1", "192.0.2.1", "192.0.2.2"),
        Keeper::Local => ("10.202.4.1", "192.0.2.129", "192.0.2.130"),
    };
    let net = Net::new(&lab, gateway, &["--internal"]);
    let out = Netns::new(&lab.name("out").replace("t-", "x-"));
    out.cable_to_host(&format!("{outside}/30"), &format!("{host}/30"));
    let [port] = free_ports();
    let web = lab.name("web");
    net.start(keeper, "web", &["-p", &format!("{port}:80")], &[&format!("ping={outside}")]).ok();
    lab.until_console("web", &format!("ping {outside}: no answer"));
    net.start(keeper, "db", &[], &[&format!("fetch={web}")]).ok();
    lab.until_console("db", &format!("fetch {web}: hello from {web}"));
    assert_eq!(get((loopback(1), port), "/").trim(), format!("hello from {web}"));
    assert_eq!(out.tcp(&format!("{host}:{port}")), "silent");
    assert_eq!(ask(net.gateway, "example.com"), Some(0));
    net.remove();
}
