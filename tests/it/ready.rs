//! When machines are ready: what a start waits for, what waits for a start, and what becomes of one that never is.

use std::process::Command;

use serde_json::Value;

use crate::keeper::{Keeper, under_both};
use crate::lab::{DEADLINE, Lab, finish, guest, kraft, until_change};
use crate::talk::Talk;
use crate::wire::{free_ports, get, loopback};

under_both! {
    a_line_of_the_console,
    lines_stay_whole_when_they_are_read,
    who_ends_first_was_never_ready,
    an_answer_by_http,
    an_answer_by_tcp,
    what_is_never_ready_is_ended,
    a_stop_ends_the_wait,
    what_cannot_be_reached_is_refused,
}

/// `kraft run -d` of the guest that is a server, with its port 80 on this port of the host's.
fn serve(keeper: Keeper, lab: &Lab, short: &str, port: u16, options: &[&str], words: &[&str]) -> crate::lab::Said {
    let published = format!("127.0.0.1:{port}:80");
    let options = [&["-p", &published], options].concat();
    lab.start_guest("net", short, keeper == Keeper::Systemd, &options, words)
}

/// The same, created only.
fn create(keeper: Keeper, lab: &Lab, short: &str, port: u16, options: &[&str], words: &[&str]) {
    let (name, published, net) = (lab.name(short), format!("127.0.0.1:{port}:80"), guest("net"));
    let systemd: &[&str] = if keeper == Keeper::Systemd { &["--systemd"] } else { &[] };
    let args = [&["create", "--name", &name, "-p", &published], systemd, options, &[&net], words].concat();
    lab.kraft(args).ok();
}

/// Waits until the machine says why it is not ready.
#[track_caller]
pub fn until_unready(lab: &Lab, short: &str, why: &str) {
    until_change(
        &[lab.runtime(), lab.runtime().join(lab.name(short))],
        "the machine to say that it is not ready",
        || lab.inspect(short)["status"]["unready"].as_str().is_some_and(|said| said.contains(why)),
    );
}

fn a_line_of_the_console(keeper: Keeper) {
    let lab = keeper.lab("line");
    keeper.run(&lab, "web", &["--ready", "console:^tick 5$"], &["tick=50"]);
    let lines = lab.kraft(["logs", &lab.name("web")]).ok();
    assert!(lines.lines().any(|line| line == "tick 5"), "{lines}");
    assert_eq!(lab.state_of("web"), "running");
    // It is read on.
    lab.until_console("web", "tick 9");
    lab.kraft(["restart", &lab.name("web")]).ok();
    assert_eq!(lab.events("web", "start").len(), 2);
}

fn lines_stay_whole_when_they_are_read(keeper: Keeper) {
    let lab = keeper.lab("whole");
    let (name, tiny) = (lab.name("web"), guest("tiny"));
    let options = ["--rm", "--name", &name, "--ready", "console:^line 500$"];
    let said = lab.kraft(keeper.attached(&options, &tiny, &["lines=500", "exit=7"]));
    assert_eq!(said.code, 7, "{}", said.err);
    let expected = (1..=500).map(|n| format!("line {n}\n"));
    assert_eq!(said.out, "tiny: lines=500 exit=7\n".to_owned() + &expected.collect::<String>());
}

fn who_ends_first_was_never_ready(keeper: Keeper) {
    let lab = keeper.lab("first");
    let ready = ["--ready", "console:^up$"];
    for (words, how) in [("exit=0", "finished"), ("exit=3", "error (code 3)"), ("panic", "panic (code 134)")] {
        let error = lab.start_tiny("web", keeper == Keeper::Systemd, &ready, &[words]).fails(125);
        assert!(error.contains(&format!("not ready: the guest ended before: {how}")), "{error}");
        assert_eq!(lab.leaks(), Vec::<String>::new());
    }
    assert_eq!(lab.events("web", "start"), Vec::<Value>::new());
}

