//! How machines end, and what follows: recorded with the reason, swept, started again by the policy and by it alone.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::keeper::{Keeper, everywhere};
use crate::lab::{DEADLINE, Lab, Who, guest, kill, process_ends, until_change};
use crate::talk::Talk;

everywhere! {
    guests_say_how_they_ended,
    a_vmm_that_is_killed,
    a_runner_that_is_killed,
    runner_and_vmm_killed_at_once,
    a_frozen_vmm_blocks_nobody_and_is_stopped,
    a_failure_is_followed_by_restarts_with_back_off,
    so_many_restarts_and_no_more,
    always_means_after_success_too,
    a_stop_ends_the_back_off,
    what_was_killed_or_stopped_stays_down,
    an_attached_run_shows_each_line_once,
    an_attached_run_removes_what_it_ran,
    a_detached_run_removes_what_it_ran,
}

/// What `kraft wait` prints and ends with.
#[track_caller]
fn wait(lab: &Lab, short: &str) -> i32 {
    let said = lab.kraft(["wait", &lab.name(short)]);
    assert_eq!(said.out, format!("{}\n", said.code), "{}", said.err);
    said.code
}

/// Waits for the end and compares what ps shows of it.
#[track_caller]
fn ends_as(lab: &Lab, short: &str, state: &str, code: i32, reason: &str) {
    assert_eq!(wait(lab, short), code, "{short}");
    let shown = lab.ps(short);
    let found = (shown["state"].as_str(), shown["exit_code"].as_i64(), shown["exit_reason"].as_str());
    assert_eq!(found, (Some(state), Some(code.into()), Some(reason)), "{short}");
}

fn pid(shown: &Value, key: &str) -> u64 {
    shown[key].as_u64().unwrap_or_else(|| panic!("no {key} in {shown}"))
}

fn time(value: &Value) -> Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no time: {value}"))
}

fn guests_say_how_they_ended(keeper: Keeper) {
    let lab = keeper.lab("guests");
    for (short, kernel, words, state, code, reason) in [
        ("zero", "tiny", "exit=0", "exited", 0, "finished"),
        ("off", "tiny", "poweroff", "exited", 0, "finished"),
        ("three", "tiny", "exit=3", "errored", 3, "error"),
        ("panic", "tiny", "panic", "errored", 134, "panic"),
        ("wild", "tiny", "wild", "errored", 134, "crash"),
        ("halt", "tiny32", "exit=41", "exited", 0, "finished"),
        ("crash", "tiny32", "exit=42", "errored", 134, "crash"),
    ] {
        // It has run, however short: that is a success.
        lab.start_guest(kernel, short, keeper.has_units(), &[], &[words]).ok();
        ends_as(&lab, short, state, code, reason);
        let recorded = lab.inspect(short);
        let kind = if kernel == "tiny32" { "unikraft" } else { "pvh" };
        assert_eq!(recorded["record"]["spec"]["kernel"]["kind"], kind);
        assert_eq!(lab.events(short, "die")[0]["exit"]["reason"], reason);
    }
}

fn a_vmm_that_is_killed(keeper: Keeper) {
    let lab = keeper.lab("vmm");
    keeper.run(&lab, "web", &[], &[]);
    kill(pid(&lab.ps("web"), "vmm_pid"), Signal::SIGKILL);
    ends_as(&lab, "web", "errored", 137, "signal");
    assert_swept(&lab, "web");
}

fn a_runner_that_is_killed(keeper: Keeper) {
    let lab = keeper.lab("runner");
    keeper.run(&lab, "web", &[], &[]);
    let shown = lab.ps("web");
    kill(pid(&shown, "pid"), Signal::SIGKILL);
    let vmm = u32::try_from(pid(&shown, "vmm_pid")).unwrap();
    assert!(process_ends(vmm, DEADLINE), "an orphan");
    ends_as(&lab, "web", "errored", 137, "signal");
    assert_swept(&lab, "web");
    lab.kraft(["start", &lab.name("web")]).ok();
    assert_eq!(lab.state_of("web"), "running");
}

fn runner_and_vmm_killed_at_once(keeper: Keeper) {
    let lab = keeper.lab("both");
    keeper.run(&lab, "web", &[], &[]);
    let shown = lab.ps("web");
    // The runner gets no chance to see its VMM die.
    kill(pid(&shown, "pid"), Signal::SIGSTOP);
    kill(pid(&shown, "vmm_pid"), Signal::SIGKILL);
    kill(pid(&shown, "pid"), Signal::SIGKILL);
    ends_as(&lab, "web", "errored", 137, "signal");
    assert_swept(&lab, "web");
}

