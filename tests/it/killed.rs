//! kill -9 of everything, at any moment: one `kraft rm` later nothing is left.

use std::io::Read as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::lab::{DEADLINE, Lab, Who, guest, kill, kraft, process_ends};

/// How many times kraft is killed, unless `KRAFT_KILL_ROUNDS` says otherwise.
const ROUNDS: usize = 1000;
/// So many are killed at once.
const WORKERS: usize = 4;
/// What is killed; `attached` is a run that follows the console, and without systemd is the runner itself.
const VERBS: [&str; 7] = ["run", "attached", "create", "start", "stop", "rm", "update"];

/// How long each verb lasts here, in microseconds, by the last one that was done before its moment came.
type Lives = [AtomicU64; VERBS.len()];

/// Random numbers that can be had again (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("it is a number"))
}

#[test]
fn kraft_at_a_random_moment() {
    let rounds = number("KRAFT_KILL_ROUNDS").map_or(ROUNDS, |rounds| rounds as usize);
    let seed = number("KRAFT_KILL_SEED").unwrap_or_else(|| jiff::Timestamp::now().as_nanosecond() as u64);
    println!("{rounds} rounds, KRAFT_KILL_SEED={seed}");
    let (next, in_time) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let lives: Lives = [const { AtomicU64::new(100_000) }; VERBS.len()];
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (next, in_time, lives) = (&next, &in_time, &lives);
            scope.spawn(move || {
                // Each has directories of its own, so that a staging directory that is left is known to be its.
                let lab = Lab::new(&format!("kill{worker}")).with_store();
                while let round = next.fetch_add(1, Ordering::Relaxed)
                    && round < rounds
                {
                    let died = one_round(&lab, round, lives, &mut Dice(seed ^ (round as u64) << 32));
                    in_time.fetch_add(usize::from(died), Ordering::Relaxed);
                }
            });
        }
    });
    let in_time = in_time.into_inner();
    println!("{in_time} of {rounds} died before they were done");
    assert!(in_time * 2 > rounds, "too few died before they were done: the moments are badly chosen");
}

/// Kills one command at some moment. Returns whether it died of that.
fn one_round(lab: &Lab, round: usize, lives: &Lives, dice: &mut Dice) -> bool {
    let name = lab.name("m");
    let by = ["--systemd", "--quiet"][dice.below(2) as usize];
    let kind = dice.below(VERBS.len() as u64) as usize;
    let verb = VERBS[kind];
    match verb {
        "start" => drop(lab.kraft(["create", by, "--name", &name, &guest("tiny")]).ok()),
        "stop" | "rm" | "update" => drop(lab.start_tiny("m", by == "--systemd", &[], &[]).ok()),
        _ => {}
    }
    let guest = guest("tiny");
    let args: &[&str] = match verb {
        "run" => &["run", "-d", by, "--name", &name, &guest],
        "attached" => &["run", by, "--name", &name, &guest, "tick=10"],
        "create" => &["create", by, "--name", &name, &guest],
        "update" => &["update", "--memory", "80Mi", "--restart", "always", "--label", "a=b", &name],
        verb => &[verb, &name],
    };
    // Some time of its life, or a little later.
    let moment = Duration::from_micros(lives[kind].load(Ordering::Relaxed) * dice.below(1250) / 1000);
    let begun = Instant::now();
    let mut child =
        lab.command(kraft(), args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("kraft can be started");
    let died = !process_ends(child.id(), moment);
    if !died {
        lives[kind].store(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
    }
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");

    let what = format!("round {round}: {args:?} killed after {moment:?}");
    let said = lab.kraft(["rm", &name]);
    if said.code != 0 {
        assert_eq!(said.fails(125), format!("no such machine: {name}"), "{what}");
    }
    // A runner that was just being started finds that its machine is gone, and ends.
    for (pid, line) in lab.processes() {
        assert!(process_ends(pid, DEADLINE), "{what}: {line} does not end");
    }
    let mut left = lab.leaks();
    let machines = std::fs::read_dir(lab.state().join("machines"));
    left.extend(machines.into_iter().flatten().flatten().map(|entry| entry.path().display().to_string()));
    assert!(left.is_empty(), "{what} left:\n{}", left.join("\n"));
    died
}

/// A QEMU that says who started it and then does nothing, and the pipe on which it says so.
fn idle_qemu(lab: &Lab) -> (String, String) {
    let pipe = lab.file("who", b"");
    std::fs::remove_file(&pipe).expect("it was made just now");
    nix::unistd::mkfifo(pipe.as_str(), nix::sys::stat::Mode::S_IRWXU).expect("/tmp is writable");
    let program = format!("#!/bin/sh\necho $PPID >{pipe}\nexec sleep infinity\n");
    (lab.program("bin", "qemu-system-x86_64", &program), pipe)
}

/// Waits for a line on a named pipe, unless that process ends first.
fn said_on(pipe: &str, unless: u32) -> Option<String> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let mut file = std::fs::File::options().read(true).custom_flags(nonblock).open(pipe).expect("the pipe is there");
    let pid = rustix::process::Pid::from_raw(unless.cast_signed()).expect("a pid");
    let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("it is our child");
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN), PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::try_from(DEADLINE).expect("a minute is not too long")).expect("poll works");
    let came = fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN));
    let mut buffer = [0; 64];
    let length = if came { file.read(&mut buffer).expect("there is something") } else { 0 };
    came.then(|| String::from_utf8_lossy(&buffer[..length]).into_owned())
}

