//! Published ports of machines without a network: on the VMM's own.

use std::net::{IpAddr, TcpListener, UdpSocket};

use serde_json::json;

use crate::keeper::{Keeper, everywhere};
use crate::lab::{Lab, Said, guest};
use crate::wire::{echo, free_ports, get, inside, loopback, refuses};

everywhere! {
    a_guest_serves_on_the_addresses_asked,
    a_range_is_published,
    a_port_of_another_machine_s_is_not_had,
    a_port_of_somebody_else_s_is_not_had,
    a_port_is_free_once_its_machine_is_down,
}

fn start(keeper: Keeper, lab: &Lab, short: &str, options: &[&str]) -> Said {
    lab.start_guest("net", short, keeper.has_units(), options, &[])
}

fn a_guest_serves_on_the_addresses_asked(keeper: Keeper) {
    let lab = keeper.lab("ports");
    let [one, every, udp] = free_ports();
    let (first, second) = (format!("127.0.0.1:{one}:80"), format!("{every}:80"));
    let datagrams = format!("{udp}:53/udp");
    start(keeper, &lab, "web", &["-p", &first, "-p", &second, "-p", &datagrams]).ok();
    lab.until_console("web", "net: up");
    assert!(get((loopback(1), one), "/").starts_with("hello from "));
    assert!(get((loopback(1), every), "/").starts_with("hello from "));
    assert!(get((loopback(9), every), "/").starts_with("hello from "));
    assert!(echo((loopback(1), udp), "ping").ends_with(": ping"));
    refuses((loopback(2), one));
    let shown = json!([
        format!("127.0.0.1:{one}->80/tcp"),
        format!("0.0.0.0:{every}->80/tcp"),
        format!("0.0.0.0:{udp}->53/udp")
    ]);
    assert_eq!(lab.ps("web")["ports"], shown);
    lab.kraft(["rm", "--force", &lab.name("web")]).ok();
    refuses((loopback(1), every));
}

fn a_range_is_published(keeper: Keeper) {
    let lab = keeper.lab("range");
    let [last] = free_ports();
    let first = last - 1;
    if TcpListener::bind((IpAddr::from([0; 4]), first)).is_err() {
        // Somebody has the port below: the range is refused for that, which another story is about.
        return;
    }
    start(keeper, &lab, "web", &["-p", &format!("127.0.0.1:{first}-{last}:80-81")]).ok();
    lab.until_console("web", "net: up");
    assert!(get((loopback(1), first), "/").starts_with("hello from "));
}

fn a_port_of_another_machine_s_is_not_had(keeper: Keeper) {
    let lab = keeper.lab("taken");
    let [port] = free_ports();
    start(keeper, &lab, "web", &["-p", &format!("{port}:80")]).ok();
    let same = format!("127.0.0.1:{port}:81");
    let (error, hint) = start(keeper, &lab, "other", &["-p", &same]).fails_with_hint(125);
    assert_eq!(error, format!("port {port}/tcp is taken: machine {} has {port}:80/tcp", lab.name("web")));
    assert_eq!(hint, "another one is published by `-p OTHER:81`");
    assert_eq!(lab.kraft(["ps", "-aq"]).ok().lines().filter(|name| name.contains(&lab.name("other"))).count(), 0);
    // One that is only created has not got it yet.
    let mut create = vec!["create", "--quiet", "--name"];
    let (other, net) = (lab.name("other"), guest("net"));
    create.extend([other.as_str(), "-p", &same, &net]);
    lab.kraft(&create).ok();
    let error = lab.kraft(["start", &other]).fails(125);
    assert!(
        error.ends_with(&format!("port {port}/tcp is taken: machine {} has {port}:80/tcp", lab.name("web"))),
        "{error}"
    );
    lab.kraft(["stop", &lab.name("web")]).ok();
    lab.kraft(["start", &other]).ok();
}

fn a_port_of_somebody_else_s_is_not_had(keeper: Keeper) {
    let lab = keeper.lab("foreign");
    let ours = TcpListener::bind((loopback(1), 0)).unwrap();
    let port = ours.local_addr().unwrap().port();
    let (error, _) = start(keeper, &lab, "web", &["-p", &format!("{port}:80")]).fails_with_hint(125);
    // Whose a socket is can be seen by its owner and by root.
    let who = |port: &str| match keeper {
        Keeper::Systemd | Keeper::Local => format!("port {port} is taken: process {} (", std::process::id()),
        Keeper::User => format!("port {port} is taken: another process "),
    };
    assert!(error.starts_with(&who(&format!("{port}/tcp"))) && error.ends_with("listens there"), "{error}");
    let datagrams = UdpSocket::bind((loopback(1), 0)).unwrap();
    let port = datagrams.local_addr().unwrap().port();
    let (error, _) = start(keeper, &lab, "web", &["-p", &format!("{port}:53/udp")]).fails_with_hint(125);
    assert!(error.starts_with(&who(&format!("{port}/udp"))), "{error}");
    // An address that is not this host's.
    let error = start(keeper, &lab, "web", &["-p", "192.0.2.1:8080:80"]).fails(125);
    assert_eq!(error, "cannot publish port 192.0.2.1:8080:80/tcp: Cannot assign requested address");
}

fn a_port_is_free_once_its_machine_is_down(keeper: Keeper) {
    let lab = keeper.lab("again");
    let [port] = free_ports();
    start(keeper, &lab, "web", &["-p", &format!("{port}:80")]).ok();
    for _ in 0..5 {
        lab.kraft(["stop", "--force", &lab.name("web")]).ok();
        lab.kraft(["start", &lab.name("web")]).ok();
    }
    lab.kraft(["restart", &lab.name("web")]).ok();
    assert_eq!(lab.state_of("web"), "running");
}

#[test]
fn a_linux_guest_serves_too() {
    let lab = Lab::new("port-of-linux");
    let [port] = free_ports();
    let (initrd, publish) = (guest("linux.cpio"), format!("127.0.0.1:{port}:80"));
    let options = ["-M", "256M", "--initrd", &initrd, "-p", &publish];
    // On a busy host the kernel would take its timer for broken.
    lab.start_guest("linux", "vm", true, &options, &["console=ttyS0", "no_timer_check"]).ok();
    lab.until_console("vm", "guest: ready");
    assert_eq!(get((loopback(1), port), "/"), format!("hello from {}\n", lab.name("vm")));
    let said = inside((loopback(1), port), "echo $((2 + 3)); exit 3");
    assert_eq!((said.code, &*said.out), (3, "5\n"));
}
