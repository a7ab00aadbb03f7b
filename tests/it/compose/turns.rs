//! Several who change one project at once, and those who do not come to the end of it: killed, interrupted, refused.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use nix::sys::signal::Signal;

use super::{Project, sorted, three};
use crate::keeper::{Keeper, under_both};
use crate::lab::{DEADLINE, Lab, code_of, finish, guest, kill};

under_both! {
    several_at_once_take_turns,
    what_was_killed_is_taken_up_again,
    somebody_had_enough_before_all_of_it_ran,
    what_waits_is_ended_by_another,
    what_would_be_done_is_only_said,
    what_somebody_else_changed_is_found,
}

fn systemd(keeper: Keeper) -> &'static [&'static str] {
    if keeper.has_units() { &["--systemd"] } else { &[] }
}

/// `compose` in the background, with what it says.
fn begun(project: &Project<'_>, args: &[&str]) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut command = project.command(args);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    (child, lines)
}

fn several_at_once_take_turns(keeper: Keeper) {
    let lab = keeper.lab("turncompose");
    let project = Project::new(&lab, &three("idle", "exit=0"));
    let up = [&["up", "-d"], systemd(keeper)].concat();
    let said: Vec<String> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..4).map(|_| scope.spawn(|| finish(project.command(&up), DEADLINE).ok())).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let all = said.concat();
    for service in ["web", "db", "migrate"] {
        let name = lab.name(&project.machine(service));
        for (what, times) in [("created", 1), ("unchanged", 3), ("changed", 0)] {
            let line = format!("{what} {name}");
            assert_eq!(all.lines().filter(|said| **said == line).count(), times, "{line}:\n{all}");
        }
    }
    assert_eq!((project.state("web"), project.state("db")), ("running".into(), "running".into()));

    // Whoever comes first, the last word is that of who is last.
    std::thread::scope(|scope| {
        let calls =
            [&up[..], &["down"], &up, &["down"]].map(|args| scope.spawn(|| finish(project.command(args), DEADLINE)));
        for call in calls {
            call.join().unwrap();
        }
    });
    project.call(&["down"]).ok();
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

fn what_was_killed_is_taken_up_again(keeper: Keeper) {
    let lab = keeper.lab("killcompose");
    let project = Project::new(&lab, &three("idle", "exit=0"));
    let up = [&["up", "-d"], systemd(keeper)].concat();
    for (line, again) in [("created", true), ("started", true), ("created", false), ("started", false)] {
        let (mut child, mut lines) = begun(&project, &up);
        assert!(lines.any(|said| said.starts_with(line)), "{line}");
        kill(child.id().into(), Signal::SIGKILL);
        child.wait().unwrap();
        if again {
            project.up(keeper, &[]).ok();
            assert_eq!((project.state("web"), project.state("db")), ("running".into(), "running".into()), "{line}");
            // In the middle of a change, too.
            project.write(&three("tick=100", "exit=0").replace("[tick=200]", "[tick=300]"));
            let (mut child, mut lines) = begun(&project, &up);
            assert!(lines.any(|said| said.starts_with("changed")), "{line}");
            kill(child.id().into(), Signal::SIGKILL);
            child.wait().unwrap();
            project.up(keeper, &[]).ok();
            assert_eq!((project.state("web"), project.state("db")), ("running".into(), "running".into()), "{line}");
            lab.until_console(&project.machine("db"), "tiny: tick=300");
            project.write(&three("idle", "exit=0"));
        }
        project.call(&["down"]).ok();
        assert_eq!(lab.leaks(), Vec::<String>::new(), "{line}");
    }
}