#[test]
fn the_runner_while_it_starts() {
    let lab = Lab::new("killrun").with_store();
    let (path, pipe) = idle_qemu(&lab);
    let (name, path) = (lab.name("m"), format!("{path}:/usr/bin:/bin"));
    for systemd in [true, false] {
        let property = format!("Environment=PATH={path}");
        // Strict, it sees no program in a temporary directory.
        let by = ["--systemd", "--sandbox", "compatible", "--property", &property];
        let by: &[&str] = if systemd { &by } else { &[] };
        lab.kraft(["create", "--name", &name, &guest("tiny")].iter().chain(by)).ok();
        let mut start = lab.command(kraft(), ["start", &name]);
        let start = start.env("PATH", &path).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let Some(runner) = said_on(&pipe, start.id()) else {
            panic!("the idle QEMU was not started: {:?}", start.wait_with_output());
        };
        kill(runner.trim().parse().expect("a pid"), Signal::SIGKILL);
        assert!(process_ends(start.id(), DEADLINE), "a start whose runner is dead ends");
        let output = start.wait_with_output().expect("it ended");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{said}");
        assert!(
            said.starts_with(&format!("error: cannot start {name}: ")) && said.contains("the runner was "),
            "{said}"
        );
        assert_eq!(lab.state_of("m"), "errored");
        lab.kraft(["rm", &name]).ok();
        assert_eq!(lab.leaks(), Vec::<String>::new());
    }
}

#[test]
fn the_sweep_of_a_dead_runner() {
    let lab = Lab::new("killsweep").with_store();
    let (name, unit) = (lab.name("m"), lab.unit("m"));
    lab.run_tiny("m", &[], &[]);
    // The sweep waits where it reads the record, until somebody writes it.
    let record = lab.state().join("machines").join(&name).join("machine.toml");
    let sound = std::fs::read(&record).unwrap();
    std::fs::remove_file(&record).unwrap();
    nix::unistd::mkfifo(&record, nix::sys::stat::Mode::S_IRWXU).unwrap();
    kill(lab.property("m", "MainPID").parse().unwrap(), Signal::SIGKILL);
    let held = std::fs::File::options().write(true).open(&record).unwrap();
    std::fs::remove_file(&record).unwrap();
    std::fs::write(&record, sound).unwrap();
    kill(lab.property("m", "ControlPID").parse().unwrap(), Signal::SIGKILL);
    // Returns once the unit is down.
    lab.systemctl(["stop", &unit]).ok();
    drop(held);
    assert_eq!(lab.state_of("m"), "errored");
    lab.kraft(["start", &name]).ok();
    assert_eq!(lab.state_of("m"), "running");
    lab.kraft(["rm", &name]).ok();
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

#[test]
fn the_runner_of_a_machine_that_it_would_restart() {
    let lab = Lab::new("killagain").with_store();
    let name = lab.name("m");
    lab.start_tiny("m", false, &["--restart", "always"], &[]).ok();
    let runner = lab.inspect("m")["status"]["runner_pid"].as_u64().unwrap();
    kill(runner, Signal::SIGKILL);
    assert!(process_ends(runner as u32, DEADLINE));
    for _ in 0..2 {
        assert_eq!(lab.state_of("m"), "errored");
        let exit = lab.inspect("m")["exit"].clone();
        assert_eq!((exit["reason"].as_str(), exit["code"].as_u64()), (Some("signal"), Some(137)), "{exit}");
    }
    assert_eq!(lab.events("m", "die").len(), 1);
    lab.kraft(["rm", &name]).ok();
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

#[test]
fn the_journal_while_a_guest_writes() {
    let lab = Lab::alone("killlog", Who::Root);
    lab.run_tiny("m", &[], &["tick=50"]);
    let pid = lab.property("m", "MainPID");
    lab.until_console("m", "tick 3");
    let journal = lab.systemctl(["show", "-P", "MainPID", "systemd-journald.service"]).ok();
    kill(journal.trim().parse().unwrap(), Signal::SIGKILL);
    assert!(process_ends(journal.trim().parse().unwrap(), DEADLINE));
    let now = lab.until_console("m", "tick ").len();
    lab.until_console("m", &format!("tick {}", now + 40));
    assert_eq!(lab.state_of("m"), "running");
    assert_eq!(lab.property("m", "MainPID"), pid);
}