#[track_caller]
fn assert_swept(lab: &Lab, short: &str) {
    use std::os::unix::fs::FileTypeExt as _;
    let runtime = std::fs::read_dir(lab.runtime().join(lab.name(short))).unwrap().flatten();
    let sockets: Vec<_> = runtime.filter(|file| file.file_type().is_ok_and(|kind| kind.is_socket())).collect();
    assert!(sockets.is_empty(), "{sockets:?}");
    assert!(lab.processes().into_iter().all(|(pid, _)| process_ends(pid, DEADLINE)));
}

fn a_frozen_vmm_blocks_nobody_and_is_stopped(keeper: Keeper) {
    let lab = keeper.lab("frozen");
    keeper.run(&lab, "web", &[], &[]);
    keeper.run(&lab, "other", &[], &[]);
    kill(pid(&lab.ps("web"), "vmm_pid"), Signal::SIGSTOP);

    let begun = Instant::now();
    assert_eq!(lab.state_of("other"), "running");
    assert!(begun.elapsed() < DEADLINE, "ps took {:?}", begun.elapsed());
    let refused = lab.kraft(["pause", &lab.name("web")]).fails(125);
    assert!(refused.contains("did not answer"), "{refused}");

    // Its second, two more to end by itself, and no more: then it is killed.
    let begun = Instant::now();
    lab.kraft(["stop", "--timeout", "1s", &lab.name("web")]).ok();
    assert!(begun.elapsed() < Duration::from_secs(40), "stop took {:?}", begun.elapsed());
    ends_as(&lab, "web", "exited", 0, "stopped");
    assert_eq!(lab.state_of("other"), "running");
}

fn a_failure_is_followed_by_restarts_with_back_off(keeper: Keeper) {
    let lab = keeper.lab("backoff");
    keeper.run(&lab, "web", &["--restart", "on-failure"], &["exit=3"]);
    lab.until_event("web", "start", 5);
    lab.kraft(["stop", &lab.name("web")]).ok();
    let (starts, ends) = (lab.events("web", "start"), lab.events("web", "die"));
    for (restart, delay) in [100, 200, 400, 800].into_iter().enumerate() {
        let ended = time(&ends[restart]["exit"]["at"]);
        let waited = time(&starts[restart + 1]["time"]).duration_since(ended).as_millis();
        assert!(waited >= delay, "restart {} came after {waited} ms", restart + 1);
    }
}

fn so_many_restarts_and_no_more(keeper: Keeper) {
    let lab = keeper.lab("count");
    let name = lab.name("web");
    keeper.run(&lab, "web", &["--restart", "on-failure:2"], &["exit=3"]);
    ends_as(&lab, "web", "errored", 3, "error");
    assert_eq!(lab.events("web", "start").len(), 3);
    // A start on request is never refused, and has as many restarts again.
    match keeper {
        Keeper::Systemd | Keeper::User => {
            assert_eq!(lab.property("web", "Result"), "exit-code");
            lab.systemctl(["start", &lab.unit("web")]).ok();
        }
        Keeper::Local => drop(lab.kraft(["start", &name]).ok()),
    }
    lab.until_event("web", "die", 6);
    ends_as(&lab, "web", "errored", 3, "error");
    assert_eq!(lab.events("web", "start").len(), 6);
}

fn always_means_after_success_too(keeper: Keeper) {
    let lab = keeper.lab("always");
    keeper.run(&lab, "web", &["--restart", "always"], &["exit=0"]);
    lab.until_event("web", "start", 3);
    lab.kraft(["stop", &lab.name("web")]).ok();
    let ends = lab.events("web", "die");
    assert!(ends.iter().take(2).all(|end| end["exit"]["reason"] == "finished"), "{ends:?}");
}

fn a_stop_ends_the_back_off(keeper: Keeper) {
    let lab = keeper.lab("nomore");
    keeper.run(&lab, "waiting", &["--restart", "on-failure"], &["exit=3"]);
    // 6.4 seconds have to pass.
    until_back_off(&lab, "waiting", 7);
    lab.kraft(["stop", &lab.name("waiting")]).ok();
    ends_as(&lab, "waiting", "exited", 0, "stopped");
    assert_eq!(lab.events("waiting", "start").len(), 7);
    assert_eq!(lab.processes(), []);
    // A start on request waits for nothing.
    let begun = Instant::now();
    lab.kraft(["start", &lab.name("waiting")]).ok();
    assert!(begun.elapsed() < Duration::from_secs(5), "started after {:?}", begun.elapsed());
    lab.kraft(["stop", &lab.name("waiting")]).ok();

    // Wherever it comes: between two runners, in one that waits, in one whose guest runs.
    for (short, ends) in [("a", 1), ("b", 1), ("c", 2), ("d", 2), ("e", 3)] {
        keeper.run(&lab, short, &["--restart", "on-failure"], &["exit=3"]);
        lab.until_event(short, "die", ends);
        lab.kraft(["stop", &lab.name(short)]).ok();
        ends_as(&lab, short, "exited", 0, "stopped");
        assert_eq!(lab.processes(), []);
    }
}

