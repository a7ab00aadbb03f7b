//! The main job: a machine is a service of systemd.

use crate::lab::{Lab, Who, guest};

#[test]
fn a_machine_is_a_service() {
    let lab = Lab::new("main");
    let (name, unit) = (lab.name("web"), lab.unit("web"));
    let said = lab.start_tiny("web", true, &[], &["tick=100"]).ok();
    assert_eq!(said.trim(), name);
    assert_eq!(lab.systemctl(["is-active", &unit]).ok().trim(), "active");

    let journal = lab.command("journalctl", ["-f", "-n", "all", "-o", "cat", "-u", &unit]);
    lab.until_line(journal, "the console's first line", |line| line.starts_with("tiny: tick=100"));
    lab.until_console("web", "tick 3");

    let shown = lab.ps("web");
    assert_eq!(shown["state"], "running");
    assert_eq!(shown["manager"], "systemd");
    assert_eq!(shown["unit"], *unit);
    assert_eq!(shown["pid"].as_u64().unwrap().to_string(), lab.property("web", "MainPID"));
    assert_eq!(shown["memory"].as_u64(), Some(64 << 20));

    let status = lab.systemctl(["status", "--no-pager", &unit]).ok();
    assert!(status.contains("Status: \"running: tiny on"), "{status}");
}

#[test]
fn systemctl_stops_and_starts_it_twenty_times() {
    let lab = Lab::new("cycle");
    let unit = lab.unit("web");
    lab.run_tiny("web", &[], &[]);
    for _ in 0..20 {
        lab.systemctl(["stop", &unit]).ok();
        assert_eq!(lab.state_of("web"), "exited");
        lab.systemctl(["start", &unit]).ok();
        assert_eq!(lab.state_of("web"), "running");
        lab.systemctl(["restart", &unit]).ok();
        assert_eq!(lab.state_of("web"), "running");
    }
}

#[test]
fn a_unit_whose_condition_is_not_met_is_not_said_to_run() {
    let lab = Lab::new("condition");
    for property in ["ConditionPathExists=/nonexistent", "ExecCondition=/bin/false"] {
        let said = lab.start_tiny("web", true, &["--property", property], &[]);
        assert!(said.fails(125).contains("a condition of its unit is not met"), "{property}");
    }
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

#[test]
fn others_may_reload_and_reexecute_systemd() {
    let lab = Lab::alone("reload", Who::Root);
    let unit = lab.unit("web");
    lab.run_tiny("web", &[], &[]);
    lab.run_tiny("stopped", &[], &[]);
    lab.kraft(["stop", &lab.name("stopped")]).ok();
    let pid = lab.property("web", "MainPID");
    for verb in ["daemon-reload", "daemon-reexec"] {
        lab.systemctl([verb]).ok();
        assert_eq!(lab.property("web", "MainPID"), pid, "after {verb}");
        assert_eq!(lab.state_of("web"), "running", "after {verb}");
        assert_eq!(lab.state_of("stopped"), "exited", "after {verb}");
        lab.systemctl(["start", &lab.unit("stopped")]).ok();
        assert_eq!(lab.state_of("stopped"), "running", "after {verb}");
        lab.systemctl(["stop", &lab.unit("stopped")]).ok();
    }
    for _ in 0..3 {
        lab.systemctl(["restart", &unit]).ok();
        assert_eq!(lab.state_of("web"), "running");
    }
}

#[test]
fn kraft_s_own_verbs() {
    let lab = Lab::new("verbs");
    let name = lab.name("web");
    lab.run_tiny("web", &[], &["tick=50"]);
    lab.kraft(["pause", &name]).ok();
    assert_eq!(lab.state_of("web"), "paused");
    lab.kraft(["pause", &name]).ok();
    assert!(lab.systemctl(["status", &lab.unit("web")]).ok().contains("Status: \"paused\""));
    lab.kraft(["unpause", &name]).ok();
    assert_eq!(lab.state_of("web"), "running");
    lab.kraft(["pause", &name]).ok();
    lab.kraft(["start", &name]).ok();
    assert_eq!(lab.state_of("web"), "running");
    lab.kraft(["stop", &name]).ok();
    lab.kraft(["stop", &name]).ok();
    assert_eq!(lab.state_of("web"), "exited");
    assert!(lab.kraft(["pause", &name]).fails(125).contains("it is exited"));
    lab.kraft(["start", &name]).ok();
    lab.kraft(["start", &name]).ok();
    lab.kraft(["restart", &name]).ok();
    assert_eq!(lab.state_of("web"), "running");
    lab.kraft(["rm", &name]).ok();
    assert_eq!(lab.leaks(), Vec::<String>::new());
    assert!(lab.kraft(["rm", &name]).fails(125).contains("no such machine"));
}

#[test]
fn a_create_is_a_loaded_unit_that_systemctl_starts() {
    let lab = Lab::new("create");
    let (name, unit) = (lab.name("web"), lab.unit("web"));
    lab.kraft(["create", "--systemd", "--name", &name, &guest("tiny")]).ok();
    assert_eq!(lab.state_of("web"), "created");
    lab.systemctl(["start", &unit]).ok();
    assert_eq!(lab.state_of("web"), "running");
    // Somebody stops the anchor: the machine is down, known, and startable all the same.
    lab.systemctl(["stop", &format!("kraft-{}.slice", name.replace('-', "\\x2d"))]).ok();
    assert_eq!(lab.state_of("web"), "exited");
    lab.kraft(["start", &name]).ok();
    assert_eq!(lab.state_of("web"), "running");
}
