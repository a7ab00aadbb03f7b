//! Machines without systemd, and that they are never taken for machines with it. What is the same under both managers
//! is told of both.

use std::io::ErrorKind;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::keeper::{Keeper, everywhere};
use crate::lab::{Lab, guest, kraft, until_change};
use crate::talk::Talk;

everywhere! {
    logs_are_cut_as_asked,
    a_log_is_followed_over_restarts_to_the_removal,
    lines_of_several_machines_have_their_names,
    a_wait_ends_with_the_machine,
    an_update_that_needs_a_restart_says_so,
    a_runner_is_found_without_its_runtime_directory,
    a_pause_does_not_wait_for_ever,
}

/// An attached `kraft run` of the tiny guest.
fn run(lab: &Lab, options: &[&str], words: &[&str]) -> Talk {
    let (name, tiny) = (lab.name("web"), guest("tiny"));
    let args = Keeper::Local.attached(&[&["--name", &name], options].concat(), &tiny, words);
    Talk::start(lab.command(kraft(), args))
}

#[test]
fn ctrl_c_stops_the_guest() {
    let lab = Lab::new("ctrlc");
    let mut web = run(&lab, &["--stop-timeout", "1min"], &["tick=50"]);
    web.until("tick 3");
    assert_eq!(lab.state_of("web"), "running");
    web.signal(Signal::SIGINT);
    let said = web.end();
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.ends_with("tiny: power button\n"), "{}", said.out);
    assert_eq!(lab.inspect("web")["exit"]["reason"], "stopped");
    // It is still known, and can be started again.
    lab.kraft(["start", &lab.name("web")]).ok();
    assert_eq!(lab.state_of("web"), "running");
}

#[test]
fn a_second_ctrl_c_is_at_once() {
    let lab = Lab::new("ctrlcc");
    let mut web = run(&lab, &["--stop-timeout", "1min"], &["ignore-power"]);
    web.until("tiny: ignore-power");
    web.signal(Signal::SIGINT);
    lab.until_event("web", "stop", 1);
    let begun = Instant::now();
    web.signal(Signal::SIGINT);
    assert_eq!(web.end().code, 0);
    assert!(begun.elapsed() < Duration::from_secs(30), "took {:?}", begun.elapsed());
    assert_eq!(lab.state_of("web"), "exited");
}

#[test]
fn every_verb_and_no_bus() {
    // A bus that counts who comes, and says nothing.
    let dir = std::env::temp_dir().join("t-nobus");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir(&dir).unwrap();
    let socket = dir.join("bus");
    let bus = UnixListener::bind(&socket).unwrap();
    bus.set_nonblocking(true).unwrap();
    let address = format!("unix:path={}", socket.display());
    let lab = Lab::new("busless")
        .with_env("KRAFT_STATE_DIR", dir.join("state").to_str().unwrap())
        .with_env("KRAFT_RUNTIME_DIR", dir.join("run").to_str().unwrap())
        .with_env("DBUS_SYSTEM_BUS_ADDRESS", &address)
        .with_env("DBUS_SESSION_BUS_ADDRESS", &address);
    let name = lab.name("web");
    let does = |args: &[&str]| lab.kraft(args.iter().copied().chain([name.as_str()])).ok();
    let is = |state: &str| assert_eq!(lab.state_of("web"), state);

    lab.kraft(["create", "--name", &name, &guest("tiny"), "lines=3"]).ok();
    is("created");
    does(&["start"]);
    lab.until_console("web", "line 3");
    is("running");
    does(&["pause"]);
    is("paused");
    does(&["pause"]);
    does(&["unpause"]);
    is("running");
    does(&["update", "--label", "a=b"]);
    does(&["restart"]);
    is("running");
    does(&["stop"]);
    does(&["stop"]);
    is("exited");
    assert!(lab.kraft(["pause", &name]).fails(125).contains("it is exited"));
    does(&["start"]);
    does(&["start"]);
    is("running");
    assert!(lab.kraft(["start", "--systemd", &name]).fails(125).contains("is not run by systemd"));
    lab.kraft(["kill", &name]).ok();
    is("errored");
    does(&["inspect"]);
    assert_eq!(lab.kraft(["wait", &name]).out, "137\n");
    does(&["start"]);
    does(&["rm"]);
    is("absent");
    assert_eq!(bus.accept().err().map(|e| e.kind()), Some(ErrorKind::WouldBlock), "somebody came to the bus");
    assert_eq!(lab.leaks(), Vec::<String>::new());

    // The same bus is asked for where systemd is.
    drop(bus);
    let refused = lab.start_tiny("web", true, &[], &[]).fails(125);
    assert!(refused.contains("cannot reach the system service manager"), "{refused}");
    is("absent");
    drop(lab);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_log_is_turned_over() {
    let lab = Lab::new("flood");
    let name = lab.name("web");
    lab.start_tiny("web", false, &[], &["flood"]).ok();
    let dir = lab.state().join("machines").join(&name);
    let inode = || {
        use std::os::unix::fs::MetadataExt as _;
        dir.join("console.log.1").metadata().ok().map(|old| old.ino())
    };
    until_change(std::slice::from_ref(&dir), "the log to be turned over", || inode().is_some());
    let first = inode();
    until_change(std::slice::from_ref(&dir), "the log to be turned over again", || inode() != first);
    lab.kraft(["stop", "--force", &name]).ok();

    let files = std::fs::read_dir(&dir).unwrap().flatten();
    let logs: Vec<_> = files.filter(|file| file.file_name().to_string_lossy().starts_with("console")).collect();
    assert_eq!(logs.len(), 2, "{logs:?}");
    for log in logs {
        let size = log.metadata().unwrap().len();
        assert!(size <= 10 << 20, "{:?} has {size} bytes", log.path());
    }
    // Both are read as one, with nothing missing between them.
    let lines = lab.kraft(["logs", &name]).ok();
    let numbers: Vec<u32> = lines.lines().filter_map(|line| line.strip_prefix("flood ")?.parse().ok()).collect();
    assert!(numbers.len() > 200_000, "{} lines", numbers.len());
    let gap = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1);
    // The last line may have been cut short by the stop.
    assert!(gap.is_none_or(|pair| pair[1] == numbers[numbers.len() - 1]), "{gap:?}");
}

