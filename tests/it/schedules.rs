//! Machines that the calendar starts, and machines that may run only so long.

use crate::keeper::{Keeper, under_both};
use crate::lab::{Lab, Who, guest};

under_both! {
    a_guest_runs_only_so_long,
}

fn timer(lab: &Lab, short: &str) -> String {
    format!("kraft-{}.timer", lab.name(short))
}

/// A machine that is created runs when its time has come, again and again, and its timer goes with it.
fn runs_by_the_calendar(lab: &Lab) {
    let (name, timer) = (lab.name("job"), timer(lab, "job"));
    let every_second = "*-*-* *:*:*";
    lab.kraft(["create", "--systemd", "--on-calendar", every_second, "-q", "--name", &name, &guest("tiny"), "exit=0"])
        .ok();
    assert_eq!(lab.systemctl(["is-active", &timer]).ok().trim(), "active");
    lab.until_event("job", "start", 2);
    let shown = lab.ps("job");
    assert_eq!((&shown["timer"], &shown["on_calendar"][0]), (&timer.as_str().into(), &every_second.into()));

    // A start on request and a stop leave the timer alone.
    lab.systemctl(["stop", &timer]).ok();
    lab.kraft(["stop", &name]).ok();
    lab.kraft(["start", &name]).ok();
    lab.systemctl(["start", &timer]).ok();
    lab.until_event("job", "start", 4);
    lab.kraft(["rm", "--force", &name]).ok();
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

#[test]
fn the_calendar_starts_a_machine() {
    runs_by_the_calendar(&Lab::new("calendar"));
}

#[test]
fn the_calendar_starts_a_user_s_machine() {
    runs_by_the_calendar(&Lab::of("usercalendar", Who::Tester));
}

#[test]
fn a_timer_is_made_anew_with_its_machine() {
    let lab = Lab::new("recalendar");
    let (name, timer) = (lab.name("job"), timer(&lab, "job"));
    lab.run_tiny("job", &["--on-calendar", "yearly", "--on-calendar", "Mon..Fri 10:00"], &[]);
    assert!(lab.systemctl(["show", "-P", "TimersCalendar", &timer]).ok().contains("Mon..Fri"));
    assert!(lab.inspect("job")["next_start"].is_string());
    // Somebody takes its units down.
    lab.systemctl(["stop", &format!("kraft-{}.slice", name.replace('-', "\\x2d"))]).ok();
    assert_ne!(lab.systemctl(["is-active", &timer]).code, 0);
    lab.kraft(["start", &name]).ok();
    assert_eq!(lab.systemctl(["is-active", &timer]).ok().trim(), "active");
    // Its unit is changed while it is down.
    lab.kraft(["update", "--stop-timeout", "3s", &name]).ok();
    lab.kraft(["restart", &name]).ok();
    assert_eq!(lab.systemctl(["is-active", &timer]).ok().trim(), "active");
    assert_eq!(lab.property("job", "TimeoutStopUSec"), "13s");
    lab.kraft(["rm", "--force", &name]).ok();
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

#[test]
fn what_is_no_time_is_refused() {
    let lab = Lab::new("nocalendar");
    let (name, tiny) = (lab.name("job"), guest("tiny"));
    let create = |options: &[&str]| lab.kraft([&["create", "--name", &name], options, &[&tiny]].concat());
    let refused = create(&["--systemd", "--on-calendar", "now and then"]).fails(125);
    assert!(refused.contains("now and then") || refused.contains("OnCalendar"), "{refused}");
    assert!(create(&["--systemd", "--on-calendar", ""]).fails(125).contains("bad calendar expression ''"));
    assert!(create(&["--runtime-max", "0s"]).fails(125).contains("bad --runtime-max 0"));
    assert_eq!(create(&["--on-calendar", "daily"]).code, 125);
    assert!(create(&["--systemd", "--rm", "--on-calendar", "daily"]).fails(125).contains("exclude each other"));
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

fn a_guest_runs_only_so_long(keeper: Keeper) {
    let lab = keeper.lab("expiry");
    let name = lab.name("web");
    keeper.run(&lab, "web", &["--runtime-max", "1s"], &["tick=100"]);
    assert_eq!(lab.kraft(["wait", &name]).code, 124);
    let exit = &lab.inspect("web")["exit"];
    assert_eq!((&exit["reason"], &exit["detail"]), (&"expired".into(), &"it ran as long as it may, 1s".into()));
    assert_eq!(lab.state_of("web"), "errored");
    // The guest was asked, not killed.
    lab.until_console("web", "tiny: power button");
    // A failure is what a policy is for.
    lab.kraft(["update", "--restart", "on-failure:1", &name]).ok();
    lab.kraft(["start", &name]).ok();
    lab.until_event("web", "start", 3);
    assert_eq!(lab.kraft(["wait", &name]).code, 124);
    lab.kraft(["rm", &name]).ok();
    assert_eq!(lab.leaks(), Vec::<String>::new());
}
