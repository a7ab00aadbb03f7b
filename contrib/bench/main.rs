//! Measures the budgets of the design, each beside its yardstick in the same run. `contrib/bench/run` runs it in the lab.
//!
//! Prints one figure a line: name, value, unit, and what it is compared with. Judges nothing.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a program for a person's eyes"
)]

mod devices;
mod generator;
mod images;
mod sandbox;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Runs of each short measurement; the median counts.
const RUNS: usize = 25;
/// Runs that do not count.
const WARM_UP: usize = 10;

fn main() {
    let kraft = std::env::var("KRAFT_BIN").expect("KRAFT_BIN names the program");
    let guest = std::env::var("KRAFT_GUESTS").expect("KRAFT_GUESTS names the guests") + "/tiny";
    let guests = std::env::var("KRAFT_GUESTS").unwrap_or_default();
    let devices = devices::Devices { kraft: kraft.clone(), guest: guests + "/net" };
    let bench = Bench { kraft, guest };
    match std::env::args().nth(1).as_deref() {
        Some("devices") => return devices.measure(),
        Some("run") => return bench.run(),
        Some("images") => return images::measure(&bench.kraft, &bench.guest),
        Some("generator") => return generator::measure(&bench.kraft),
        Some("sandbox") => return sandbox::measure(&bench.kraft, &bench.guest),
        _ => {}
    }
    bench.version();
    bench.run();
    bench.runner_memory();
    devices.measure();
    generator::measure(&bench.kraft);
    images::measure(&bench.kraft, &bench.guest);
    sandbox::measure(&bench.kraft, &bench.guest);
    bench.many();
}

/// Whose start is measured.
enum Who {
    /// With this profile.
    Kraft(&'static str),
    SystemdRun,
}

struct Bench {
    kraft: String,
    guest: String,
}

impl Bench {
    fn version(&self) {
        let kraft = median(RUNS, || timed(|| call(&self.kraft, &["--version"])));
        let nothing = median(RUNS, || timed(|| call("true", &[])));
        compare("kraft --version", kraft, "ms", "true", nothing);
    }

