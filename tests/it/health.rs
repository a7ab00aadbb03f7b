//! Whether machines are well: what is shown of it, and what follows when they are not.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::keeper::{Keeper, under_both};
use crate::lab::{Lab, kill, until_change};
use crate::wire::{free_ports, get, loopback};

under_both! {
    what_is_ill_is_shown_and_what_is_well_again,
    what_stops_answering_is_restarted_once,
    a_policy_counts_these_restarts_too,
    what_is_to_stay_down_stays_down,
    a_guest_that_stands_still_is_not_tried,
    a_frozen_vmm_is_restarted,
}

/// A server whose health is tried every few milliseconds; returns the port of the host's that leads to it.
#[track_caller]
fn serve(keeper: Keeper, lab: &Lab, short: &str, options: &[&str], words: &[&str]) -> u16 {
    let [port] = free_ports();
    let published = format!("127.0.0.1:{port}:80");
    let interval = if options.contains(&"--health-interval") { &[][..] } else { &["--health-interval", "20ms"] };
    // It serves from the first probe on.
    let health = [&["-p", &published, "--ready", "http:80/", "--health", "http:80/health"], interval].concat();
    let options = [&*health, options].concat();
    lab.start_guest("net", short, keeper == Keeper::Systemd, &options, words).ok();
    port
}

#[track_caller]
fn set(port: u16, mood: &str) {
    assert_eq!(get((loopback(1), port), &format!("/mood/{mood}")), "so be it\n");
}

/// Waits for the `count`-th change of its health.
#[track_caller]
fn becomes(lab: &Lab, short: &str, count: usize, health: &str) {
    assert_eq!(lab.until_event(short, "health", count)["health"], health, "change {count}");
}

/// Lines of ours about its health: of the unit's journal, or of the runner's own log.
fn lines(keeper: Keeper, lab: &Lab, short: &str) -> Vec<String> {
    let text = match keeper {
        Keeper::Local => {
            let file = lab.state().join("machines").join(lab.name(short)).join("runner.log");
            std::fs::read_to_string(file).unwrap()
        }
        // What this machine said, and no earlier one of its name.
        Keeper::Systemd | Keeper::User => {
            let id = format!("KRAFT_ID={}", lab.inspect(short)["record"]["id"].as_str().unwrap());
            journal(lab, &[&id])
        }
    };
    text.lines().filter(|line| line.contains("healthy")).map(str::to_owned).collect()
}

fn journal(lab: &Lab, matching: &[&str]) -> String {
    lab.call("journalctl", ["--sync"]).ok();
    lab.call("journalctl", [&["--output=cat", "--lines=all", "--no-pager"], matching].concat()).ok()
}

fn table(lab: &Lab, short: &str) -> String {
    let name = lab.name(short);
    let table = lab.kraft(["ps", "--filter", &format!("name={name}")]).ok();
    table.lines().last().unwrap_or_default().to_owned()
}

fn what_is_ill_is_shown_and_what_is_well_again(keeper: Keeper) {
    let lab = keeper.lab("health");
    let port = serve(keeper, &lab, "web", &[], &[]);
    becomes(&lab, "web", 1, "healthy");
    assert!(table(&lab, "web").contains("running (healthy)"), "{}", table(&lab, "web"));
    assert_eq!(lab.ps("web")["health"], "healthy");
    set(port, "ill");
    becomes(&lab, "web", 2, "unhealthy");
    assert!(table(&lab, "web").contains("running (unhealthy)"), "{}", table(&lab, "web"));
    let health = &lab.inspect("web")["status"]["health"];
    assert_eq!((&health["state"], &health["detail"]), (&"unhealthy".into(), &"http :80/health answered 503".into()));
    assert!(health["failures"].as_u64() >= Some(3), "{health}");
    if keeper == Keeper::Systemd {
        let status = lab.systemctl(["status", &lab.unit("web")]).ok();
        assert!(status.contains("unhealthy: http :80/health answered 503"), "{status}");
    }
    set(port, "well");
    becomes(&lab, "web", 3, "healthy");
    assert_eq!(lab.ps("web")["health"], "healthy");
    let said = lines(keeper, &lab, "web");
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].ends_with("unhealthy: http :80/health answered 503") && said[1].ends_with("healthy again"));
    // What is down has no health.
    lab.kraft(["stop", &lab.name("web")]).ok();
    assert_eq!(lab.ps("web")["health"], Value::Null);
    assert_eq!(lab.events("web", "start").len(), 1);
}

