//! Networks: what is created, shown and removed; machines that are on them; and what is left when somebody is killed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::keeper::{Keeper, under_both};
use crate::lab::{DEADLINE, Lab, Who, guest, kill, process_ends};
use crate::leaks;
use crate::wire::get;

under_both! {
    machines_that_come_one_after_the_other_reach_each_other,
    a_killed_vmm_or_runner_leaves_no_tap,
    a_network_comes_back_by_itself,
    somebody_else_s_bridge_is_used_and_left_alone,
}

/// Creates a network; returns its name.
fn network(lab: &Lab, short: &str, options: &[&str]) -> String {
    let name = lab.name(short);
    let mut args = vec!["net", "create"];
    args.extend(options);
    args.push(&name);
    assert_eq!(lab.kraft(&args).ok(), format!("{name}\n"));
    name
}

fn inspect(lab: &Lab, name: &str) -> Value {
    let all: Value = serde_json::from_str(&lab.kraft(["net", "inspect", name]).ok()).expect("JSON");
    all[0].clone()
}

fn start(keeper: Keeper, lab: &Lab, short: &str, options: &[&str], words: &[&str]) {
    lab.start_guest("net-unikraft", short, keeper.has_units(), options, words).ok();
}

/// The machine's first address, by ps.
fn address(lab: &Lab, short: &str) -> IpAddr {
    lab.ps(short)["ips"][0].as_str().expect("it has an address").parse().expect("it is one")
}

#[test]
fn networks_are_created_shown_and_removed() {
    let lab = Lab::new("nets");
    let one = network(&lab, "one", &["-n", "10.77.1.1/24", "--ipv6", "fd77:1::1/64"]);
    let long = network(&lab, "with-a-name-that-is-long", &["--internal"]);
    let shown = inspect(&lab, &one);
    assert_eq!((shown["ipv4"].as_str(), shown["ipv6"].as_str()), (Some("10.77.1.1/24"), Some("fd77:1::1/64")));
    assert_eq!((shown["state"].as_str(), shown["internal"].as_bool()), (Some("up"), Some(false)));
    assert!(inspect(&lab, &long)["bridge"].as_str().unwrap().len() <= 15);
    let rows: Value = serde_json::from_str(&lab.kraft(["net", "ls", "-o", "json"]).ok()).unwrap();
    let names: Vec<&str> = rows.as_array().unwrap().iter().filter_map(|row| row["name"].as_str()).collect();
    assert!(names.contains(&&*one) && names.contains(&&*long));
    let table = lab.kraft(["net", "ls"]).ok();
    assert!(table.lines().any(|line| line.split_whitespace().next() == Some(&one) && line.contains("up")), "{table}");

    // What is taken is named with who has it.
    let other = lab.name("other");
    let error = lab.kraft(["net", "create", "-n", "10.77.0.1/16", &other]).fails(125);
    assert_eq!(
        error,
        format!("cannot create network {other}: subnet 10.77.0.0/16 overlaps 10.77.1.0/24 of network {one}")
    );
    let error = lab.kraft(["net", "create", "-n", "127.0.0.1/8", &other]).fails(125);
    assert!(error.ends_with("such addresses are not for networks"), "{error}");
    let (error, hint) = lab.kraft(["net", "create", &one]).fails_with_hint(125);
    assert_eq!((error, hint), (format!("network {one} already exists"), format!("`kraft net rm {one}` removes it")));
    lab.kraft(["net", "down", &one]).ok();
    assert_eq!(inspect(&lab, &one)["state"], "down");
    let error = lab.kraft(["net", "create", "-n", "10.77.1.1/25", &other]).fails(125);
    assert!(error.ends_with(&format!("of network {one}")), "a network that is down keeps its subnet: {error}");
    lab.kraft(["net", "up", &one, &one]).ok();
    lab.kraft(["net", "up", &one]).ok();
    assert_eq!(inspect(&lab, &one)["state"], "up");

    assert_eq!(lab.kraft(["net", "rm", &one, &long]).ok(), format!("{one}\n{long}\n"));
    assert_eq!(lab.leaks(), Vec::<String>::new());
    let (error, hint) = lab.start_guest("net", "web", false, &["--network", &one], &[]).fails_with_hint(125);
    assert!(error.starts_with(&format!("no such network: {one} (")), "{error}");
    assert_eq!(hint, format!("`kraft net create {one}` creates it"));
}