fn an_answer_by_http(keeper: Keeper) {
    let lab = keeper.lab("http");
    let [port] = free_ports();
    create(keeper, &lab, "web", port, &["--ready", "http:80/health"], &["ill"]);
    let start = Talk::start(lab.command(kraft(), ["start", &lab.name("web")]));
    until_unready(&lab, "web", "not ready: http :80/health answered 503");
    assert_eq!(lab.inspect("web")["status"]["waits_for"], "http :80/health");
    assert_ne!(lab.state_of("web"), "running");
    assert_eq!(lab.events("web", "start"), Vec::<Value>::new());
    get((loopback(1), port), "/mood/well");
    start.end().ok();
    assert_eq!(lab.state_of("web"), "running");
    let status = &lab.inspect("web")["status"];
    assert_eq!((&status["waits_for"], &status["unready"]), (&Value::Null, &Value::Null));
    assert_eq!(lab.events("web", "start").len(), 1);
}

fn an_answer_by_tcp(keeper: Keeper) {
    let lab = keeper.lab("tcp");
    let [port, other] = free_ports();
    serve(keeper, &lab, "web", port, &["--ready", "tcp:80"], &[]).ok();
    // It is so at this moment, with no more waiting.
    assert!(lab.kraft(["logs", &lab.name("web")]).ok().contains("net: up"));
    // QEMU takes the connection; nobody in the guest does.
    let published = format!("127.0.0.1:{other}:81");
    let options = ["-p", &published, "--ready", "tcp:81", "--ready-timeout", "10s"];
    let error = lab.start_guest("net", "none", keeper == Keeper::Systemd, &options, &[]).fails(125);
    assert!(error.ends_with("not ready: nobody listens at port 81 of the guest"), "{error}");
    assert_eq!(lab.leaks_of("none"), Vec::<String>::new());
}

fn what_is_never_ready_is_ended(keeper: Keeper) {
    let lab = keeper.lab("never");
    let [port] = free_ports();
    let options = ["--ready", "http:80/health", "--ready-timeout", "10s", "--restart", "always"];
    create(keeper, &lab, "web", port, &options, &["ill"]);
    let error = lab.kraft(["start", &lab.name("web")]).fails(125);
    assert!(error.ends_with("not ready: http :80/health answered 503"), "{error}");
    let shown = lab.ps("web");
    assert_eq!((&shown["state"], &shown["exit_reason"]), (&"failed".into(), &"start-failed".into()));
    // The guest was asked to go.
    assert!(lab.kraft(["logs", &lab.name("web")]).ok().contains("net: power button"));
    assert_eq!((lab.events("web", "start").len(), lab.events("web", "die").len()), (0, 1));
    if keeper == Keeper::Systemd {
        let status = lab.systemctl(["status", &lab.unit("web")]).out;
        assert!(status.contains("not ready: http :80/health answered 503"), "{status}");
    }
}

fn a_stop_ends_the_wait(keeper: Keeper) {
    let lab = keeper.lab("unready");
    let [port] = free_ports();
    create(keeper, &lab, "web", port, &["--ready", "http:80/health"], &["ill"]);
    let start = Talk::start(lab.command(kraft(), ["start", &lab.name("web")]));
    until_unready(&lab, "web", "answered 503");
    lab.kraft(["stop", &lab.name("web")]).ok();
    assert_eq!(start.end().code, 125);
    assert_eq!(lab.state_of("web"), "exited");
    let exit = &lab.inspect("web")["exit"];
    assert_eq!(exit["reason"], "stopped");
    assert!(exit["detail"].as_str().unwrap().starts_with("not ready: "), "{exit}");
}

