//! What a machine's unit keeps from who got hold of its runner.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use nix::libc;

use crate::lab::{DEADLINE, Lab, Who, finish};
use crate::wire::free_ports;

const STRICT: &[&str] = &["--sandbox", "strict"];

/// A machine with a network, a port and a volume.
fn start(lab: &Lab, short: &str, options: &[&str]) {
    let network = lab.name("n");
    let [port] = free_ports();
    let (publish, volume) = (format!("127.0.0.1:{port}:80"), format!("{}:/data", lab.name("v")));
    let mut all = vec!["--network", &network, "-p", &publish, "-v", &volume, "--dialect", "linux"];
    all.extend(options);
    lab.start_guest("net", short, true, &all, &[]).ok();
}

fn exposure(lab: &Lab, short: &str) -> f64 {
    let said = lab.call("systemd-analyze", ["security", "--no-pager", &lab.unit(short)]);
    let last = said.out.lines().last().unwrap_or_default().to_owned();
    let number = last.split_once("service: ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no score in {} {}", said.out, said.err))
}

#[test]
fn a_strict_unit_is_safe_by_systemd_s_own_measure() {
    let lab = Lab::new("exposure").with_store();
    let name = lab.name("n");
    lab.kraft(["net", "create", &name]).ok();
    // It is what a machine has that is asked for nothing.
    start(&lab, "web", &[]);
    let score = exposure(&lab, "web");
    assert!(score <= 1.0, "{score}");
    start(&lab, "loose", &["--sandbox", "off"]);
    assert!(exposure(&lab, "loose") > 5.0);
    // It is the machine's own user that runs it, with nothing of root's.
    let pid = lab.property("web", "MainPID");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).unwrap_or_default().to_owned()
    };
    assert_ne!(field("Uid:"), "0");
    assert_eq!((field("CapEff:"), field("CapBnd:")), ("0000000000000000".into(), "0000000000000000".into()));
    assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1".into(), "2".into()));
    lab.kraft(["rm", "--force", &lab.name("web"), &lab.name("loose")]).ok();
    lab.kraft(["net", "rm", &name]).ok();
    lab.kraft(["volume", "rm", &lab.name("v")]).ok();
}

#[test]
fn a_confined_machine_survives_what_others_do_to_systemd() {
    let lab = Lab::alone("confreload", Who::Root);
    let unit = lab.unit("web");
    lab.run_tiny("web", STRICT, &[]);
    lab.systemctl(["daemon-reload"]).ok();
    lab.systemctl(["restart", &unit]).ok();
    assert_eq!(lab.state_of("web"), "running");
    lab.systemctl(["daemon-reexec"]).ok();
    lab.systemctl(["stop", &unit]).ok();
    assert_eq!(lab.state_of("web"), "exited");
    lab.systemctl(["start", &unit]).ok();
    assert_eq!(lab.state_of("web"), "running");
    let pid = lab.property("web", "MainPID");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(!status.contains("Uid:\t0"), "{status}");
}

/// The root file system of the lab is an overlay.
#[test]
fn a_volume_whose_owners_are_fixed_loosens_the_default_alone() {
    let lab = Lab::new("fixedowners");
    let volume = format!("{}:/data", lab.name("v"));
    let said = lab.start_guest("net", "web", true, &["-v", &volume, "--dialect", "linux"], &[]);
    let note = format!("{}: --sandbox compatible, as the file system of {}", lab.name("web"), lab.name("v"));
    assert!(said.err.contains(&note), "{}", said.err);
    assert_eq!(lab.inspect("web")["record"]["spec"]["sandbox"], "compatible");
    lab.kraft(["rm", "--force", &lab.name("web")]).ok();
    let asked = [STRICT, &["-v", &volume, "--dialect", "linux"]].concat();
    lab.start_guest("net", "asked", true, &asked, &[]).ok();
    assert_eq!(lab.inspect("asked")["record"]["spec"]["sandbox"], "strict");
    lab.kraft(["rm", "--force", &lab.name("asked")]).ok();
    lab.kraft(["volume", "rm", &lab.name("v")]).ok();
}

