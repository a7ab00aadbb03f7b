//! The generator as the service manager runs it: many files, and two of it at once.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FILES: usize = 60;

/// A directory of its own for a test, with machine files and the generator.
struct World(PathBuf);

impl World {
    fn new(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("kraft-generator-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("config/machines")).unwrap();
        std::fs::create_dir_all(dir.join("units")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kraft"), dir.join("kraft-generator")).unwrap();
        Self(dir)
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.0.join("config/machines").join(format!("{name}.toml")), text).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.0.join("kraft-generator"));
        let units = self.0.join("units");
        command.args([&units, &units, &units]).stdin(Stdio::null()).env_clear();
        command.env("KRAFT_CONFIG_DIR", self.0.join("config")).env("SYSTEMD_SCOPE", "system");
        command
    }

    /// Everything in the directory of units, links by where they lead.
    fn units(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        collect(&self.0.join("units"), "", &mut found);
        found
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn collect(dir: &Path, below: &str, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{below}{}", path.file_name().unwrap().to_str().unwrap());
        if let Ok(target) = std::fs::read_link(&path) {
            found.insert(name, format!("-> {}", target.display()));
        } else if path.is_dir() {
            collect(&path, &format!("{name}/"), found);
        } else {
            found.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn a_machine_is_its_units() {
    let world = World::new("one");
    world.file("web", "kernel = \"/srv/100%%.elf\"\n[unit]\nAfter = \"a-%i.service\"\n[install]\n");
    let output = world.command().output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let units = world.units();
    let names: Vec<&str> = units.keys().map(String::as_str).collect();
    assert_eq!(names, ["kraft-web.service", "kraft-web.slice", "multi-user.target.wants/kraft-web.service"]);
    assert_eq!(units["multi-user.target.wants/kraft-web.service"], "-> ../kraft-web.service");
    let service = &units["kraft-web.service"];
    for line in ["After=a-%i.service", "Description=web (unikernel, 100%%.elf)", "PropagatesStopTo=kraft-web.service"] {
        let unit = if line.starts_with("Prop") { &units["kraft-web.slice"] } else { service };
        assert!(unit.lines().any(|other| other == line), "{line}: {unit}");
    }
    // What runs is kraft, and not the generator once more.
    assert!(!service.contains("kraft-generator "), "{service}");
}

#[test]
fn what_is_wrong_becomes_a_stub_and_keeps_nobody_from_his_units() {
    let world = World::new("wrong");
    world.file("good", "kernel = \"/k\"\n");
    world.file("bad", "kernel = \"/k\"\nmemry = 1\n");
    world.file("Bad Name", "kernel = \"/k\"\n");
    let output = world.command().output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("bad.toml:2:1: unknown key 'memry'") && said.contains("Bad Name.toml"), "{said}");
    let units = world.units();
    assert!(units.contains_key("kraft-good.service") && !units["kraft-good.service"].contains("--broken"));
    assert!(units["kraft-bad.service"].contains("--broken") && units["kraft-bad.service"].contains("bad.toml:2:1"));
    assert!(units.contains_key("multi-user.target.wants/kraft-bad.service"));
}

#[test]
fn two_at_once_leave_whole_units() {
    let world = World::new("two");
    for number in 0..FILES {
        world.file(&format!("m{number}"), &format!("kernel = \"/srv/{number}.elf\"\n[install]\n"));
    }
    assert!(world.command().status().unwrap().success());
    let alone = world.units();
    assert_eq!(alone.len(), 3 * FILES);
    for _ in 0..3 {
        let mut runs: Vec<_> = (0..3).map(|_| world.command().spawn().unwrap()).collect();
        // A reader at any moment sees whole files.
        while runs.iter_mut().any(|run| run.try_wait().unwrap().is_none()) {
            for unit in ["kraft-m0.service", "kraft-m59.service"] {
                assert_eq!(std::fs::read_to_string(world.0.join("units").join(unit)).unwrap(), alone[unit]);
            }
        }
        assert!(runs.into_iter().all(|mut run| run.wait().unwrap().success()));
        assert_eq!(world.units(), alone);
    }
}