fn what_cannot_be_reached_is_refused(keeper: Keeper) {
    let lab = keeper.lab("refused");
    for (option, probe) in [("--ready", "tcp:80"), ("--health", "http:80/health")] {
        let said = lab.start_guest("net", "web", keeper == Keeper::Systemd, &[option, probe, "-p", "1:80/udp"], &[]);
        let (error, hint) = said.fails_with_hint(125);
        assert!(error.contains("the host cannot reach"), "{error}");
        assert!(hint.contains("-p HOST-PORT:80"), "{hint}");
    }
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

#[test]
fn a_unit_that_needs_a_machine_starts_when_that_is_ready() {
    let lab = Lab::new("gate");
    let [port] = free_ports();
    create(Keeper::Systemd, &lab, "web", port, &["--ready", "http:80/health"], &["ill"]);
    let (needed, unit) = (lab.unit("web"), format!("{}.service", lab.name("needs-it")));
    let (requires, after) = (format!("--property=Requires={needed}"), format!("--property=After={needed}"));
    let unit_flag = format!("--unit={unit}");
    // One transaction: the start of the one is the start of the other.
    let args = [&*unit_flag, &requires, &after, "--property=Type=oneshot", "--property=RemainAfterExit=yes", "true"];
    let dependant = Talk::start(lab.command("systemd-run", args));
    until_unready(&lab, "web", "answered 503");
    let state = |unit: &str| lab.systemctl(["show", "-P", "ActiveState", unit]).ok().trim().to_owned();
    assert_eq!((&*state(&needed), &*state(&unit)), ("activating", "inactive"));
    get((loopback(1), port), "/mood/well");
    dependant.end().ok();
    assert_eq!((&*state(&needed), &*state(&unit)), ("active", "active"));
    let at = |unit: &str, what: &str| {
        let text = lab.systemctl(["show", "-P", what, unit]).ok();
        text.trim().parse::<u64>().unwrap_or_else(|e| panic!("{what} of {unit}: {e}: {text}"))
    };
    let ready = at(&needed, "ActiveEnterTimestampMonotonic");
    assert!(at(&unit, "ExecMainStartTimestampMonotonic") >= ready);
    lab.systemctl(["stop", &unit]).ok();
}

#[test]
fn a_unit_says_why_it_was_too_slow_to_be_ready() {
    let lab = Lab::new("slowly");
    let [port] = free_ports();
    let options = ["--ready", "http:80/health", "--property", "TimeoutStartSec=10s"];
    create(Keeper::Systemd, &lab, "web", port, &options, &["ill"]);
    let unit = lab.unit("web");
    assert_ne!(lab.systemctl(["start", &unit]).code, 0);
    assert_eq!(lab.property("web", "Result"), "timeout");
    let why = "not ready: http :80/health answered 503";
    assert!(lab.property("web", "StatusText").contains(why), "{}", lab.property("web", "StatusText"));
    let status = lab.systemctl(["status", &unit]).out;
    assert!(status.contains(why), "{status}");
    assert_eq!(lab.state_of("web"), "failed");
    let exit = &lab.inspect("web")["exit"];
    assert_eq!((&exit["reason"], &exit["detail"]), (&"start-failed".into(), &why.into()));
    let error = lab.kraft(["start", &lab.name("web")]).fails(125);
    assert!(error.ends_with(why), "{error}");
}

#[test]
fn a_machine_on_a_network_is_tried_by_its_address() {
    let lab = Lab::new("rdynet");
    let network = lab.name("lan");
    lab.kraft(["net", "create", &network]).ok();
    let options = ["--network", &network, "--ready", "http:80/health", "--health", "tcp:80"];
    lab.start_guest("net-unikraft", "web", true, &options, &[]).ok();
    assert_eq!(lab.until_event("web", "health", 1)["health"], "healthy");
    let options = ["--network", &network, "--ready", "tcp:81", "--ready-timeout", "10s"];
    let error = lab.start_guest("net-unikraft", "none", true, &options, &[]).fails(125);
    let address = error.strip_suffix(":81").and_then(|text| text.split("not ready: nobody listens at ").nth(1));
    assert!(address.is_some_and(|ip| ip.parse::<std::net::IpAddr>().is_ok()), "{error}");
}

#[test]
fn linux_is_ready_when_it_serves() {
    let lab = Lab::new("rdylinux");
    let [port] = free_ports();
    let (published, initrd) = (format!("127.0.0.1:{port}:80"), guest("linux.cpio"));
    let options = ["-M", "256M", "-p", &published, "-i", &initrd, "--ready", "http:80/"];
    let (name, linux) = (lab.name("web"), guest("linux"));
    let args = [&["run", "--systemd", "-d", "--name", &name], &options[..], &[&linux]].concat();
    let command: Command = lab.command(kraft(), args);
    finish(command, 3 * DEADLINE).ok();
    assert_eq!(get((loopback(1), port), "/index.html"), format!("hello from {name}\n"));
}
