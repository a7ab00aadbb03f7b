//! Two hundred machines.

use std::time::Instant;

use serde_json::Value;

use crate::lab::{Lab, Who, guest};

const ALL: usize = 200;
/// As many guests as two processors translate at once without missing a deadline.
const RUNNING: usize = 24;

/// Does something and says how long it took.
fn timed<T>(what: &str, act: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = act();
    println!("{what}: {:.2} s", begun.elapsed().as_secs_f64());
    result
}

#[test]
fn two_hundred_machines() {
    let lab = Lab::alone("many", Who::Root).with_store();
    let names: Vec<String> = (0..ALL).map(|n| lab.name(&format!("{n:03}"))).collect();
    timed(&format!("create {ALL}"), || {
        for name in &names {
            lab.kraft(["create", "--systemd", "--name", name, &guest("tiny")]).ok();
        }
    });
    timed(&format!("start {RUNNING}"), || {
        lab.kraft(std::iter::once("start").chain(names[..RUNNING].iter().map(String::as_str))).ok();
    });

    let calls = calls_of(&lab, || {
        let shown: Value = serde_json::from_str(&timed("ps", || lab.kraft(["ps", "-o", "json"])).ok()).unwrap();
        let count = |state: &str| shown.as_array().unwrap().iter().filter(|m| m["state"] == state).count();
        assert_eq!((count("running"), count("created")), (RUNNING, ALL - RUNNING));
    });
    assert_eq!(calls, ["ListUnitsByPatterns"]);
    assert_eq!(lab.kraft(["ps", "-q"]).ok().lines().collect::<Vec<_>>(), names);

    let said = timed("stop --all", || lab.kraft(["stop", "--all"]).ok());
    assert_eq!(said.lines().count(), ALL);
    let shown = lab.kraft(["ps", "--filter", "state=running", "-q"]).ok();
    assert_eq!(shown, "");
    let said = timed("rm --all", || lab.kraft(["rm", "--all"]).ok());
    assert_eq!(said.lines().count(), ALL);
    assert_eq!(lab.kraft(["ps", "-q"]).ok(), "");
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

/// The calls that `act` makes of the service manager, as the bus sees them, if one client makes them all.
fn calls_of(lab: &Lab, act: impl Fn()) -> Vec<String> {
    let monitor = ["--system", "type='method_call',destination='org.freedesktop.systemd1'"];
    let ping = ["call", "org.freedesktop.systemd1", "/", "org.freedesktop.DBus.Peer", "Ping"];
    let lines = lab.until_line(lab.command("dbus-monitor", monitor), "the end of what the bus monitor sees", |line| {
        // A connection gives up its name when it becomes a monitor.
        if line.ends_with("member=NameLost") {
            act();
            lab.call("busctl", ping).ok();
        }
        line.ends_with("member=Ping")
    });
    let calls: Vec<(&str, &str)> = lines
        .iter()
        .filter(|line| line.starts_with("method call "))
        .map(|line| {
            let word = |key| line.split([' ', ';']).find_map(|word| word.strip_prefix(key)).unwrap_or_default();
            (word("sender="), word("member="))
        })
        .collect();
    let client = calls.first().expect("the monitor saw a call").0;
    calls.iter().filter(|(sender, _)| *sender == client).map(|(_, member)| (*member).to_owned()).collect()
}
