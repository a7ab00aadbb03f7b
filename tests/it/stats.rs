//! What machines take: `kraft stats` says what the kernel counts, and `kraft top` gives the terminal back.

use std::io::{Read as _, Write as _};
use std::process::{ChildStdin, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::lab::{DEADLINE, Lab, kill, kraft};

/// What `kraft stats` says of some machines.
fn stats(lab: &Lab, shorts: &[&str]) -> Vec<Value> {
    let names: Vec<String> = shorts.iter().map(|short| lab.name(short)).collect();
    let args = ["stats", "--no-stream", "--interval", "200ms", "-o", "json"].map(str::to_owned).into_iter();
    let said = lab.kraft(args.chain(names)).ok();
    serde_json::from_str(&said).expect("stats speaks JSON")
}

/// Processor time by the control group's own file, in microseconds; `None` where there is no such file.
fn cpu_usec(lab: &Lab, short: &str) -> Option<u64> {
    let group = lab.property(short, "ControlGroup");
    let text = std::fs::read_to_string(format!("/sys/fs/cgroup{group}/cpu.stat")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok())
}

#[test]
fn stats_says_what_the_control_group_counts() {
    let lab = Lab::new("stats");
    lab.run_tiny("web", &[], &["tick=20"]);
    lab.run_tiny("stopped", &[], &[]);
    lab.kraft(["stop", &lab.name("stopped")]).ok();
    let before = cpu_usec(&lab, "web");
    let seen = stats(&lab, &["web", "stopped"]);
    let after = cpu_usec(&lab, "web");
    let web = seen.iter().find(|one| one["name"] == *lab.name("web")).expect("it was asked for");
    assert_eq!(web["cpu_usec"].as_u64().is_some(), before.is_some());
    if let Some(usec) = web["cpu_usec"].as_u64() {
        assert!(before.unwrap() <= usec && usec <= after.unwrap(), "{before:?} {usec} {after:?}");
        assert!(web["cpu_percent"].as_f64().unwrap() >= 0.0);
    }
    // What no controller counts is not made up.
    let group = format!("/sys/fs/cgroup{}", lab.property("web", "ControlGroup"));
    let is_there = |file: &str| std::path::Path::new(&group).join(file).exists();
    assert_eq!(!web["memory"].is_null(), is_there("memory.current"));
    assert_eq!(!web["tasks"].is_null(), is_there("pids.current"));
    assert!(web["net_rx"].is_null(), "QEMU's own network is not counted");
    let stopped = seen.iter().find(|one| one["name"] == *lab.name("stopped")).expect("it was asked for");
    assert_eq!(stopped["state"], "exited");
    assert!(stopped["cpu_usec"].is_null() && stopped["memory"].is_null());

    // The table: those that run, or all.
    let table = |options: &[&str]| {
        let args = ["stats", "--no-stream", "--interval", "100ms"].into_iter().chain(options.iter().copied());
        lab.kraft(args).ok()
    };
    assert!(table(&[]).starts_with("NAME") && table(&[]).contains(&lab.name("web")));
    assert!(!table(&[]).contains(&lab.name("stopped")));
    assert!(table(&["--all"]).contains(&lab.name("stopped")));
    assert!(lab.kraft(["stats", "--no-stream", &lab.name("none")]).fails(125).contains("no such machine"));
}

#[test]
fn stats_of_a_network_and_of_a_machine_without_systemd() {
    let lab = Lab::new("statnet");
    let net = lab.name("n");
    lab.kraft(["net", "create", &net]).ok();
    lab.start_guest("net", "web", true, &["--dialect", "unikraft", "--network", &net], &[]).ok();
    lab.until_console("web", "net: up");
    let web = stats(&lab, &["web"]).remove(0);
    assert!(web["net_rx"].as_u64().is_some() && web["net_tx"].as_u64().is_some(), "{web}");
    lab.start_tiny("local", false, &[], &[]).ok();
    let local = stats(&lab, &["local"]).remove(0);
    // At least the VMM's code and the guest's first pages; the runner, and three threads of QEMU's.
    assert!(local["memory"].as_u64().unwrap() > 1 << 20 && local["tasks"].as_u64().unwrap() >= 3, "{local}");
    assert!(local["memory_limit"].is_null() && local["cpu_usec"].as_u64().is_some(), "{local}");
}

#[test]
fn stats_goes_on_until_nobody_reads() {
    let lab = Lab::new("statstream");
    lab.run_tiny("web", &[], &[]);
    let args = ["stats", "--interval", "100ms", "-o", "json", &lab.name("web")];
    let looks = std::cell::Cell::new(0);
    lab.until_line(lab.command(kraft(), args), "the third look", |line| {
        let look: Value = serde_json::from_str(line).expect("each line is JSON");
        assert_eq!(look[0]["state"], "running");
        looks.set(looks.get() + 1);
        looks.get() == 3
    });
    // The same through a reader that leaves.
    let (kraft, name) = (kraft(), lab.name("web"));
    let piped = format!("{} stats --interval 100ms {name} | {{ read -r a; read -r b; }}; echo left", kraft.display());
    assert_eq!(lab.call("bash", ["-c", &piped]).ok(), "left\n");
}

/// A program on a terminal of its own.
struct Terminal {
    child: std::process::Child,
    keys: ChildStdin,
    output: mpsc::Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn new(lab: &Lab, command: &str) -> Self {
        let mut script = lab.command("script", ["-q", "-e", "-f", "-c", command, "/dev/null"]);
        script.env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = script.spawn().expect("script is there");
        let (keys, mut stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (send, output) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                if send.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, keys, output, seen: String::new() }
    }

    /// Reads until this was printed since the last time.
    #[track_caller]
    fn until(&mut self, wanted: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(at) = self.seen.find(wanted) {
                let rest = self.seen.split_off(at + wanted.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("'{wanted}' did not come; seen: {:?}", self.seen),
            }
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).and_then(|()| self.keys.flush()).expect("it reads its keys");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn top_sorts_filters_and_gives_the_terminal_back() {
    let lab = Lab::new("topscreen");
    lab.run_tiny("web", &[], &["tick"]);
    lab.run_tiny("other", &[], &["tick"]);
    let (leave, enter) = ("\x1b[?1049l", "\x1b[?1049h");
    // What the terminal is set to before and after; the same, however top ends.
    let command =
        format!("stty cols 120 rows 30; echo A$(stty -g)A; {} top; echo code $?; echo B$(stty -g)B", kraft().display());
    for ending in ["q", "\x03", "TERM", "HUP"] {
        let mut terminal = Terminal::new(&lab, &command);
        terminal.until("A");
        let before = terminal.until("A");
        terminal.until(enter);
        terminal.until(&lab.name("web"));
        terminal.press("/");
        // Only what changes is drawn, so no text with a space in it comes as one.
        terminal.until("filter:");
        terminal.press("topscreen-oth\r");
        terminal.until("of");
        terminal.press("\x1b[C");
        terminal.until("LIMIT↓");
        let code = match ending {
            "TERM" | "HUP" => {
                let signal = if ending == "TERM" { Signal::SIGTERM } else { Signal::SIGHUP };
                kill(top_of(terminal.child.id()), signal);
                128 + signal as i32
            }
            key => {
                terminal.press(key);
                0
            }
        };
        terminal.until(leave);
        terminal.until(&format!("code {code}\r\n"));
        terminal.until("B");
        assert_eq!(terminal.until("B").trim_end_matches('B'), before.trim_end_matches('A'), "after {ending:?}");
    }
    assert!(lab.kraft(["top"]).fails_with_hint(125).0.contains("needs a terminal"));
}

/// The top that runs below a process.
fn top_of(ancestor: u32) -> u64 {
    let mut found = vec![ancestor];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if line.ends_with(b"kraft\0top\0") {
            return pid.into();
        }
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    panic!("no kraft top below {ancestor}");
}