#[test]
fn managers_are_never_mistaken() {
    let lab = Lab::new("whose");
    let (local, unit) = (lab.name("local"), lab.name("unit"));
    lab.start_tiny("local", false, &[], &[]).ok();
    lab.run_tiny("unit", &[], &[]);
    for verb in ["stop", "start", "rm", "restart", "kill"] {
        let refused = lab.kraft([verb, "--systemd", &local]).fails(125);
        assert!(refused.contains(&format!("machine {local} is not run by systemd")), "{refused}");
    }
    assert_eq!(lab.state_of("local"), "running");
    let listed = lab.kraft(["ps", "--systemd", "-q"]).ok();
    assert!(listed.lines().any(|name| name == unit) && !listed.contains(&local), "{listed}");
    let listed = lab.kraft(["ps", "-q", "--filter", "manager=local"]).ok();
    assert!(listed.lines().any(|name| name == local) && !listed.contains(&unit), "{listed}");

    for (short, systemd) in [("local", true), ("unit", false), ("local", false), ("unit", true)] {
        let taken = lab.start_tiny(short, systemd, &[], &[]).fails(125);
        assert!(taken.contains("already exists"), "{taken}");
        assert_eq!(lab.state_of(short), "running");
    }
    assert_eq!(lab.property("local", "LoadState"), "not-found");
    assert_eq!(lab.ps("local")["unit"], Value::Null);
    // Each verb finds the right manager by itself.
    lab.kraft(["stop", &local, &unit]).ok();
    assert_eq!((lab.state_of("local"), lab.state_of("unit")), ("exited".into(), "exited".into()));
    lab.kraft(["rm", &local, &unit]).ok();
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

fn logs_are_cut_as_asked(keeper: Keeper) {
    let lab = keeper.lab("logs");
    let name = lab.name("web");
    keeper.run(&lab, "web", &[], &["lines=3", "after=300", "exit=0"]);
    lab.kraft(["wait", &name]).ok();
    lab.kraft(["start", &name]).ok();
    lab.kraft(["wait", &name]).ok();
    let logs = |options: &[&str]| lab.kraft([&["logs", &name], options].concat()).ok();
    let life = "tiny: lines=3 after=300 exit=0\nline 1\nline 2\nline 3\n";
    assert_eq!(logs(&[]), life.repeat(2));
    assert_eq!(logs(&["-n", "2"]), "line 2\nline 3\n");
    assert_eq!(logs(&["--tail", "0"]), "");
    assert_eq!(logs(&["--since", "2min ago"]), life.repeat(2));
    assert_eq!(logs(&["--until", "2min ago"]), "");

    let json = logs(&["-o", "json"]);
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["machine"] == *name));
    let text: String = lines.iter().map(|line| line["message"].as_str().unwrap().to_owned() + "\n").collect();
    assert_eq!(text, life.repeat(2));
    let time = |line: &Value| line["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(lines.is_sorted_by_key(time));

    let stamped = logs(&["-t"]);
    for (stamped, line) in stamped.lines().zip(&lines) {
        let (stamp, message) = stamped.split_once(' ').unwrap();
        assert_eq!((stamp.parse().ok(), Some(message)), (Some(time(line)), line["message"].as_str()));
    }
    // The second life.
    let begun = lines[4]["time"].as_str().unwrap();
    assert_eq!(logs(&["--since", begun]), life);
    assert_eq!(logs(&["--since", begun, "-n", "1"]), "line 3\n");
    assert_eq!(logs(&["--until", lines[3]["time"].as_str().unwrap()]), life);
}

