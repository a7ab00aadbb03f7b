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
    let monitor = lab.command("sh", ["-c", "exec busctl monitor --json=short org.freedesktop.systemd1 2>&1"]);
    let ping = ["call", "org.freedesktop.systemd1", "/", "org.freedesktop.DBus.Peer", "Ping"];
    let lines = lab.until_line(monitor, "the end of what the bus monitor sees", |line| {
        if line.starts_with("Monitoring") {
            act();
            lab.call("busctl", ping).ok();
        }
        line.contains("\"Ping\"")
    });
    let messages: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let calls = || messages.iter().filter(|message| message["type"] == "method_call");
    let client = &calls().next().expect("the monitor saw a call")["sender"];
    calls()
        .filter(|call| call["sender"] == *client)
        .map(|call| call["member"].as_str().unwrap_or_default().to_owned())
        .collect()
}
