//! How machines are stopped: the guest is asked first and ended in time, and at once where that is wanted or asking is
//! no use.

use std::time::{Duration, Instant};

use crate::keeper::{Keeper, everywhere};
use crate::lab::{Lab, guest, kraft};
use crate::talk::Talk;

everywhere! {
    a_guest_is_asked,
    a_guest_that_ignores_the_button_is_ended_in_time,
    a_stop_may_have_a_time_of_its_own,
    force_is_at_once_also_while_somebody_waits,
    a_paused_machine_can_be_stopped,
    a_longer_time_than_the_machine_s_own_is_given,
    a_unikraft_kernel_is_not_waited_for,
}

/// More than any stop takes that waits for nothing, on a host that is busy.
const AT_ONCE: Duration = Duration::from_secs(30);

/// Does it and says how long it took.
fn timed(act: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    act();
    begun.elapsed()
}

#[track_caller]
fn was_stopped(lab: &Lab, short: &str) {
    let shown = lab.inspect(short);
    let exit = &shown["exit"];
    assert_eq!((&shown["state"], &exit["reason"], &exit["code"]), (&"exited".into(), &"stopped".into(), &0.into()));
    // Nobody had to be killed for it.
    assert!(exit["detail"].is_null(), "{exit}");
}

#[track_caller]
fn asked(lab: &Lab, short: &str) -> bool {
    lab.kraft(["logs", &lab.name(short)]).ok().contains("tiny: power button")
}

fn a_guest_is_asked(keeper: Keeper) {
    let lab = keeper.lab("ask");
    keeper.run(&lab, "web", &["--stop-timeout", "1min"], &[]);
    let took = timed(|| drop(lab.kraft(["stop", &lab.name("web")]).ok()));
    assert!(took < AT_ONCE, "took {took:?}");
    was_stopped(&lab, "web");
    lab.until_console("web", "tiny: power button");
}

fn a_guest_that_ignores_the_button_is_ended_in_time(keeper: Keeper) {
    let lab = keeper.lab("ignore");
    keeper.run(&lab, "web", &["--stop-timeout", "1s"], &["ignore-power"]);
    let took = timed(|| drop(lab.kraft(["stop", &lab.name("web")]).ok()));
    assert!(took >= Duration::from_secs(1) && took < AT_ONCE, "took {took:?}");
    was_stopped(&lab, "web");
}

fn a_stop_may_have_a_time_of_its_own(keeper: Keeper) {
    let lab = keeper.lab("time");
    keeper.run(&lab, "web", &["--stop-timeout", "1min"], &["ignore-power"]);
    let took = timed(|| drop(lab.kraft(["stop", "--timeout", "500ms", &lab.name("web")]).ok()));
    assert!(took >= Duration::from_millis(500) && took < AT_ONCE, "took {took:?}");
    was_stopped(&lab, "web");
}

fn force_is_at_once_also_while_somebody_waits(keeper: Keeper) {
    let lab = keeper.lab("force");
    let name = lab.name("web");
    keeper.run(&lab, "web", &["--stop-timeout", "1min"], &["ignore-power"]);
    let took = timed(|| drop(lab.kraft(["stop", "--force", &name]).ok()));
    assert!(took < AT_ONCE, "took {took:?}");
    was_stopped(&lab, "web");

    lab.kraft(["start", &name]).ok();
    let took = timed(|| {
        let patient = Talk::start(lab.command(kraft(), ["stop", "--timeout", "50s", &name]));
        lab.until_event("web", "stop", 2);
        lab.kraft(["stop", "--force", &name]).ok();
        patient.end().ok();
    });
    assert!(took < AT_ONCE, "took {took:?}");
    was_stopped(&lab, "web");
}

fn a_paused_machine_can_be_stopped(keeper: Keeper) {
    let lab = keeper.lab("paused");
    let name = lab.name("web");
    keeper.run(&lab, "web", &["--stop-timeout", "1min"], &[]);
    lab.kraft(["pause", &name]).ok();
    let took = timed(|| drop(lab.kraft(["stop", &name]).ok()));
    assert!(took < AT_ONCE, "took {took:?}");
    was_stopped(&lab, "web");
    lab.until_console("web", "tiny: power button");
}

fn a_longer_time_than_the_machine_s_own_is_given(keeper: Keeper) {
    let lab = keeper.lab("longer");
    keeper.run(&lab, "web", &["--stop-timeout", "1s"], &["ignore-power"]);
    let took = timed(|| drop(lab.kraft(["stop", "--timeout", "20s", &lab.name("web")]).ok()));
    assert!(took >= Duration::from_secs(20) && took < Duration::from_secs(20) + AT_ONCE, "took {took:?}");
    was_stopped(&lab, "web");
}

fn a_unikraft_kernel_is_not_waited_for(keeper: Keeper) {
    let lab = keeper.lab("buttonless");
    let options = ["--stop-timeout", "1min"];
    lab.start_guest("tiny32", "web", keeper.has_units(), &options, &[]).ok();
    let took = timed(|| drop(lab.kraft(["stop", &lab.name("web")]).ok()));
    assert!(took < AT_ONCE, "took {took:?}");
    was_stopped(&lab, "web");
    assert!(!asked(&lab, "web"));
}

#[test]
fn linux_powers_itself_down() {
    let lab = Lab::new("linux");
    let (name, unit, initrd) = (lab.name("vm"), lab.unit("vm"), guest("linux.cpio"));
    let options = ["-M", "256M", "--stop-timeout", "1min", "--initrd", &initrd];
    // On a busy host the kernel would take its timer for broken.
    lab.start_guest("linux", "vm", true, &options, &["console=ttyS0", "no_timer_check"]).ok();
    for round in 1..=2 {
        let ready = std::cell::Cell::new(0);
        lab.until_line(lab.journal("vm"), "the guest to be ready", |line| {
            ready.set(ready.get() + usize::from(line.contains("guest: ready")));
            ready.get() == round
        });
        match round {
            1 => drop(lab.systemctl(["stop", &unit]).ok()),
            _ => drop(lab.kraft(["stop", &name]).ok()),
        }
        was_stopped(&lab, "vm");
        let console = lab.kraft(["logs", &name]).ok();
        for word in ["guest: shutting down", "reboot: Power down"] {
            assert_eq!(console.matches(word).count(), round, "{word}");
        }
        if round == 1 {
            lab.systemctl(["start", &unit]).ok();
        }
    }
}
