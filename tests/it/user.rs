//! The main job as an ordinary user, with the user's own systemd and no root anywhere.

use std::os::unix::fs::MetadataExt as _;

use crate::lab::{Lab, Who, guest, kraft, uid_of};

#[test]
fn a_machine_is_a_service_of_its_user() {
    let lab = Lab::of("account", Who::Tester);
    let (name, unit) = (lab.name("web"), lab.unit("web"));
    lab.run_tiny("web", &[], &["tick=100"]);
    assert_eq!(lab.systemctl(["is-active", &unit]).ok().trim(), "active");
    lab.until_line(lab.journal("web"), "the console's first line", |line| line.starts_with("tiny: tick=100"));
    lab.until_console("web", "tick 3");
    let status = lab.systemctl(["status", "--no-pager", &unit]).ok();
    assert!(status.contains("Status: \"running: tiny on"), "{status}");

    let shown = lab.ps("web");
    assert_eq!(
        (&shown["state"], &shown["manager"], &shown["unit"]),
        (&"running".into(), &"systemd".into(), &unit.into())
    );
    assert_eq!(shown["pid"].as_u64().unwrap().to_string(), lab.property("web", "MainPID"));
    for pid in [&shown["pid"], &shown["vmm_pid"]] {
        let owner = std::fs::metadata(format!("/proc/{pid}")).unwrap().uid();
        assert_eq!(owner, uid_of("tester"), "process {pid}");
    }

    let unit = lab.unit("web");
    for _ in 0..3 {
        lab.systemctl(["stop", &unit]).ok();
        assert_eq!(lab.state_of("web"), "exited");
        lab.systemctl(["start", &unit]).ok();
        lab.systemctl(["restart", &unit]).ok();
        assert_eq!(lab.state_of("web"), "running");
    }
    lab.kraft(["pause", &name]).ok();
    assert_eq!(lab.state_of("web"), "paused");
    lab.kraft(["unpause", &name]).ok();
    lab.kraft(["stop", &name]).ok();
    lab.kraft(["start", &name]).ok();
    lab.kraft(["restart", &name]).ok();
    assert_eq!(lab.state_of("web"), "running");
    lab.kraft(["rm", &name]).ok();
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

#[test]
fn a_user_s_machine_ends_like_any_other() {
    let lab = Lab::of("userend", Who::Tester);
    let (name, tiny) = (lab.name("web"), guest("tiny"));
    let said = lab.kraft(["run", "--systemd", "--rm", "--name", &name, &tiny, "lines=100", "exit=3"]);
    assert_eq!(said.code, 3, "{}", said.err);
    assert_eq!(said.out.matches("line ").count(), 100);
    assert_eq!(lab.leaks(), Vec::<String>::new());

    lab.run_tiny("again", &["--restart", "on-failure:1"], &["exit=3"]);
    assert_eq!(lab.kraft(["wait", &lab.name("again")]).code, 3);
    assert_eq!(lab.events("again", "start").len(), 2);
    lab.kraft(["rm", &lab.name("again")]).ok();

    lab.run_tiny("gone", &["--rm"], &["exit=0"]);
    lab.until_event("gone", "remove", 1);
    lab.until_gone();
}

#[test]
fn a_user_needs_no_systemd_either() {
    let lab = Lab::of("userlocal", Who::Tester);
    let name = lab.name("web");
    lab.start_tiny("web", false, &[], &["tick=100"]).ok();
    lab.until_console("web", "tick 2");
    assert_eq!(lab.state_of("web"), "running");
    lab.kraft(["stop", &name]).ok();
    assert_eq!(lab.state_of("web"), "exited");
    lab.kraft(["rm", &name]).ok();
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

#[test]
fn the_system_s_machines_are_not_a_user_s() {
    let root = Lab::new("rootscope");
    let lab = Lab::of("scope", Who::Tester);
    root.run_tiny("web", &[], &[]);
    let (name, tiny) = (root.name("web"), guest("tiny"));
    assert!(!lab.kraft(["ps", "-q"]).ok().contains(&name));
    let missing = lab.kraft(["stop", &name]);
    assert!(missing.err.contains(&format!("hint: there is a machine {name} in the system scope")), "{}", missing.err);
    assert!(missing.fails(125).contains(&format!("no such machine: {name}")));

    for args in [
        &["--system", "stop", &name][..],
        &["--system", "start", &name],
        &["--system", "rm", &name],
        &["--system", "run", "--systemd", "-d", "--name", "t-scope-x", &tiny],
        &["--system", "run", "-d", "--name", "t-scope-x", &tiny],
    ] {
        let said = lab.kraft(args.iter().copied());
        assert!(said.err.contains("hint: machines of the system need root"), "{args:?}: {}", said.err);
        let refused = said.fails(125);
        assert!(refused.contains("Permission denied"), "{args:?}: {refused}");
    }
    assert_eq!(root.state_of("web"), "running");

    // The same name in both scopes are two machines.
    let mine = lab.command(kraft(), ["run", "--systemd", "-d", "--name", &name, &tiny]);
    crate::lab::finish(mine, crate::lab::DEADLINE).ok();
    lab.kraft(["stop", &name]).ok();
    assert_eq!(root.state_of("web"), "running");
    lab.kraft(["rm", &name]).ok();
    assert_eq!(root.state_of("web"), "running");
}

#[test]
fn the_shell_says_where_a_user_s_records_are() {
    let lab = Lab::of("xdg", Who::Tester).with_env("XDG_STATE_HOME", "/home/tester/elsewhere");
    lab.run_tiny("web", &[], &[]);
    assert_eq!(lab.state_of("web"), "running");
    lab.systemctl(["restart", &lab.unit("web")]).ok();
    lab.kraft(["rm", &lab.name("web")]).ok();
    let left = std::fs::read_dir("/home/tester/elsewhere/kraft/machines").unwrap().count();
    assert_eq!(left, 0);
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

#[test]
fn without_a_user_manager_there_is_one_clear_error() {
    let lab = Lab::of("nolinger", Who::Tester);
    let (kraft, tiny, name) = (kraft().display().to_string(), guest("tiny"), lab.name("web"));
    let run = ["run", "--systemd", "-d", "--name", &name, &tiny];
    // A session that has lost its directory, and an account that never had one.
    let lost = lab.call("env", [&["XDG_RUNTIME_DIR=/nonexistent", &kraft][..], &run].concat());
    let as_nobody = ["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--reset-env", "env", "HOME=/tmp", &kraft];
    let root = Lab::new("rootnolinger");
    let never = root.call("setpriv", [&as_nobody[..], &run].concat());
    for (said, why) in [(lost, "cannot reach the user service manager"), (never, "this account has no user manager")] {
        assert!(said.err.contains("hint: `loginctl enable-linger"), "{}", said.err);
        let refused = said.fails(125);
        assert!(refused.contains(why), "{refused}");
    }
    assert_eq!(lab.leaks(), Vec::<String>::new());
}