    /// From the command line to the moment the guest runs.
    fn run(&self) {
        let mut number = 0;
        let (mut ours, mut confined, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        // The VMM of systemd-run is confined by nothing, so it is compared with a machine that is not, either. Alternating, and each behind the other's clean-up as often as behind its own, so that whatever else the machine
        // does hits both; the first ones find cold caches and do not count.
        for round in 0..WARM_UP + 2 * RUNS {
            let mut order = [Who::Kraft("off"), Who::SystemdRun, Who::Kraft("strict")];
            order.rotate_left(round % 3);
            for who in order {
                number += 1;
                settle();
                match who {
                    Who::Kraft(sandbox) => {
                        let name = format!("bench-{number}");
                        let args = ["run", "--systemd", "-d", "--sandbox", sandbox, "--name", &name, &self.guest];
                        let taken = timed(|| call(&self.kraft, &args));
                        if sandbox == "off" {
                            ours.push(taken)
                        } else {
                            confined.push(taken)
                        }
                        call(&self.kraft, &["rm", "--force", &name]);
                    }
                    Who::SystemdRun => theirs.push(self.systemd_run(number)),
                }
            }
        }
        let [ours, confined, theirs] = [ours, confined, theirs].map(|mut all| all.split_off(WARM_UP));
        figure(
            "kraft run --sandbox off, fastest",
            least(&ours),
            "ms",
            &format!("systemd-run: {:.2} ms", least(&theirs)),
        );
        let systemd_run = middle(theirs);
        compare("kraft run --sandbox off", middle(ours), "ms", "systemd-run of the same VMM", systemd_run);
        compare("kraft run, strict", middle(confined), "ms", "systemd-run, unconfined", systemd_run);
    }

    /// The yardstick: the same QEMU by systemd-run, with its monitor connected to our socket, until it says that its
    /// guest runs. Its greeting alone comes earlier, from a thread of its own.
    fn systemd_run(&self, number: usize) -> f64 {
        let socket = format!("/run/bench-{number}.sock");
        let listener = UnixListener::bind(&socket).expect("a socket can be made");
        let unit = format!("--unit=bench-qemu-{number}");
        let monitor = format!("socket,id=monitor,path={socket}");
        let qboot = "/usr/share/qemu/qboot.rom";
        let mut args = vec!["--quiet", "--collect", &unit, "qemu-system-x86_64", "-nodefaults", "-no-user-config"];
        args.extend(["-display", "none", "-sandbox"]);
        args.push("on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
        args.extend(["-machine", "microvm,auto-kernel-cmdline=off,x-option-roms=off", "-accel", "tcg", "-cpu", "max"]);
        args.extend(["-smp", "1", "-m", "64M", "-rtc", "base=utc", "-no-reboot"]);
        if Path::new(qboot).exists() {
            args.extend(["-bios", qboot]);
        }
        args.extend(["-kernel", &self.guest, "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
        args.extend(["-chardev", &monitor, "-mon", "chardev=monitor,mode=control"]);
        args.extend(["-device", "isa-debug-exit,iobase=0x501,iosize=0x4", "-device", "pvpanic"]);
        args.extend(["-device", "virtio-rng-device"]);
        let taken = timed(|| {
            call("systemd-run", &args);
            let (mut monitor, _) = listener.accept().expect("QEMU connects");
            let ask = br#"{"execute":"qmp_capabilities"}{"execute":"query-status"}"#;
            monitor.write_all(ask).expect("QEMU listens");
            let running = BufReader::new(monitor).lines().map_while(Result::ok).any(|line| line.contains("running"));
            assert!(running, "QEMU never ran its guest");
        });
        call("systemctl", &["stop", &format!("bench-qemu-{number}.service")]);
        std::fs::remove_file(socket).expect("the socket was ours");
        taken
    }

    /// Of ten machines side by side, as pages that a second runner shares are nobody's own.
    fn runner_memory(&self) {
        let names: Vec<String> = (0..10).map(|number| format!("bench-memory-{number}")).collect();
        for name in &names {
            call(&self.kraft, &["run", "--quiet", "--systemd", "-d", "--name", name, &self.guest]);
        }
        let pages: Vec<(f64, f64)> = names.iter().map(|name| memory(name)).collect();
        figure(
            "runner, private memory",
            middle(pages.iter().map(|(private, _)| *private).collect()),
            "MiB",
            "budget 2",
        );
        figure("runner, proportional set size", middle(pages.iter().map(|(_, pss)| *pss).collect()), "MiB", "");
        let rm: Vec<&str> = ["rm", "--force"].into_iter().chain(names.iter().map(String::as_str)).collect();
        call(&self.kraft, &rm);
    }

    /// What many machines do to the list and to a start.
    fn many(&self) {
        let create = |number: usize| {
            let name = format!("bench-many-{number}");
            call(&self.kraft, &["create", "--quiet", "--systemd", "--name", &name, &self.guest]);
        };
        (0..10).for_each(create);
        let few = self.start();
        let begun = Instant::now();
        (10..1000).for_each(create);
        figure("create, each of 1,000", begun.elapsed().as_secs_f64() * 1000.0 / 990.0, "ms", "");
        let list = median(RUNS, || timed(|| call(&self.kraft, &["ps"])));
        let systemctl = median(RUNS, || timed(|| call("systemctl", &["list-units", "--all", "kraft-*"])));
        compare("kraft ps, 1,000 machines", list, "ms", "systemctl list-units", systemctl);
        (1000..2000).for_each(create);
        let many = self.start();
        compare("start at 2,000 machines", many, "ms", "at 10", few);
        let begun = Instant::now();
        call(&self.kraft, &["rm", "--all", "--force"]);
        figure("rm --all of 2,000", begun.elapsed().as_secs_f64(), "s", "");
    }

    fn start(&self) -> f64 {
        median(RUNS, || {
            let taken = timed(|| call(&self.kraft, &["start", "bench-many-0"]));
            call(&self.kraft, &["stop", "--force", "bench-many-0"]);
            taken
        })
    }
}

/// A runner's private memory and proportional set size, in MiB.
fn memory(name: &str) -> (f64, f64) {
    let pid = output("systemctl", &["show", "-P", "MainPID", &format!("kraft-{name}.service")]);
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.trim())).expect("the runner lives");
    let mib = |key: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok()).unwrap_or_default() / 1024.0
    };
    (mib("Private_Dirty:") + mib("Private_Clean:"), mib("Pss:"))
}

fn call(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "{program} {args:?} failed");
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().expect("it can be run");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until the journal has written what the last measurement left it to write.
fn settle() {
    call("journalctl", &["--sync"]);
}

/// Milliseconds.
fn timed(what: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    what();
    begun.elapsed().as_secs_f64() * 1000.0
}

fn median(runs: usize, mut what: impl FnMut() -> f64) -> f64 {
    middle((0..runs).map(|_| what()).collect())
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn figure(name: &str, value: f64, unit: &str, remark: &str) {
    println!("{name:<36} {value:>9.2} {unit:<4} {remark}");
}

fn compare(name: &str, value: f64, unit: &str, yardstick: &str, other: f64) {
    figure(name, value, unit, &format!("{yardstick}: {other:.2} {unit}, ratio {:.2}", value / other));
}