fn what_stops_answering_is_restarted_once(keeper: Keeper) {
    let lab = keeper.lab("mute");
    let options = ["--health-timeout", "500ms", "--health-retries", "2", "--health-on-failure", "restart"];
    let port = serve(keeper, &lab, "web", &options, &[]);
    becomes(&lab, "web", 1, "healthy");
    set(port, "deaf");
    becomes(&lab, "web", 2, "unhealthy");
    // The one that comes after it is well.
    becomes(&lab, "web", 3, "healthy");
    assert_eq!(lab.state_of("web"), "running");
    let ends = lab.events("web", "die");
    assert_eq!((lab.events("web", "start").len(), ends.len()), (2, 1));
    assert_eq!((&ends[0]["exit"]["reason"], &ends[0]["exit"]["code"]), (&"unhealthy".into(), &134.into()));
    assert_eq!(ends[0]["exit"]["detail"], "http :80/health gave no answer within 500ms");
    let said = lines(keeper, &lab, "web");
    let about = |line: &&String| line.ends_with("unhealthy: http :80/health gave no answer within 500ms");
    assert_eq!(said.iter().filter(about).count(), 1, "{said:?}");
    if keeper == Keeper::Systemd {
        assert_eq!(lab.property("web", "NRestarts"), "1");
    }
    // It has no restart policy: any other end is final.
    kill(lab.ps("web")["vmm_pid"].as_u64().unwrap(), Signal::SIGKILL);
    lab.until_event("web", "die", 2);
    assert_eq!(lab.kraft(["wait", &lab.name("web")]).code, 137);
    assert_eq!((lab.state_of("web"), lab.events("web", "start").len()), ("errored".to_owned(), 2));
}

fn a_policy_counts_these_restarts_too(keeper: Keeper) {
    let lab = keeper.lab("illcount");
    let options = ["--restart", "on-failure:2", "--health-retries", "1", "--health-on-failure", "restart"];
    serve(keeper, &lab, "web", &options, &["ill"]);
    lab.until_event("web", "die", 3);
    assert_eq!(lab.kraft(["wait", &lab.name("web")]).code, 134);
    let shown = lab.ps("web");
    assert_eq!((&shown["state"], &shown["exit_reason"]), (&"errored".into(), &"unhealthy".into()));
    assert_eq!(lab.events("web", "start").len(), 3);
}

fn what_is_to_stay_down_stays_down(keeper: Keeper) {
    let lab = keeper.lab("illstop");
    let options = ["--restart", "always", "--health-retries", "1", "--health-on-failure", "stop"];
    let port = serve(keeper, &lab, "web", &options, &[]);
    becomes(&lab, "web", 1, "healthy");
    set(port, "ill");
    lab.until_event("web", "die", 1);
    assert_eq!(lab.kraft(["wait", &lab.name("web")]).code, 134);
    let shown = lab.ps("web");
    assert_eq!((&shown["state"], &shown["exit_reason"]), (&"errored".into(), &"unhealthy".into()));
    // It was asked to go, and did.
    assert!(lab.kraft(["logs", &lab.name("web")]).ok().contains("net: power button"));
    lab.kraft(["start", &lab.name("web")]).ok();
    lab.until_event("web", "start", 2);
}

fn a_guest_that_stands_still_is_not_tried(keeper: Keeper) {
    let lab = keeper.lab("still");
    let options = ["--health-timeout", "5s", "--health-retries", "1", "--health-on-failure", "restart"];
    serve(keeper, &lab, "web", &options, &[]);
    becomes(&lab, "web", 1, "healthy");
    lab.kraft(["pause", &lab.name("web")]).ok();
    let probes = || lab.inspect("web")["status"]["health"]["probes"].as_u64().unwrap();
    let before = probes();
    // Time for some more, if they came.
    for _ in 0..5 {
        assert_eq!((lab.state_of("web"), probes()), ("paused".to_owned(), before));
    }
    lab.kraft(["unpause", &lab.name("web")]).ok();
    until_change(&[lab.runtime().join(lab.name("web"))], "more probes", || probes() > before);
    assert_eq!((lab.events("web", "health").len(), lab.events("web", "start").len()), (1, 1));
}

fn a_frozen_vmm_is_restarted(keeper: Keeper) {
    let lab = keeper.lab("illfrozen");
    let options = [
        "--health-timeout",
        "2s",
        "--health-retries",
        "2",
        "--health-on-failure",
        "restart",
        "--stop-timeout",
        "100ms",
    ];
    serve(keeper, &lab, "web", &options, &[]);
    becomes(&lab, "web", 1, "healthy");
    kill(lab.ps("web")["vmm_pid"].as_u64().unwrap(), Signal::SIGSTOP);
    becomes(&lab, "web", 2, "unhealthy");
    becomes(&lab, "web", 3, "healthy");
    assert_eq!((lab.events("web", "start").len(), lab.events("web", "die").len()), (2, 1));
    assert_eq!(lab.events("web", "die")[0]["exit"]["reason"], "unhealthy");
}

#[test]
fn a_thousand_probes_add_nothing_to_the_journal() {
    let lab = Lab::new("thousand");
    serve(Keeper::Systemd, &lab, "web", &["--health-interval", "1ms"], &[]);
    becomes(&lab, "web", 1, "healthy");
    let unit = lab.unit("web");
    let before = journal(&lab, &["--unit", &unit]);
    until_change(&[lab.runtime().join(lab.name("web"))], "a thousand probes", || {
        lab.inspect("web")["status"]["health"]["probes"].as_u64() >= Some(1000)
    });
    assert_eq!(journal(&lab, &["--unit", &unit]), before);
    assert_eq!(lab.events("web", "health").len(), 1);
}