fn a_log_is_followed_over_restarts_to_the_removal(keeper: Keeper) {
    let lab = keeper.lab("follow");
    let name = lab.name("web");
    keeper.run(&lab, "web", &[], &["lines=3"]);
    let mut log = Talk::start(lab.command(kraft(), ["logs", "-f", &name]));
    log.until("line 3");
    lab.kraft(["restart", &name]).ok();
    log.until("line 3");
    lab.kraft(["rm", &name]).ok();
    let life = "tiny: lines=3\nline 1\nline 2\nline 3\ntiny: power button\n";
    assert_eq!(log.end().ok(), life.repeat(2));
}

fn lines_of_several_machines_have_their_names(keeper: Keeper) {
    let lab = keeper.lab("several");
    let (short, longer) = (lab.name("a"), lab.name("bcd"));
    keeper.run(&lab, "a", &[], &["lines=1"]);
    keeper.run(&lab, "bcd", &[], &["lines=2"]);
    lab.until_console("a", "line 1");
    lab.until_console("bcd", "line 2");
    let said = lab.kraft(["logs", &short, &longer]).ok();
    let expected = format!(
        "{short}   | tiny: lines=1\n{short}   | line 1\n{longer} | tiny: lines=2\n{longer} | line 1\n{longer} | line 2\n"
    );
    assert_eq!(said, expected);
    let said = lab.kraft(["logs", "--no-prefix", &short, &longer]).ok();
    assert_eq!(said, "tiny: lines=1\nline 1\ntiny: lines=2\nline 1\nline 2\n");
}

fn a_wait_ends_with_the_machine(keeper: Keeper) {
    let lab = keeper.lab("wait");
    let name = lab.name("web");
    keeper.run(&lab, "web", &[], &["after=500", "exit=5"]);
    let waiting = Talk::start(lab.command(kraft(), ["wait", &name]));
    let said = waiting.end();
    assert_eq!((said.code, said.out.as_str()), (5, "5\n"), "{}", said.err);
    // One that ended already, and one that never began.
    assert_eq!(lab.kraft(["wait", "--quiet", &name]).code, 5);
    let new = lab.name("new");
    let mut args = vec!["create", "--name", &new];
    if keeper.has_units() {
        args.push("--systemd");
    }
    lab.kraft(args.into_iter().chain([guest("tiny").as_str()])).ok();
    assert!(lab.kraft(["wait", &new]).fails(125).contains("it was never started"));
}

fn an_update_that_needs_a_restart_says_so(keeper: Keeper) {
    let lab = keeper.lab("update");
    let name = lab.name("web");
    keeper.run(&lab, "web", &[], &[]);
    let said = lab.kraft(["update", "--memory", "128Mi", "--label", "tier=gold", &name]);
    assert!(said.err.contains(&format!("{name} has its new memory after `kraft restart {name}`")), "{}", said.err);
    said.ok();
    let memory = || {
        let vmm = lab.ps("web")["vmm_pid"].as_u64().unwrap();
        let line = std::fs::read_to_string(format!("/proc/{vmm}/cmdline")).unwrap();
        line.split('\0').skip_while(|word| *word != "-m").nth(1).unwrap().to_owned()
    };
    assert_eq!(memory(), "64M");
    let shown = lab.ps("web");
    assert_eq!((shown["memory"].as_u64(), &shown["labels"]["tier"]), (Some(128 << 20), &"gold".into()));
    lab.kraft(["restart", &name]).ok();
    assert_eq!(memory(), "128M");
    // What is down has it at once.
    lab.kraft(["stop", &name]).ok();
    assert_eq!(lab.kraft(["update", "--cpus", "2", &name]).err, "");
}

fn a_runner_is_found_without_its_runtime_directory(keeper: Keeper) {
    let lab = keeper.lab("norun");
    for (short, options) in [("stopped", &[][..]), ("ended", &[]), ("itself", &["--rm"]), ("removed", &[])] {
        // Only the first and the last go on until they are told.
        let words: &[&str] = if matches!(short, "ended" | "itself") { &["after=1000", "exit=3"] } else { &[] };
        keeper.run(&lab, short, options, words);
        std::fs::remove_dir_all(lab.runtime().join(lab.name(short))).unwrap();
    }
    lab.kraft(["stop", &lab.name("stopped")]).ok();
    assert_eq!(lab.state_of("stopped"), "exited");
    assert_eq!(lab.kraft(["wait", &lab.name("ended")]).code, 3);
    assert_eq!(lab.state_of("ended"), "errored");
    lab.until_event("itself", "remove", 1);
    lab.kraft(["rm", &lab.name("removed")]).ok();
    lab.kraft(["rm", &lab.name("stopped"), &lab.name("ended")]).ok();
    lab.until_gone();
}

fn a_pause_does_not_wait_for_ever(keeper: Keeper) {
    let lab = keeper.lab("deaf");
    let name = lab.name("web");
    keeper.run(&lab, "web", &[], &[]);
    let runner = lab.inspect("web")["status"]["runner_pid"].as_u64().unwrap();
    crate::lab::kill(runner, Signal::SIGSTOP);
    let refused = lab.kraft(["pause", &name]).fails(125);
    crate::lab::kill(runner, Signal::SIGCONT);
    assert!(refused.contains("its runner said nothing of it within 10s"), "{refused}");
}