/// Waits until a runner is there that waits before restart number `restart`.
#[track_caller]
fn until_back_off(lab: &Lab, short: &str, restart: u64) {
    until_change(&[lab.runtime().join(lab.name(short))], "a runner that waits", || {
        let status = &lab.inspect(short)["status"];
        status["phase"] == "starting" && status["restarts"] == restart
    });
}

fn what_was_killed_or_stopped_stays_down(keeper: Keeper) {
    let lab = keeper.lab("down");
    let name = lab.name("web");
    keeper.run(&lab, "web", &["--restart", "always"], &[]);
    lab.kraft(["kill", &name]).ok();
    ends_as(&lab, "web", "errored", 137, "killed");
    assert!(lab.kraft(["kill", &name]).fails(125).contains("it is not running"));
    lab.kraft(["start", &name]).ok();
    lab.kraft(["stop", &name]).ok();
    ends_as(&lab, "web", "exited", 0, "stopped");
    assert_eq!(lab.events("web", "start").len(), 2);
    assert_eq!(lab.processes(), []);
}

fn an_attached_run_shows_each_line_once(keeper: Keeper) {
    let lab = keeper.lab("lines");
    let (name, tiny) = (lab.name("web"), guest("tiny"));
    let said = lab.kraft(keeper.attached(&["--name", &name], &tiny, &["lines=500", "exit=7"]));
    assert_eq!(said.code, 7, "{}", said.err);
    let expected = (1..=500).map(|n| format!("line {n}\n"));
    assert_eq!(said.out, "tiny: lines=500 exit=7\n".to_owned() + &expected.collect::<String>());
    ends_as(&lab, "web", "errored", 7, "error");
}

fn an_attached_run_removes_what_it_ran(keeper: Keeper) {
    let lab = keeper.lab("rm");
    let (name, tiny) = (lab.name("web"), guest("tiny"));
    for (words, code) in [("exit=0", 0), ("exit=3", 3), ("panic", 134)] {
        let said = lab.kraft(keeper.attached(&["--rm", "--name", &name], &tiny, &["lines=3", words]));
        assert_eq!(said.code, code, "{}", said.err);
        assert!(said.out.ends_with("line 3\n") || said.out.ends_with("line 3\ntiny: panic\n"), "{}", said.out);
        assert_eq!(lab.leaks(), Vec::<String>::new(), "after {words}");
    }
}

fn a_detached_run_removes_what_it_ran(keeper: Keeper) {
    let lab = keeper.lab("drm");
    for (count, words) in ["exit=0", "exit=3", "wild"].into_iter().enumerate() {
        keeper.run(&lab, "web", &["--rm"], &["after=300", words]);
        lab.until_event("web", "remove", count + 1);
        lab.until_gone();
    }
    // A stop is an end like any other.
    keeper.run(&lab, "web", &["--rm"], &[]);
    lab.kraft(["stop", &lab.name("web")]).ok();
    lab.until_event("web", "remove", 4);
    lab.until_gone();
}

#[test]
fn a_vmm_that_does_not_answer_is_bitten() {
    let lab = Lab::new("watchdog");
    lab.run_tiny("web", &["--property", "WatchdogSec=2s"], &["tick=100"]);
    // Three seconds: one that answers is left alone.
    lab.until_console("web", "tick 30");
    let shown = lab.ps("web");
    assert_eq!((&shown["state"], lab.events("web", "start").len()), (&"running".into(), 1));
    kill(pid(&shown, "vmm_pid"), Signal::SIGSTOP);
    ends_as(&lab, "web", "errored", 134, "watchdog");
    assert_swept(&lab, "web");
}