#[test]
fn a_profile_can_be_changed() {
    let lab = Lab::new("profiles");
    lab.run_tiny("web", &["--sandbox", "compatible"], &[]);
    assert_eq!(lab.property("web", "DynamicUser"), "no");
    assert_eq!(lab.inspect("web")["record"]["spec"]["sandbox"], "compatible");
    lab.kraft(["update", "--sandbox", "strict", &lab.name("web")]).ok();
    lab.kraft(["restart", &lab.name("web")]).ok();
    assert_eq!(lab.property("web", "DynamicUser"), "yes");
    lab.kraft(["update", "--sandbox", "off", &lab.name("web")]).ok();
    lab.kraft(["restart", &lab.name("web")]).ok();
    assert_eq!(lab.property("web", "DynamicUser"), "no");
    assert_eq!(lab.state_of("web"), "running");
    // The end of each life is known, whatever the profile was by then.
    assert_eq!(lab.events("web", "die").len(), 2);
}

#[test]
fn a_confined_machine_is_given_its_secrets_and_probed() {
    let lab = Lab::new("confsecret").with_store();
    let db = format!("db={}", lab.file("db", b"sesame"));
    let told = "6 bytes, hash b68bf01b";
    lab.run_tiny("shown", &[STRICT, &["--secret", &db]].concat(), &["secret=db"]);
    lab.until_console("shown", &format!("tiny: secret db in fw_cfg: {told}"));
    // Of a RAM disk that its runner makes of one that it was handed.
    let root = lab.state().with_file_name("root");
    std::fs::create_dir_all(root.join("etc")).unwrap();
    let disk = [STRICT, &["--rootfs", root.to_str().unwrap(), "--secret", &db]].concat();
    lab.start_guest("tiny32", "disk", true, &disk, &["secret=db"]).ok();
    lab.until_console("disk", &format!("tiny: secret db in the RAM disk: {told}"));
    // Its runner tries the guest by the host's network, of which another confined machine has nothing.
    let [port] = free_ports();
    let published = format!("127.0.0.1:{port}:80");
    let probed = [STRICT, &["-p", &published, "--ready", "http:80/health"]].concat();
    lab.start_guest("net", "web", true, &probed, &[]).ok();
    assert_eq!(lab.state_of("web"), "running");
    assert_eq!((&*lab.property("web", "PrivateNetwork"), &*lab.property("disk", "PrivateNetwork")), ("no", "yes"));
}

/// What the program below is told, and tries in this order.
const TARGETS: [&str; 4] = ["ESCAPE_FILES", "ESCAPE_SOCKET", "ESCAPE_UNIT", "ESCAPE_PID"];

