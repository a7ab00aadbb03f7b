//! Many at once, and names that somebody else has.

use std::process::{Command, Stdio};
use std::sync::Barrier;

use super::{MANAGERS, assert_nothing_left, run, words};
use crate::lab::{Lab, Said, guest};

/// Runs the same command `count` times at once.
fn at_once(lab: &Lab, count: usize, args: &[String]) -> Vec<Said> {
    let gate = Barrier::new(count);
    std::thread::scope(|scope| {
        let one = || {
            gate.wait();
            lab.kraft(args)
        };
        let all: Vec<_> = (0..count).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|thread| thread.join().expect("it ends in time")).collect()
    })
}

#[test]
fn one_of_many_gets_the_name() {
    let lab = Lab::new("same").with_store();
    for (systemd, count) in [(true, 200), (false, 50)] {
        let said = at_once(&lab, count, &words(&lab, systemd, &[], &guest("tiny")));
        let (won, lost): (Vec<_>, Vec<_>) = said.into_iter().partition(|said| said.code == 0);
        assert_eq!((won.len(), lost.len()), (1, count - 1), "systemd {systemd}: {lost:?}");
        assert_eq!((won[0].out.trim(), &*won[0].err), (&*lab.name("m"), ""));
        for said in lost {
            let error = said.fails(125);
            assert_eq!(error, format!("machine {} already exists", lab.name("m")));
        }
        assert_eq!(lab.state_of("m"), "running");
        let machines: Vec<_> = std::fs::read_dir(lab.state().join("machines")).unwrap().flatten().collect();
        assert_eq!(machines.len(), 1, "{machines:?}");
        lab.kraft(["rm", &lab.name("m")]).ok();
        assert_nothing_left(&lab, "rm");
    }
}

#[test]
fn two_do_the_same_to_one_machine() {
    let lab = Lab::new("twice").with_store();
    let name = lab.name("m");
    for systemd in MANAGERS {
        let by = if systemd { "--systemd" } else { "--quiet" };
        for _ in 0..5 {
            lab.kraft(["create", by, "--name", &name, &guest("tiny")]).ok();
            for (verb, state) in [("start", "running"), ("stop", "exited"), ("start", "running")] {
                for said in at_once(&lab, 2, &[verb.to_owned(), name.clone()]) {
                    said.ok();
                }
                assert_eq!(lab.state_of("m"), state);
            }
            let said = at_once(&lab, 2, &["rm".to_owned(), name.clone()]);
            assert!(said.iter().any(|said| said.code == 0), "{said:?}");
            for said in said.into_iter().filter(|said| said.code != 0) {
                assert_eq!(said.fails(125), format!("no such machine: {name}"));
            }
            assert_nothing_left(&lab, "two removals");
        }
    }
}

#[test]
fn a_start_and_a_removal_at_once() {
    let lab = Lab::new("startrm").with_store();
    let name = lab.name("m");
    for systemd in MANAGERS {
        let by = if systemd { "--systemd" } else { "--quiet" };
        for _ in 0..10 {
            lab.kraft(["create", by, "--name", &name, &guest("tiny")]).ok();
            let mut start = lab.command(crate::lab::kraft(), ["start", &name]);
            let mut start = start.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            lab.kraft(["rm", &name]).ok();
            assert!(crate::lab::process_ends(start.id(), crate::lab::DEADLINE), "a start of what is removed ends");
            start.wait().unwrap();
            assert_nothing_left(&lab, "a start and a removal");
        }
    }
}

#[test]
fn the_unit_is_somebodys_file() {
    let lab = Lab::new("unitfile").with_store();
    let file = format!("/run/systemd/system/{}", lab.unit("m"));
    std::fs::write(&file, "[Service]\nExecStart=/bin/true\n").unwrap();
    let said = run(&lab, true, &[], &guest("tiny"));
    std::fs::remove_file(&file).unwrap();
    let (error, hint) = said.fails_with_hint(125);
    assert!(error.contains(&lab.name("m")) && error.contains(&file), "{error}");
    assert!(hint.contains("--name"), "{hint}");
    assert_nothing_left(&lab, "a conflict with a unit file");
}

#[test]
fn the_unit_is_somebodys_transient_one() {
    let lab = Lab::new("foreign").with_store();
    let unit = lab.unit("m");
    lab.call("systemd-run", ["--quiet", "--unit", &unit, "sleep", "infinity"]).ok();
    let (error, hint) = run(&lab, true, &[], &guest("tiny")).fails_with_hint(125);
    assert!(error.contains(&lab.name("m")) && error.contains(&unit), "{error}");
    assert!(hint.contains(&format!("systemctl stop {unit}")), "{hint}");
    assert_eq!(lab.systemctl(["is-active", &unit]).ok().trim(), "active", "it is not ours to stop");
    lab.systemctl(["stop", &unit]).ok();
    assert_nothing_left(&lab, "a conflict with a unit");
}

#[test]
fn units_of_a_machine_whose_record_is_lost_are_replaced() {
    let lab = Lab::new("orphan").with_store();
    for slice in [&[][..], &["--slice", "tenants"]] {
        run(&lab, true, slice, &guest("tiny")).ok();
        let pid = lab.property("m", "MainPID");
        std::fs::remove_dir_all(lab.state().join("machines").join(lab.name("m"))).unwrap();
        run(&lab, true, &[], &guest("tiny")).ok();
        assert_ne!(lab.property("m", "MainPID"), pid);
        assert_eq!(lab.state_of("m"), "running");
        lab.kraft(["rm", &lab.name("m")]).ok();
        assert_nothing_left(&lab, "rm");
    }
}

#[test]
fn many_do_anything_to_a_few() {
    let lab = Lab::new("anything").with_store();
    let script = "for i in 1 2 3 4 5 6 7 8; do for verb in 'run -d --systemd' start stop 'run -d' rm; do \
                  n=\"$1$((RANDOM % 3))\"; case $verb in run*) \"$0\" $verb --name \"$n\" \"$2\";; *) \"$0\" $verb \"$n\";; esac; \
                  case $? in 0|125) ;; *) echo \"$verb $n: $?\" >&3; exit 1;; esac; done; done";
    let kraft = crate::lab::kraft();
    let mut all: Vec<_> = (0..6)
        .map(|_| {
            let args = [
                "-c",
                &format!("exec 3>&1 >/dev/null 2>&1; {script}"),
                kraft.to_str().unwrap(),
                &lab.name("m"),
                &guest("tiny"),
            ]
            .map(str::to_owned);
            let mut command: Command = lab.command("bash", args);
            command.stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in &mut all {
        assert!(crate::lab::process_ends(child.id(), crate::lab::DEADLINE * 3), "every call ends");
    }
    for child in all {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    lab.kraft(["rm", "--all"]).ok();
    assert_nothing_left(&lab, "rm --all");
}