fn somebody_had_enough_before_all_of_it_ran(keeper: Keeper) {
    let lab = keeper.lab("enoughcompose");
    let tiny = guest("tiny");
    let file = |slow: &str| {
        format!(
            "services:\n  slow:\n    image: {tiny}\n    network_mode: none\n    x-kraft: {{kernel-args: [tick=100], {slow}}}\n  \
             web:\n    image: {tiny}\n    network_mode: none\n    x-kraft: {{kernel-args: [idle]}}\n    \
             depends_on: {{slow: {{condition: service_completed_successfully}}}}\n"
        )
    };
    // It waits for what never ends, and for what is never ready.
    for slow in ["ready: guest", "ready: \"console:^never\", ready-timeout: 10min"] {
        let project = Project::new(&lab, &file(slow));
        let (mut child, mut lines) = begun(&project, &[&["up"], systemd(keeper)].concat());
        assert!(lines.any(|line| line == format!("created {}", lab.name(&project.machine("web")))));
        lab.until_console(&project.machine("slow"), "tick 1");
        kill(child.id().into(), Signal::SIGINT);
        let lines: Vec<String> = lines.collect();
        assert_eq!(code_of(child.wait().unwrap()), 130, "{slow}: {lines:?}");
        assert!(lines.contains(&format!("stopped {}", lab.name(&project.machine("slow")))), "{slow}: {lines:?}");
        assert_ne!(project.state("slow"), "running", "{slow}");
        assert_eq!(project.state("web"), "created", "{slow}");
        project.call(&["down"]).ok();
        assert_eq!(lab.leaks(), Vec::<String>::new(), "{slow}");
    }
}