#[test]
fn those_without_machines_are_pruned() {
    let lab = Lab::new("prune").with_store();
    let (used, idle) = (network(&lab, "used", &[]), network(&lab, "idle", &[]));
    let name = lab.name("web");
    lab.kraft(["create", "-q", "--network", &used, "--name", &name, &guest("net")]).ok();
    assert_eq!(lab.kraft(["net", "prune"]).ok(), format!("{idle}\n"));
    assert_eq!(lab.kraft(["net", "ls", "-q"]).ok(), format!("{used}\n"));
    lab.kraft(["rm", &name]).ok();
    assert_eq!(lab.kraft(["net", "prune"]).ok(), format!("{used}\n"));
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

#[test]
fn hostile_names_are_refused() {
    let lab = Lab::new("badnets");
    let long = "a".repeat(300);
    for name in ["", "..", "../x", "a/b", "a b", "a,b", "a\nb", "a\"b", "-x", "Web", &long] {
        let said = lab.kraft(["net", "create", "--", name]);
        assert_eq!(said.code, 125, "{name:?}");
        let said = lab.start_guest("net", "web", false, &["--network", &format!("bridge:{name}")], &[]);
        assert_eq!(said.code, 125, "{name:?}");
    }
}

#[test]
fn networks_are_root_s() {
    let lab = Lab::of("usernet", Who::Tester);
    let (error, hint) = lab.kraft(["net", "create", "web"]).fails_with_hint(125);
    assert_eq!(error, "networks are the system's: only root has machines on them");
    assert!(hint.starts_with("`-p` publishes ports without a network"));
    assert_eq!(lab.kraft(["net", "ls", "-q"]).ok(), "");
    for verb in ["rm", "up", "down", "inspect"] {
        assert_eq!(lab.kraft(["net", verb, "web"]).fails_with_hint(125).0, error, "{verb}");
    }
}

fn machines_that_come_one_after_the_other_reach_each_other(keeper: Keeper) {
    let lab = keeper.lab("reach");
    let net = network(&lab, "n", &[]);
    start(keeper, &lab, "one", &["--network", &net], &[]);
    lab.until_console("one", "net: up");
    let one = address(&lab, "one");
    for short in ["two", "three"] {
        start(keeper, &lab, short, &["--network", &net], &[&format!("ping={one}"), &format!("fetch=http://{one}/")]);
        lab.until_console(short, &format!("ping {one}: ok"));
        lab.until_console(short, "hello from");
    }
    for short in ["one", "two", "three"] {
        assert!(get((address(&lab, short), 80), "/").starts_with("hello from "));
    }
    let shown = inspect(&lab, &net);
    assert_eq!(shown["machines"].as_array().unwrap().len(), 3);
    assert_eq!(leaks::marked(&format!("kraft machine {}", lab.name(""))).len(), 3);

    // Nobody who is on it loses it.
    let (error, hint) = lab.kraft(["net", "rm", &net]).fails_with_hint(125);
    let names = ["one", "three", "two"].map(|short| lab.name(short)).join(", ");
    assert_eq!(error, format!("cannot remove network {net}: in use by machines {names}"));
    assert!(hint.contains("kraft rm"), "{hint}");
    lab.kraft(["net", "rm", "--force", &net]).fails_with_hint(125);
    lab.kraft(["net", "down", &net]).fails_with_hint(125);
    lab.kraft(["stop", "--force", &lab.name("one"), &lab.name("two"), &lab.name("three")]).ok();
    assert_eq!(leaks::marked(&format!("kraft machine {}", lab.name(""))), Vec::<String>::new());
    lab.kraft(["net", "rm", &net]).fails_with_hint(125);
}

#[test]
fn a_stopped_machine_keeps_its_address() {
    let lab = Lab::new("keeps");
    let net = network(&lab, "n", &["-n", "10.77.2.1/29"]);
    let create = |short: &str, options: &[&str]| {
        let (name, guest) = (lab.name(short), guest("net-unikraft"));
        let mut args = vec!["create", "-q", "--name", &name];
        args.extend(options);
        args.push(&guest);
        lab.kraft(&args)
    };
    for (short, expected) in [("a", "10.77.2.2"), ("b", "10.77.2.3")] {
        create(short, &["--network", &net]).ok();
        assert_eq!(address(&lab, short).to_string(), expected);
    }
    let (first, mac) = (lab.name("a"), lab.inspect("a")["record"]["spec"]["networks"][0]["mac"].clone());
    let taken = create("c", &["--network", &format!("{net}:10.77.2.2")]).fails(125);
    assert!(taken.ends_with(&format!("address 10.77.2.2 is taken: machine {first} has it")), "{taken}");
    let taken = create("c", &["--network", &net, "--mac", mac.as_str().unwrap()]).fails(125);
    assert!(taken.ends_with(&format!("machine {first} has it")), "{taken}");
    let gateway = create("c", &["--network", &net, "--ip", "10.77.2.1"]).fails(125);
    assert!(gateway.ends_with("address 10.77.2.1 cannot be had: it is the gateway's"), "{gateway}");
    create("c", &["--network", &net, "--ip", "10.77.2.6", "--mac", "02:00:00:00:77:02"]).ok();
    assert_eq!(lab.inspect("c")["record"]["spec"]["networks"][0]["mac"], "02:00:00:00:77:02");
    let two = create("d", &["--network", &net, "--network", &net, "--ip", "10.77.2.5"]).fails_with_hint(125).0;
    assert_eq!(two, "--ip and --mac are for a machine on one network");
    create("d", &["--network", &net, "--network", &format!("{net}::10.77.2.9:9.9.9.9::www:example.org")]).ok();
    let spec = &lab.inspect("d")["record"]["spec"]["networks"];
    assert_eq!((&spec[0]["ipv4"], &spec[1]["ipv4"]), (&"10.77.2.4/29".into(), &"10.77.2.5/29".into()));
    assert_eq!((&spec[1]["host"], &spec[1]["domain"]), (&"www".into(), &"example.org".into()));
    assert_eq!((&spec[1]["dns"][0], &spec[1]["gateways"][0]), (&"9.9.9.9".into(), &"10.77.2.9".into()));
    let full = create("e", &["--network", &net]).fails(125);
    assert!(full.ends_with("all addresses of 10.77.2.0/29 are taken"), "{full}");
    lab.kraft(["rm", &first]).ok();
    create("e", &["--network", &net]).ok();
    assert_eq!(address(&lab, "e").to_string(), "10.77.2.2");
}

#[test]
fn fifty_at_once_get_addresses_and_macs_of_their_own() {
    let lab = Lab::new("fifty");
    let net = network(&lab, "n", &["--ipv6", "fd77:3::1/64"]);
    std::thread::scope(|scope| {
        for worker in 0..10 {
            let (lab, net) = (&lab, &net);
            scope.spawn(move || {
                for n in 0..5 {
                    let name = lab.name(&format!("{worker}-{n}"));
                    lab.kraft(["create", "-q", "--network", net, "--name", &name, &guest("net-unikraft")]).ok();
                }
            });
        }
    });
    let shown = inspect(&lab, &net);
    let machines = shown["machines"].as_array().unwrap();
    let distinct = |field: &dyn Fn(&Value) -> String| machines.iter().map(field).collect::<BTreeSet<_>>().len();
    assert_eq!(machines.len(), 50);
    assert_eq!(distinct(&|machine| machine["mac"].to_string()), 50);
    assert_eq!(distinct(&|machine| machine["addresses"][0].to_string()), 50);
    assert_eq!(distinct(&|machine| machine["addresses"][1].to_string()), 50);
}

fn a_killed_vmm_or_runner_leaves_no_tap(keeper: Keeper) {
    let lab = keeper.lab("killtap");
    let net = network(&lab, "n", &[]);
    let mark = format!("kraft machine {}", lab.name(""));
    for (short, victim) in [("vmm", "vmm_pid"), ("runner", "pid")] {
        start(keeper, &lab, short, &["--network", &net], &[]);
        assert_eq!(leaks::marked(&mark).len(), 1);
        let machine = lab.ps(short);
        let vmm = machine["vmm_pid"].as_u64().unwrap();
        kill(machine[victim].as_u64().unwrap(), Signal::SIGKILL);
        assert!(process_ends(u32::try_from(vmm).unwrap(), DEADLINE), "the VMM outlives its runner");
        assert_eq!(leaks::marked(&mark), Vec::<String>::new());
        lab.kraft(["rm", "--force", &lab.name(short)]).ok();
    }
}

fn a_network_comes_back_by_itself(keeper: Keeper) {
    let lab = keeper.lab("back");
    let net = network(&lab, "n", &[]);
    let bridge = inspect(&lab, &net)["bridge"].as_str().unwrap().to_owned();
    start(keeper, &lab, "web", &["--network", &net], &[]);
    let before = address(&lab, "web");
    lab.kraft(["stop", "--force", &lab.name("web")]).ok();
    // As after a reboot.
    lab.call("ip", ["link", "del", &bridge]).ok();
    assert_eq!(inspect(&lab, &net)["state"], "down");
    lab.kraft(["start", &lab.name("web")]).ok();
    lab.until_console("web", "net: up");
    assert_eq!(address(&lab, "web"), before);
    assert!(get((before, 80), "/").starts_with("hello from "));
}

fn somebody_else_s_bridge_is_used_and_left_alone(keeper: Keeper) {
    let lab = keeper.lab("adopted");
    let bridge = if keeper.has_units() { "t-br-s" } else { "t-br-l" };
    lab.call("ip", ["link", "del", bridge]);
    lab.call("ip", ["link", "add", bridge, "address", "02:77:00:00:00:01", "type", "bridge"]).ok();
    lab.call("ip", ["link", "set", bridge, "up", "alias", "mine"]).ok();
    // But for what comes and goes with the interfaces on it.
    let seen = || {
        let link = leaks::links().into_iter().find(|link| link["ifname"] == bridge).expect("it is there");
        ["ifindex", "address", "ifalias", "mtu", "promiscuity", "group", "txqlen"].map(|field| link[field].clone())
    };
    let before = seen();
    assert!(!lab.kraft(["net", "ls", "-q"]).ok().lines().any(|name| name == bridge));
    for verb in ["rm", "down", "up", "inspect"] {
        lab.kraft(["net", verb, bridge]).fails_with_hint(125);
    }
    let error = lab.start_guest("net-unikraft", "x", false, &["--network", bridge], &[]).fails_with_hint(125).0;
    assert!(error.starts_with(&format!("no such network: {bridge}")), "{error}");
    let error = lab.start_guest("net-unikraft", "x", false, &["--network", "bridge:lo"], &[]).fails(125);
    assert_eq!(error, "interface lo is not a bridge");

    let options = ["--network", &format!("bridge:{bridge}:10.77.9.2/24")];
    start(keeper, &lab, "web", &options, &[]);
    assert_eq!(leaks::marked(&format!("kraft machine {}", lab.name(""))).len(), 1);
    lab.until_console("web", "net: up");
    lab.kraft(["stop", "--force", &lab.name("web")]).ok();
    assert_eq!(seen(), before);
    lab.kraft(["rm", &lab.name("web")]).ok();
    lab.call("ip", ["link", "del", bridge]).ok();
}

/// What no rule can lead to the machine is refused before there is one.
#[test]
fn ports_that_lead_nowhere_are_refused() {
    let lab = Lab::new("nowhere").with_store();
    let net = network(&lab, "n", &[]);
    let (name, kernel) = (lab.name("web"), guest("net"));
    for (port, why) in [
        ("[::1]:7797:80", "port [::1]:7797:80/tcp leads nowhere: what is sent to ::1 never leaves the host"),
        ("[fd00::7]:7797:80", "port [fd00::7]:7797:80/tcp leads nowhere: the machine has no IPv6 address"),
    ] {
        let error = lab.kraft(["create", "--network", &net, "-p", port, "--name", &name, &kernel]).fails(125);
        assert_eq!(error, format!("cannot create {name}: {why}"));
    }
    let error = lab.kraft(["create", "-p", "[::1]:7797:80", "--name", &name, &kernel]).fails(125);
    assert!(error.ends_with("QEMU's own network has IPv4 alone"), "{error}");
    assert_eq!(lab.kraft(["ps", "-aq"]).ok(), "");
}

/// A runner that was killed kept its ports: who wants one gets it.
#[test]
fn a_dead_machine_s_port_is_free() {
    let lab = Lab::new("deadport").with_store();
    let net = network(&lab, "n", &[]);
    let options = ["--network", &net, "-p", "7796:80"];
    start(Keeper::Local, &lab, "dead", &options, &[]);
    let machine = lab.ps("dead");
    let [vmm, runner] = ["vmm_pid", "pid"].map(|pid| u32::try_from(machine[pid].as_u64().unwrap()).unwrap());
    kill(runner.into(), Signal::SIGKILL);
    assert!(process_ends(vmm, DEADLINE) && process_ends(runner, DEADLINE));
    start(Keeper::Local, &lab, "next", &options, &[]);
    lab.until_console("next", "net: up");
    assert_eq!(get(("127.0.0.1".parse::<IpAddr>().unwrap(), 7796), "/"), format!("hello from {}\n", lab.name("next")));
    // Its name is left, until somebody looks.
    let name = format!("name of {} on network {net}, which does not run", lab.name("dead"));
    assert_eq!(fixed(&lab), format!("removed {name}\n"));
    lab.kraft(["rm", "--force", &lab.name("dead"), &lab.name("next")]).ok();
    lab.kraft(["net", "rm", &net]).ok();
    assert_eq!(lab.leaks(), Vec::<String>::new());
    assert!(!lab.runtime().join(".names").exists());
}

/// A record that cannot be read keeps nobody from removing the network, whatever is left of it.
#[test]
fn a_broken_record_is_removed_by_force() {
    let lab = Lab::new("broken").with_store();
    for bridge_too in [false, true] {
        let net = network(&lab, "n", &[]);
        let bridge = inspect(&lab, &net)["bridge"].as_str().unwrap().to_owned();
        let record = lab.state().join(format!("networks/{net}.toml"));
        std::fs::write(&record, "garbage").unwrap();
        if bridge_too {
            lab.call("ip", ["link", "del", &bridge]).ok();
        }
        let (error, hint) = lab.kraft(["net", "rm", &net]).fails_with_hint(125);
        assert!(error.starts_with(record.to_str().unwrap()), "{error}");
        assert_eq!(hint, format!("`kraft net rm --force {net}` removes it all the same"));
        lab.kraft(["net", "rm", "--force", &net]).ok();
        assert_eq!(lab.leaks(), Vec::<String>::new());
        assert!(!record.exists());
    }
    // Neither record nor bridge: only the rules are left.
    let net = network(&lab, "n", &[]);
    let bridge = inspect(&lab, &net)["bridge"].as_str().unwrap().to_owned();
    std::fs::remove_file(lab.state().join(format!("networks/{net}.toml"))).unwrap();
    lab.call("ip", ["link", "del", &bridge]).ok();
    assert_eq!(fixed(&lab), format!("removed rules of network {net}, which is gone\n"));
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

/// A network that cannot be made leaves no record.
#[test]
fn without_a_runtime_directory_no_network_is_left() {
    let lab = Lab::new("noruntime").with_store();
    let file = lab.file("runtime", b"");
    let name = lab.name("n");
    let error = lab.kraft_with("KRAFT_RUNTIME_DIR", &file, ["net", "create", &name]).fails(125);
    assert!(error.starts_with(&format!("cannot create network {name}: cannot lock the host's network: ")), "{error}");
    assert_eq!(lab.kraft(["net", "ls", "-q"]).ok(), "");
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

/// A network of the same name with another subnet is not the one that the machine was on.
#[test]
fn a_network_that_was_made_anew_is_told() {
    let lab = Lab::new("anew").with_store();
    let net = network(&lab, "n", &["-n", "10.77.21.1/24"]);
    let name = lab.name("web");
    lab.kraft(["create", "-q", "--network", &net, "--name", &name, &guest("net-unikraft")]).ok();
    lab.kraft(["net", "rm", "--force", &net]).ok();
    network(&lab, "n", &["-n", "10.77.22.1/24"]);
    let error = lab.kraft(["start", &name]).fails(125);
    let why = format!("its address 10.77.21.2 is not in network {net}, which was created anew with 10.77.22.0/24");
    assert_eq!(error, format!("cannot start {name}: {why}: so has to be the machine"));
    lab.kraft(["rm", &name]).ok();
    lab.kraft(["net", "rm", &net]).ok();
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

#[test]
fn orphans_are_found_and_removed() {
    let lab = Lab::new("orphans").with_store();
    let (kept, gone) = (network(&lab, "kept", &[]), network(&lab, "gone", &[]));
    start(Keeper::Systemd, &lab, "web", &["--network", &kept, "-p", "7799:80"], &[]);
    assert_eq!(fixed(&lab), "");

    // As when the power is cut between two steps.
    let bridge = inspect(&lab, &gone)["bridge"].as_str().unwrap().to_owned();
    std::fs::remove_file(lab.state().join(format!("networks/{gone}.toml"))).unwrap();
    let stale = lab.runtime().join(lab.name("stale"));
    std::fs::create_dir(&stale).unwrap();
    std::fs::write(stale.join("status.json"), "{}").unwrap();
    let id = "00112233445566778899aabbccddeeff";
    let tap = "kt001122334455";
    lab.call("ip", ["tuntap", "add", tap, "mode", "tap"]).ok();
    lab.call("ip", ["link", "set", tap, "alias", "somebody else's"]).ok();
    assert!(!lab.kraft(["doctor"]).out.contains(tap));
    let mark = lab_mark(&lab, &kept);
    lab.call("ip", ["link", "set", tap, "alias", &format!("kraft machine {} {id} 0{mark}", lab.name("dead"))]).ok();

    let expected = [
        format!("bridge {bridge} of network {gone}, which is gone"),
        format!("tap {tap} of {}, which does not run", lab.name("dead")),
        format!("runtime files of {}, which is gone", lab.name("stale")),
    ];
    let found = lab.kraft(["doctor"]).out;
    let removed = fixed(&lab);
    for what in &expected {
        assert!(found.contains(what), "{what}: {found}");
        assert!(removed.contains(&format!("removed {what}\n")), "{what}: {removed}");
    }
    assert_eq!(removed.lines().count(), expected.len(), "{removed}");
    assert_eq!(fixed(&lab), "");
    assert_eq!(lab.state_of("web"), "running");
    assert_eq!(leaks::marked(&format!("kraft machine {}", lab.name("web"))).len(), 1);
}

/// What `kraft doctor --fix` removes of this world's. Ports of a dead machine of another it removes as well.
fn fixed(lab: &Lab) -> String {
    let all = lab.kraft(["doctor", "--fix"]).ok();
    all.lines().filter(|line| line.contains(&lab.name(""))).map(|line| format!("{line}\n")).collect()
}

/// What the marks of this world's state directory end by.
fn lab_mark(lab: &Lab, network: &str) -> String {
    let bridge = inspect(lab, network)["bridge"].as_str().unwrap().to_owned();
    let link = leaks::links().into_iter().find(|link| link["ifname"] == bridge.as_str()).unwrap();
    let alias = link["ifalias"].as_str().unwrap().to_owned();
    alias.find(" @").map_or_else(String::new, |at| alias[at..].to_owned())
}

/// Fifty guests are more than two processors translate at once: no other story is beside this one.
#[test]
fn fifty_start_at_once_and_are_reached() {
    let lab = Lab::alone("fiftyrun", Who::Root).with_store();
    let net = network(&lab, "n", &[]);
    let names: Vec<String> = (0..50).map(|n| lab.name(&format!("{n:02}"))).collect();
    for name in &names {
        let options = ["create", "-q", "--systemd", "-W", "--network", &net, "--name", name];
        lab.kraft(options.into_iter().chain([guest("net-unikraft").as_str()])).ok();
    }
    lab.kraft(std::iter::once("start").chain(names.iter().map(String::as_str))).ok();
    let machines = inspect(&lab, &net)["machines"].as_array().unwrap().clone();
    for machine in &machines {
        let address: IpAddr = machine["addresses"][0].as_str().unwrap().parse().unwrap();
        assert!(get((address, 80), "/").starts_with("hello from "), "{address}");
    }
    assert_eq!(machines.len(), 50);
    lab.kraft(["stop", "--all", "--force"]).ok();
    assert_eq!(leaks::marked(&format!("kraft machine {}", lab.name(""))), Vec::<String>::new());
    lab.kraft(["rm", "--all"]).ok();
    lab.kraft(["net", "rm", &net]).ok();
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

/// Nothing is left of a start that fails half-way.
#[test]
fn without_tun_or_nft_nothing_is_left() {
    let lab = Lab::alone("halfway", Who::Root).with_store();
    let net = network(&lab, "n", &[]);
    let mark = format!("kraft machine {}", lab.name(""));
    let (tun, away) = ("/dev/net/tun", "/dev/net/away");
    std::fs::rename(tun, away).unwrap();
    let said = lab.start_guest("net-unikraft", "web", true, &["--network", &net, "-p", "7798:80"], &[]);
    std::fs::rename(away, tun).unwrap();
    let error = said.fails(125);
    assert!(error.contains("cannot open /dev/net/tun"), "{error}");
    assert_eq!(lab.leaks_of("web"), Vec::<String>::new());

    // The packet filter refuses once the tap is there.
    let broken = "#!/bin/sh\ncase \"$*\" in *list*) exec /usr/sbin/nft \"$@\" ;; esac\necho broken >&2\nexit 1\n";
    let dir = lab.program("bin", "nft", broken);
    let path = format!("{dir}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let (name, kernel) = (lab.name("web"), guest("net-unikraft"));
    let run = ["run", "-d", "--network", &net, "-p", "7798:80", "--name", &name, &kernel];
    let error = lab.kraft_with("PATH", &path, run).fails(125);
    assert!(error.contains("broken"), "{error}");
    assert_eq!(leaks::marked(&mark), Vec::<String>::new());
    assert_eq!(lab.leaks_of("web"), Vec::<String>::new());
}