#[test]
fn a_guest_that_broke_out_reaches_nothing_of_others() {
    let lab = Lab::alone("escape", Who::Root);
    let (volume, other) = (format!("{}:/data", lab.name("v")), lab.name("other"));
    lab.run_tiny("other", &["--sandbox", "strict", "--dialect", "linux", "-v", &volume], &["tick=100"]);
    lab.until_console("other", "tick 1");
    let secret = lab.state().join("volumes").join(lab.name("v")).join("data/secret");
    std::fs::write(&secret, "the other machine's").unwrap();
    let files = [
        secret,
        lab.state().join("machines").join(&other).join("machine.toml"),
        lab.runtime().join(&other).join("status.json"),
        lab.runtime().join("events.jsonl"),
        "/etc/shadow".into(),
    ];
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let pid = lab.inspect("other")["status"]["vmm_pid"].to_string();
    let socket = lab.runtime().join(&other).join("control.sock").display().to_string();
    let values = [files.join(":"), socket, lab.unit("other"), pid];
    let variables: Vec<(&str, String)> = TARGETS.into_iter().zip(values).collect();

    let _ = lab.systemctl(["stop", "kraft-escaped.slice"]);
    // The same program as root reaches all of it: it is not by its own fault that it does not below.
    let program = std::env::current_exe().unwrap().display().to_string();
    let arguments = ["--exact", "sandbox::escape", "--ignored", "--nocapture", "--test-threads=1"];
    let mut command = Command::new(&program);
    command.args(arguments).envs(variables.iter().map(|(key, value)| (key, value))).env("ESCAPE_SPARE", "1");
    let said = finish(command, DEADLINE);
    assert!(!said.out.contains("refused"), "{}{}", said.out, said.err);

    lab.systemctl(["stop", "kraft-escaped.slice"]).ok();

    // It takes the runner's place, and nothing else of the unit changes.
    lab.run_tiny("web", STRICT, &[]);
    let drop_in = format!("/run/systemd/system/{}.d", lab.unit("web"));
    let environment: String = variables.iter().map(|(key, value)| format!("Environment=\"{key}={value}\"\n")).collect();
    let text = format!("[Service]\nExecStart=\nExecStart={program} {}\n{environment}", arguments.join(" "));
    std::fs::create_dir_all(&drop_in).unwrap();
    std::fs::write(Path::new(&drop_in).join("escape.conf"), text).unwrap();
    lab.systemctl(["daemon-reload"]).ok();
    // It never says that a guest runs, so that its start fails.
    let _ = lab.systemctl(["restart", &lab.unit("web")]);
    let lines = lab.until_line(lab.journal("web"), "what it could reach", |line| line.contains("tried everything"));
    std::fs::remove_dir_all(&drop_in).unwrap();
    lab.systemctl(["daemon-reload"]).ok();
    let tried = |word: &str| lines.iter().filter(|line| line.contains(word)).count();
    assert_eq!((tried("reached: "), tried("refused: ")), (0, 12), "{}", lines.join("\n"));
    // The machine that it was about is untouched, and the one in whose place it was can be started again.
    assert_eq!(lab.state_of("other"), "running");
    lab.kraft(["start", &lab.name("web")]).ok();
    assert_eq!(lab.state_of("web"), "running");
    lab.kraft(["rm", "--force", &lab.name("web"), &other]).ok();
    lab.kraft(["volume", "rm", &lab.name("v")]).ok();
}

/// No test but the program that is run in a runner's place: it says of each thing whether it could be had.
#[test]
#[ignore = "run by another test, in a machine's place"]
#[allow(unsafe_code, reason = "ptrace")]
fn escape() {
    let target = |name: &str| std::env::var(name).unwrap_or_default();
    let say = |what: &str, reached: bool| println!("{}: {what}", if reached { "reached" } else { "refused" });
    for file in target("ESCAPE_FILES").split(':').filter(|file| !file.is_empty()) {
        say(&format!("reading {file}"), std::fs::read(file).is_ok());
    }
    let socket = target("ESCAPE_SOCKET");
    say("its control socket", UnixStream::connect(&socket).is_ok());
    let (unit, pid) = (target("ESCAPE_UNIT"), target("ESCAPE_PID"));
    let journal = Command::new("journalctl").args(["-q", "-o", "cat", "-u", &unit]).output();
    say("its console", journal.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains("tick 1")));
    say("its memory", std::fs::File::open(format!("/proc/{pid}/mem")).is_ok());
    let number: libc::pid_t = pid.parse().unwrap_or(1);
    // SAFETY: it has no pointers that the kernel writes to.
    let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, number, 0, 0) };
    say("its process", seized == 0);
    if seized == 0 {
        // SAFETY: as above. One that runs cannot be let go of: that is done by this process's end.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, number, 0, 0) };
    }
    let system = "org.freedesktop.systemd1";
    let call = |arguments: &[&str]| {
        let mut busctl = Command::new("busctl");
        busctl.args(["call", system, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"]);
        busctl.args(arguments).output().is_ok_and(|said| said.status.success())
    };
    say("StartUnit", call(&["StartUnit", "ss", &unit, "replace"]));
    let transient = ["StartTransientUnit", "ssa(sv)a(sa(sv))", "kraft-escaped.slice", "fail", "0", "0"];
    say("StartTransientUnit", call(&transient));
    say("KillUnit", !target("ESCAPE_SPARE").is_empty() || call(&["KillUnit", "ssi", &unit, "all", "9"]));
    println!("tried everything");
}