fn what_waits_is_ended_by_another(keeper: Keeper) {
    let lab = keeper.lab("endcompose");
    let project = Project::new(&lab, &three("idle", "tick=100"));
    let (child, mut lines) = begun(&project, &[&["up", "-d"], systemd(keeper)].concat());
    assert!(lines.any(|line| line == format!("created {}", lab.name(&project.machine("web")))));
    lab.until_console(&project.machine("migrate"), "tick 1");
    project.call(&["down"]).ok();
    drop(lines);
    let said = child.wait_with_output().unwrap();
    let error = String::from_utf8(said.stderr).unwrap();
    let web = lab.name(&project.machine("web"));
    assert!(error.contains(&format!("error: cannot start {web}: it waits for ")), "{error}");
    assert_eq!(said.status.code(), Some(125));
    assert_eq!(lab.leaks(), Vec::<String>::new());

    // Who only looks on is done when there is nothing to see any more.
    project.write(&three("tick=100", "exit=0"));
    let (mut child, mut lines) = begun(&project, &[&["up"], systemd(keeper)].concat());
    assert!(lines.any(|line| line == format!("started {web}")), "the last of them is started");
    project.call(&["down"]).ok();
    lines.for_each(drop);
    assert_eq!(code_of(child.wait().unwrap()), 0);
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

fn what_would_be_done_is_only_said(keeper: Keeper) {
    let lab = keeper.lab("drycompose");
    let project = Project::new(&lab, &three("idle", "exit=0"));
    let all = ["migrate", "db", "web"];
    let new: Vec<_> = all.iter().flat_map(|service| [("created", *service), ("started", *service)]).collect();
    assert_eq!(project.done(keeper, &["--dry-run"]), project.said(&new));
    assert_eq!(project.state("db"), "absent");
    project.up(keeper, &[]).ok();
    let pids = [project.pid("db"), project.pid("web")];
    assert_eq!(project.done(keeper, &["--dry-run"]), project.said(&all.map(|service| ("unchanged", service))));
    project.write(&three("tick=100", "exit=0"));
    let change = [("unchanged", "migrate"), ("unchanged", "db"), ("changed", "web"), ("started", "web")];
    assert_eq!(project.done(keeper, &["--dry-run"]), project.said(&change));
    let removed = project.said(&all.map(|service| ("removed", service)));
    assert_eq!(sorted(&project.call(&["down", "--dry-run"]).ok()), removed);
    assert_eq!([project.pid("db"), project.pid("web")], pids);
    assert_eq!(project.done(keeper, &[]), project.said(&change));
    assert_eq!(sorted(&project.call(&["down"]).ok()), removed);
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

/// Machines that were removed, stopped or changed by hand: `up` makes them what the file says, `down` removes what is there.
fn what_somebody_else_changed_is_found(keeper: Keeper) {
    let lab = keeper.lab("handcompose");
    let project = Project::new(&lab, &three("idle", "exit=0"));
    project.up(keeper, &[]).ok();
    let (web, db) = (lab.name(&project.machine("web")), lab.name(&project.machine("db")));
    lab.kraft(["update", "--stop-timeout", "7s", &web]).ok();
    lab.kraft(["stop", &db]).ok();
    let said = project.up(keeper, &[]).ok();
    assert!(said.contains(&format!("changed {web}\n")) && said.contains(&format!("started {db}\n")), "{said}");
    assert_eq!(lab.inspect(&project.machine("web"))["record"]["spec"]["stop_timeout_ms"], 10_000);
    lab.kraft(["rm", "-f", &web, &db]).ok();
    assert_eq!(project.call(&["down"]).ok(), format!("removed {}\n", lab.name(&project.machine("migrate"))));
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

/// A change of one that fails leaves it as it was, and nothing else is worse off: the next `up` goes on.
#[test]
fn a_change_that_fails_is_undone() {
    let lab = Lab::new("failcompose");
    let project = Project::new(&lab, &three("idle", "exit=0"));
    let keeper = Keeper::Systemd;
    project.up(keeper, &[]).ok();
    // The unit is another one, so that what waits for it is let go of; and systemd refuses it.
    let (file, web) = (three("idle", "exit=0"), project.pid("web"));
    let change =
        |more: &str| file.replace("{kernel-args: [tick=200]}", &format!("{{kernel-args: [tick=200], {more}}}"));
    project.write(&change("properties: [OOMScoreAdjust=5000]"));
    let error = project.up(keeper, &[]).fails(125);
    assert!(error.contains(&format!("cannot change {}", lab.name(&project.machine("db")))), "{error}");
    assert_ne!(project.pid("web"), web);
    assert_eq!((project.state("db"), project.state("web")), ("running".into(), "running".into()));
    project.write(&change("properties: [OOMScoreAdjust=50]"));
    project.up(keeper, &[]).ok();
    assert_eq!((project.state("db"), project.state("web")), ("running".into(), "running".into()));
    project.call(&["down"]).ok();
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

/// A record that cannot be read is named, and does not keep the rest from going.
#[test]
fn a_broken_record_does_not_keep_the_rest() {
    let lab = Lab::new("brokencompose").with_store();
    let project = Project::new(&lab, &three("idle", "exit=0"));
    project.up(Keeper::Local, &[]).ok();
    let web = lab.name(&project.machine("web"));
    let record = lab.state().join("machines").join(&web).join("machine.toml");
    let text = std::fs::read(&record).unwrap();
    std::fs::write(&record, "schema = \"x\n").unwrap();
    let (error, hint) = project.call(&["down"]).fails_with_hint(125);
    assert!(error.contains(&web) && hint.contains(&format!("`kraft rm {web}`")), "{error} {hint}");
    assert_eq!(project.state("db"), "absent");
    std::fs::write(&record, text).unwrap();
    assert_eq!(project.call(&["down"]).ok(), format!("removed {web}\n"));
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

/// What the units say of the order and of conditions holds when PID 1 has begun anew: the server is not started before
/// the work that it waits for was done once more.
#[test]
fn conditions_outlive_the_manager() {
    let lab = Lab::alone("reexecompose", crate::lab::Who::Root);
    let project = Project::new(&lab, &three("idle", "after=300, exit=0"));
    let keeper = Keeper::Systemd;
    project.up(keeper, &[]).ok();
    lab.systemctl(["daemon-reexec"]).ok();
    project.call(&["stop"]).ok();
    let (web, migrate, db) = (project.machine("web"), project.machine("migrate"), project.machine("db"));
    lab.systemctl(["start", &lab.unit(&web)]).ok();
    assert_eq!(["web", "migrate", "db"].map(|service| project.state(service)), ["running", "exited", "running"]);
    let time = |machine: &str, key: &str| lab.property(machine, key).parse::<u64>().unwrap();
    let began = time(&web, "ExecMainStartTimestampMonotonic");
    assert!(time(&migrate, "ExecMainExitTimestampMonotonic") < began);
    assert!(time(&db, "ActiveEnterTimestampMonotonic") < began);

    // One that is killed comes back by its own policy, and nobody else is touched.
    let pid = project.pid("web");
    kill(lab.ps(&db)["vmm_pid"].as_u64().unwrap(), Signal::SIGKILL);
    lab.until_event(&db, "start", 3);
    assert_eq!((project.state("db"), project.pid("web")), ("running".into(), pid));

    // Work that fails now keeps the server from being started.
    project.call(&["stop", "web"]).ok();
    project.write(&three("idle", "exit=3"));
    assert_eq!(project.done(keeper, &["migrate"]), project.said(&[("changed", "migrate"), ("started", "migrate")]));
    lab.systemctl(["daemon-reexec"]).ok();
    lab.systemctl(["start", &lab.unit(&web)]);
    assert_eq!(lab.property(&web, "ActiveState"), "inactive");
    project.call(&["down"]).ok();
    assert_eq!(lab.leaks(), Vec::<String>::new());
}