#[test]
fn systemctl_stop_ends_the_back_off() {
    let lab = Lab::new("sysstop");
    // To systemd, a start that takes long.
    lab.run_tiny("runner", &["--restart", "on-failure"], &["exit=3"]);
    until_back_off(&lab, "runner", 7);
    lab.systemctl(["stop", &lab.unit("runner")]).ok();
    ends_as(&lab, "runner", "exited", 0, "stopped");
    assert_eq!(lab.events("runner", "start").len(), 7);
    let begun = Instant::now();
    lab.systemctl(["start", &lab.unit("runner")]).ok();
    assert!(begun.elapsed() < Duration::from_secs(5), "started after {:?}", begun.elapsed());
    lab.systemctl(["stop", &lab.unit("runner")]).ok();

    // To systemd, a restart that is due: there is no runner to be told.
    let unit = lab.unit("unit");
    lab.run_tiny("unit", &["--restart", "on-failure", "--property", "RestartSec=1h"], &["exit=3"]);
    lab.until_line(lab.journal("unit"), "the unit's failure", |line| line.contains("Failed with result 'exit-code'"));
    assert_eq!(lab.property("unit", "SubState"), "auto-restart");
    assert_eq!(lab.state_of("unit"), "restarting");
    lab.systemctl(["stop", &unit]).ok();
    ends_as(&lab, "unit", "exited", 0, "stopped");
    assert_eq!(lab.events("unit", "start").len(), 1);
}

#[test]
fn no_start_limit_is_ever_hit() {
    let lab = Lab::new("limit");
    let (well, ill) = (lab.unit("well"), lab.unit("ill"));
    lab.run_tiny("well", &[], &[]);
    for _ in 0..12 {
        lab.systemctl(["restart", &well]).ok();
    }
    assert_eq!(lab.state_of("well"), "running");
    lab.run_tiny("ill", &[], &["exit=3"]);
    for _ in 0..8 {
        assert_eq!(wait(&lab, "ill"), 3);
        lab.systemctl(["start", &ill]).ok();
    }
    ends_as(&lab, "ill", "errored", 3, "error");
    assert_eq!(lab.property("ill", "Result"), "exit-code");
}

#[test]
fn lines_are_whole_while_the_journal_is_busy() {
    // A journal that is flooded holds up systemd itself.
    let lab = Lab::alone("busy", Who::Root);
    for short in ["flood", "torrent"] {
        lab.run_tiny(short, &[], &["flood"]);
    }
    let (name, tiny) = (lab.name("web"), guest("tiny"));
    for _ in 0..8 {
        let said = lab.kraft(Keeper::Systemd.attached(&["--rm", "--name", &name], &tiny, &["lines=500", "exit=0"]));
        assert_eq!(said.ok().lines().count(), 501);
    }
    // What ends while nobody looks is read whole right after.
    for _ in 0..4 {
        lab.run_tiny("web", &[], &["lines=500", "exit=0"]);
        lab.kraft(["wait", &name]).ok();
        assert_eq!(lab.kraft(["logs", &name]).ok().lines().count(), 501);
        lab.kraft(["rm", &name]).ok();
    }
}

#[test]
fn ctrl_c_detaches_from_what_systemd_runs() {
    let lab = Lab::new("detach");
    let (name, tiny) = (lab.name("web"), guest("tiny"));
    let args = Keeper::Systemd.attached(&["--name", &name], &tiny, &["tick=100"]);
    let mut run = Talk::start(lab.command(crate::lab::kraft(), args));
    run.until("tick 3");
    run.signal(Signal::SIGINT);
    let said = run.end();
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains(&format!("detached from {name}")), "{}", said.err);
    assert_eq!(lab.state_of("web"), "running");
}

#[test]
fn restarts_are_counted_however_long_systemd_waits() {
    let lab = Lab::new("slow");
    lab.run_tiny("web", &["--restart", "on-failure:1", "--property", "RestartSec=7"], &["after=300", "exit=3"]);
    // It comes back once, and stays down then.
    assert_eq!(lab.kraft(["wait", &lab.name("web")]).code, 3);
    ends_as(&lab, "web", "errored", 3, "error");
    assert_eq!(lab.events("web", "start").len(), 2);
}

#[test]
fn a_drop_in_s_delay_is_no_surprise() {
    // A reload of the manager holds up everybody.
    let lab = Lab::alone("dropin", Who::Root);
    let (name, tiny) = (lab.name("web"), guest("tiny"));
    lab.kraft(["create", "--systemd", "--restart", "on-failure:1", "--name", &name, &tiny, "after=300", "exit=3"]).ok();
    let dir = std::path::PathBuf::from(format!("/run/systemd/system/{}.d", lab.unit("web")));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("delay.conf"), "[Service]\nRestartSec=7\n").unwrap();
    lab.systemctl(["daemon-reload"]).ok();
    lab.systemctl(["start", &lab.unit("web")]).ok();
    lab.until_event("web", "start", 2);
    ends_as(&lab, "web", "errored", 3, "error");
    assert_eq!(lab.events("web", "start").len(), 2);
    std::fs::remove_dir_all(&dir).unwrap();
    lab.systemctl(["daemon-reload"]).ok();
}
