//! Machine files: what is wrong in them, what they amount to, machines made of them and files made of machines.

use std::path::{Path, PathBuf};

use crate::lab::{Lab, Who, guest};

/// A directory of machine files in a world that has directories of its own.
fn directory(lab: &Lab, name: &str) -> PathBuf {
    let dir = lab.state().with_file_name(name);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn write(dir: &Path, machine: &str, text: &str) -> PathBuf {
    let path = dir.join(format!("{machine}.toml"));
    std::fs::write(&path, text).unwrap();
    path
}

fn tiny(more: &str) -> String {
    format!("kernel = \"{}\"\nkernel-args = [\"tick=100\"]\naccel = \"tcg\"\n{more}", guest("tiny"))
}

fn apply(lab: &Lab, options: &[&str], dir: &Path) -> Vec<String> {
    let said = lab.kraft(["apply"].into_iter().chain(options.iter().copied()).chain([dir.to_str().unwrap()])).ok();
    said.lines().map(str::to_owned).collect()
}

#[test]
fn check_shows_every_flaw_by_line_and_column() {
    let lab = Lab::new("check").with_store();
    let dir = directory(&lab, "m");
    let good = write(&dir, "good", "extends = \"base@\"\n[env]\nA = \"%n\"\n");
    write(&dir, "base@", "kernel = \"web.elf\"\n");
    lab.kraft(["config", "check", good.to_str().unwrap(), dir.join("base@.toml").to_str().unwrap()]).ok();
    let text = "kernel = \"k\"\nmemry = \"64Mi\"\nports = [\"80\"]\nproperties = [\"KillMode=none\"]\n[service]\n\
                ExecStart = \"/bin/true\"\n";
    let bad = write(&dir, "bad", text);
    let bad = bad.to_str().unwrap();
    let said = lab.kraft(["config", "check", good.to_str().unwrap(), bad]);
    assert_eq!((said.code, &*said.err), (1, ""), "{}", said.out);
    assert!(said.out.contains(&format!("{bad}:2:1: unknown key 'memry': did you mean memory?\n")), "{}", said.out);
    assert!(said.out.contains(&format!("{bad}:3:10: ports: bad port '80'")), "{}", said.out);
    let known = write(&dir, "bad", &text.replace("memry", "memory").replace("\"80\"", "\"80:80\""));
    let said = lab.kraft(["config", "check", known.to_str().unwrap()]);
    assert!(said.out.contains(&format!("{bad}:4:14: bad unit property 'KillMode=none'")), "{}", said.out);
    assert!(said.out.contains(&format!("{bad}:6:13: bad unit property 'ExecStart=/bin/true'")), "{}", said.out);
    let broken = write(&dir, "broken", "kernel = \n");
    let said = lab.kraft(["config", "check", broken.to_str().unwrap()]);
    assert!(said.out.starts_with(&format!("{}:1:", broken.display())), "{}", said.out);
}

#[test]
fn files_are_shown_as_one_and_as_units_that_systemd_takes() {
    let lab = Lab::new("shown").with_store();
    let own = directory(&lab, "c");
    let lab = lab.with_env("KRAFT_CONFIG_DIR", own.to_str().unwrap());
    let dir = directory(&lab, "c/machines");
    let (template, name) = (lab.name("web@"), lab.name("web@7"));
    write(&dir, &template, &tiny("memory = \"32Mi\"\n[env]\nWHO = \"%n\"\n[unit]\nAfter = \"x@%i.service\"\n"));
    std::fs::create_dir(dir.join(format!("{template}.toml.d"))).unwrap();
    write(&dir.join(format!("{template}.toml.d")), "10", "memory = \"48Mi\"\n[service]\nNice = 5\n");
    let shown = lab.kraft(["config", "show", &name]).ok();
    assert!(shown.contains("memory = \"48Mi\"\n") && !shown.contains("32Mi"), "{shown}");
    assert!(shown.contains(&format!("WHO = \"{name}\"\n")), "{shown}");
    assert!(shown.contains(&format!("/{template}.toml.d/10.toml\n")), "{shown}");

    let units = lab.kraft(["config", "unit", &name]).ok();
    assert!(units.contains("After=x@%i.service\n") && units.contains("Nice=5\n"), "{units}");
    verify(&lab, &units, &name);
    assert!(lab.kraft(["config", "unit", &lab.name("no")]).fails(127).contains("no machine file"));

    lab.run_tiny("run", &["--property", "Nice=3"], &[]);
    let units = lab.kraft(["config", "unit", &lab.name("run")]).ok();
    assert!(units.contains("Nice=3\n"), "{units}");
    verify(&lab, &units, &lab.name("run"));
    lab.start_tiny("local", false, &[], &[]).ok();
    assert!(lab.kraft(["config", "unit", &lab.name("local")]).fails(125).contains("has no unit"));
}

/// Has systemd read the units that were printed.
#[track_caller]
fn verify(lab: &Lab, units: &str, name: &str) {
    let dir = directory(lab, "u");
    let mut service = None;
    let mut file = PathBuf::new();
    for line in units.lines() {
        if let Some(unit) = line.strip_prefix("# ").filter(|unit| unit.starts_with("kraft")) {
            file = dir.join(unit);
            std::fs::write(&file, "").unwrap();
            if unit == format!("kraft-{name}.service") {
                service = Some(file.clone());
            }
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}{line}\n")).unwrap();
    }
    let service = service.expect("there is a service");
    let said = lab.call("systemd-analyze", ["verify", "--man=no", service.to_str().unwrap()]);
    let complaints: Vec<&str> = said.err.lines().filter(|line| line.contains("kraft-")).collect();
    assert!(complaints.is_empty(), "{complaints:?}\n{units}");
    assert_eq!(said.code, 0, "{}", said.err);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_machine_becomes_a_file_and_the_file_the_same_machine() {
    let lab = Lab::new("export").with_store();
    let net = lab.name("net");
    lab.kraft(["net", "create", &net]).ok();
    let options = [
        "-M",
        "48Mi",
        "-e",
        "A=100%",
        "--dialect",
        "linux",
        "-l",
        "tier=front",
        "--stop-timeout",
        "3s",
        "--restart",
        "on-failure:2",
        "--network",
        &net,
        "--property",
        "Nice=5",
        "-W",
    ];
    lab.run_tiny("web", &options, &["tick=100"]);
    let name = lab.name("web");
    let text = lab.kraft(["export", &name]).ok();
    let before = lab.inspect("web");
    lab.kraft(["rm", "-f", &name]).ok();
    let dir = directory(&lab, "m");
    write(&dir, &name, &text);
    assert_eq!(apply(&lab, &[], &dir), [format!("created {name}")]);
    assert_eq!(lab.kraft(["export", &name]).ok(), text);
    let mut after = lab.inspect("web");
    assert_eq!(lab.state_of("web"), "running");
    assert_eq!(after["record"]["spec"]["networks"], before["record"]["spec"]["networks"]);
    after["record"]["spec"]["labels"] = before["record"]["spec"]["labels"].clone();
    assert_eq!(after["record"]["spec"], before["record"]["spec"]);
    lab.kraft(["rm", "-f", &name]).ok();
}

#[test]
fn apply_changes_what_differs_and_nothing_else() {
    let lab = Lab::new("apply").with_store();
    let dir = directory(&lab, "m");
    let [a, b, c] = ["a", "b", "c"].map(|short| lab.name(short));
    let said = |action: &str, name: &str| format!("{action} {name}");
    write(&dir, &a, &tiny(""));
    write(&dir, &b, &tiny("memory = \"32Mi\"\n"));
    assert_eq!(apply(&lab, &["--dry-run"], &dir), [said("created", &a), said("created", &b)]);
    assert_eq!(lab.state_of("a"), "absent");
    assert_eq!(apply(&lab, &[], &dir), [said("created", &a), said("created", &b)]);
    let pids = ["a", "b"].map(|short| lab.property(short, "MainPID"));
    assert_eq!(apply(&lab, &[], &dir), [said("unchanged", &a), said("unchanged", &b)]);

    write(&dir, &b, &tiny("memory = \"48Mi\"\n"));
    write(&dir, &c, &tiny(""));
    let all = [said("unchanged", &a), said("changed", &b), said("created", &c)];
    assert_eq!(apply(&lab, &["--dry-run"], &dir), all);
    assert_eq!(lab.property("b", "MainPID"), pids[1]);
    let mut done = apply(&lab, &[], &dir);
    done.sort();
    assert_eq!(done, [said("changed", &b), said("created", &c), said("unchanged", &a)]);
    assert_eq!(lab.property("a", "MainPID"), pids[0]);
    assert_eq!((lab.state_of("b"), lab.ps("b")["memory"].as_u64()), ("running".into(), Some(48 << 20)));

    // A stopped machine stays down, and a file that is gone takes its machine along only where that is asked for.
    lab.kraft(["stop", &b]).ok();
    write(&dir, &b, &tiny("memory = \"64Mi\"\n"));
    std::fs::remove_file(dir.join(format!("{c}.toml"))).unwrap();
    lab.run_tiny("own", &[], &[]);
    assert_eq!(apply(&lab, &[], &dir), [said("unchanged", &a), said("changed", &b)]);
    assert_eq!((lab.state_of("b"), lab.state_of("c")), ("created".into(), "running".into()));
    let pruned = [said("removed", &c), said("unchanged", &a), said("unchanged", &b)];
    assert_eq!(apply(&lab, &["--prune", "--dry-run"], &dir), pruned);
    assert_eq!(apply(&lab, &["--prune"], &dir), pruned);
    assert_eq!((lab.state_of("c"), lab.state_of("own")), ("absent".into(), "running".into()));
    assert_eq!(lab.property("a", "MainPID"), pids[0]);
}

#[test]
fn apply_does_nothing_where_a_file_is_wrong() {
    let lab = Lab::new("refuse").with_store();
    let dir = directory(&lab, "m");
    let [good, bad, own] = ["good", "bad", "own"].map(|short| lab.name(short));
    write(&dir, &good, &tiny(""));
    let text = dir.to_str().unwrap();
    write(&dir, &bad, &tiny("memory = \"1\"\n"));
    assert!(lab.kraft(["apply", text]).fails(125).contains("bad memory 1"));
    write(&dir, &bad, &tiny("[unit]\nAfter = \"x@%i.service\"\n"));
    let (error, _) = lab.kraft(["apply", text]).fails_with_hint(125);
    assert!(error.contains(&format!("{bad}.toml:5:9: After=x@%i.service has a specifier")), "{error}");
    write(&dir, &bad, &tiny("[env]\nA = \"1\"\n"));
    assert!(lab.kraft(["apply", text]).fails(125).contains("cannot give an environment"));
    write(&dir, &bad, "kernel = \"no.elf\"\n");
    let error = lab.kraft(["apply", text]).fails(127);
    assert!(error.contains(&format!("{bad}.toml")) && error.contains("kernel not found"), "{error}");
    std::fs::remove_file(dir.join(format!("{bad}.toml"))).unwrap();
    lab.run_tiny("own", &[], &[]);
    write(&dir, &own, &tiny(""));
    assert!(lab.kraft(["apply", text]).fails(125).contains("exists already"));
    assert_eq!(lab.state_of("good"), "absent");
    assert!(lab.kraft(["apply", &format!("{text}/no")]).fails(127).contains("no such directory"));
}

#[test]
fn an_instance_is_a_machine_by_its_whole_name() {
    let lab = Lab::of("instance", Who::Root).with_store();
    let dir = directory(&lab, "m");
    write(&dir, &lab.name("web@"), &tiny("[labels]\nn = \"%i\"\n"));
    for short in ["web@1", "web@2"] {
        let (template, link) = (format!("{}.toml", lab.name("web@")), dir.join(format!("{}.toml", lab.name(short))));
        std::os::unix::fs::symlink(template, link).unwrap();
    }
    let [one, two] = ["web@1", "web@2"].map(|short| lab.name(short));
    assert_eq!(apply(&lab, &[], &dir), [format!("created {one}"), format!("created {two}")]);
    let unit = lab.unit("web@1");
    lab.systemctl(["stop", &unit]).ok();
    assert_eq!((lab.state_of("web@1"), lab.state_of("web@2")), ("exited".into(), "running".into()));
    lab.systemctl(["start", &format!("kraft-{one}")]).ok();
    assert_eq!(lab.state_of("web@1"), "running");
    assert_eq!(lab.inspect("web@2")["record"]["spec"]["labels"]["n"], "2");
    lab.systemctl(["restart", &unit]).ok();
    lab.kraft(["rm", "-f", &one, &two]).ok();
    assert_eq!(lab.leaks(), Vec::<String>::new());
}
