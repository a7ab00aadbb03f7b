//! systemd-machined's list: who is in it, that ending a machine there ends it, and that nobody stays in it.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::lab::{Lab, Who, guest, kill, until_change};

/// Where machined keeps what it knows of its machines, a file for each; it is made when the first one comes.
const MACHINES: &str = "/run/systemd/machines";

/// A world alone, as machined may end when it has no machine left: with it, or why there is none.
fn with_machined(test: &str) -> Option<Lab> {
    let installed = Path::new("/usr/share/dbus-1/system-services/org.freedesktop.machine1.service").exists();
    let lab = installed.then(|| Lab::alone(test, Who::Root))?;
    std::fs::create_dir_all(MACHINES).unwrap();
    Some(lab)
}

/// Waits until machined has the machine, with this process as its leader.
fn until_registered(lab: &Lab, short: &str) {
    let leader = format!("LEADER={}", lab.property(short, "MainPID"));
    let file = Path::new(MACHINES).join(lab.name(short));
    let has = || std::fs::read_to_string(&file).is_ok_and(|text| text.lines().any(|line| line == leader));
    until_change(&[PathBuf::from(MACHINES)], &format!("machined to know {short} with {leader}"), has);
}

fn until_forgotten(lab: &Lab, short: &str) {
    let file = Path::new(MACHINES).join(lab.name(short));
    until_change(&[PathBuf::from(MACHINES)], &format!("machined to forget {short}"), || !file.exists());
    let list = lab.call("machinectl", ["list", "--no-legend"]).ok();
    assert!(!list.contains(&lab.name(short)), "{list}");
}

#[test]
fn machinectl_knows_a_machine() {
    let Some(lab) = with_machined("machined") else { crate::skip!("systemd-machined is not installed") };
    let name = lab.name("web");
    lab.run_tiny("web", &["--machined", "auto"], &[]);
    until_registered(&lab, "web");
    let shown = lab.call("machinectl", ["show", "-p", "Unit", "-p", "Class", "-p", "Service", &name]).ok();
    for line in [format!("Unit={}", lab.unit("web")), "Class=vm".into(), "Service=kraft".into()] {
        assert!(shown.lines().any(|shown| shown == line), "{shown}");
    }
    // The life after it has the same name.
    for _ in 0..3 {
        lab.systemctl(["restart", &lab.unit("web")]).ok();
        until_registered(&lab, "web");
    }
    lab.call("machinectl", ["terminate", &name]).ok();
    lab.until_event("web", "die", 4);
    until_forgotten(&lab, "web");
    assert_eq!(lab.state_of("web"), "exited");

    lab.kraft(["start", &name]).ok();
    until_registered(&lab, "web");
    kill(lab.ps("web")["pid"].as_u64().unwrap(), Signal::SIGKILL);
    until_forgotten(&lab, "web");
    lab.kraft(["start", &name]).ok();
    until_registered(&lab, "web");
    lab.kraft(["rm", "--force", &name]).ok();
    until_forgotten(&lab, "web");
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

#[test]
fn a_machine_that_machined_does_not_take_runs() {
    let Some(lab) = with_machined("unmachined") else { crate::skip!("systemd-machined is not installed") };
    // No name of a host: asked for all the same, it is tried, and the journal has why not.
    lab.run_tiny("odd-", &["--machined", "yes"], &[]);
    let field = format!("KRAFT_MACHINE={}", lab.name("odd-"));
    let journal = lab.command("journalctl", ["--follow", "--lines=all", "--output=cat", &field]);
    lab.until_line(journal, "the warning", |line| line.contains("cannot register"));
    assert_eq!(lab.state_of("odd-"), "running");
    for (short, choice) in [("dash-", "auto"), ("not", "no")] {
        let name = lab.name(short);
        lab.kraft(["create", "-q", "--systemd", "--machined", choice, "--name", &name, &guest("tiny")]).ok();
        assert!(!lab.property(short, "Wants").contains("machined"));
    }
}
