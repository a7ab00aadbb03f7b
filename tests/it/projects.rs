//! What `kraft run` takes its argument for: kernels, projects, and what is none.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::keeper::{Keeper, everywhere};
use crate::lab::{DEADLINE, Lab, Said, finish, guest, kraft};

everywhere! {
    a_project_runs_in_its_directory,
    a_project_runs_by_its_path,
}

const KRAFTFILE: &str = "\
spec: v0.6
name: app
unikraft: stable
targets:
  - fc/x86_64
  - qemu/x86_64
cmd: [tick, by-file]
labels:
  made: by-file
  from: file
";

/// A directory with a project in it, whose kernel is the tiny guest.
struct Project(PathBuf);

impl Project {
    fn new(lab: &Lab, kraftfile: &str) -> Self {
        let dir = PathBuf::from(format!("/tmp/{}", lab.name("project")));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join(".unikraft/build")).unwrap();
        fs::write(dir.join("Kraftfile"), kraftfile).unwrap();
        fs::copy(guest("tiny"), kernel(&dir)).unwrap();
        Self(dir)
    }
}

impl std::ops::Deref for Project {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn kernel(dir: &Path) -> PathBuf {
    dir.join(".unikraft/build/app_qemu-x86_64")
}

/// kraft in a directory.
fn kraft_in(lab: &Lab, dir: &Path, args: &[&str]) -> Said {
    let mut command = lab.command(kraft(), args);
    command.current_dir(dir);
    finish(command, DEADLINE)
}

fn a_project_runs_in_its_directory(keeper: Keeper) {
    let lab = keeper.lab("projectin");
    let dir = Project::new(&lab, KRAFTFILE);
    let name = lab.name("web");
    let systemd = if keeper.has_units() { &["--systemd"][..] } else { &[] };
    let run = |options: &[&str]| kraft_in(&lab, &dir, &[&["run"], systemd, &["-d", "--name", &name], options].concat());
    run(&["-l", "made=by-hand"]).ok();
    lab.until_console("web", "tiny: tick by-file");
    let spec = &lab.inspect("web")["record"]["spec"];
    assert_eq!(spec["app_args"], serde_json::json!(["tick", "by-file"]));
    assert_eq!(spec["labels"], serde_json::json!({"from": "file", "made": "by-hand"}));
    lab.kraft(["rm", "--force", &name]).ok();
    // What is typed goes first.
    run(&["--", "tick", "typed"]).ok();
    lab.until_console("web", "tiny: tick typed");
    lab.kraft(["rm", "--force", &name]).ok();
    // With an argument, that is what is run, also here.
    run(&[&guest("tiny"), "halt"]).ok();
    lab.until_console("web", "tiny: halt");
    lab.kraft(["rm", "--force", &name]).ok();
}

fn a_project_runs_by_its_path(keeper: Keeper) {
    let lab = keeper.lab("projectat");
    let dir = Project::new(&lab, &KRAFTFILE.replace("tick, ", ""));
    let (name, path) = (lab.name("web"), dir.to_str().unwrap());
    let run = |options: &[&str]| {
        lab.kraft(keeper.attached(&[&["--rm", "--name", &name], options].concat(), path, &["poweroff"])).ok()
    };
    run(&[]);
    run(&["-t", "qemu/x86_64"]);
    run(&["-t", "kvm"]);
    run(&["--as", "project"]);
    // Another of the directory's Kraftfiles, with another kernel.
    let other = dir.join("other.yaml");
    fs::copy(guest("tiny32"), dir.join("loader")).unwrap();
    fs::write(&other, "spec: v0.6\nruntime: kernel://loader\ncmd: ['${WHAT:-of default}']\n").unwrap();
    let other = ["-K", other.to_str().unwrap()];
    run(&other);
    let kraft = kraft();
    let words = [&["WHAT=of me", kraft.to_str().unwrap(), "run", "--explain"], &other[..], &[path]].concat();
    let explain = lab.call("env", words).ok();
    assert!(explain.lines().any(|line| line == "arg          of me"), "{explain}");
}

#[test]
fn an_explanation_runs_nothing() {
    let lab = Lab::new("explain").with_store();
    let dir = Project::new(&lab, &format!("{KRAFTFILE}noodles: 1\n"));
    let before = lab.kraft(["ps", "-a", "-o", "json"]).ok();
    let said = kraft_in(&lab, &dir, &["run", "--explain", "-e", "A=b c"]).ok();
    let expected = "\
project      yes  ./Kraftfile is its Kraftfile
kernel       .unikraft/build/app_qemu-x86_64
arch         x86_64
arg          tick
arg          by-file
env          A=b c
label        from=file
label        made=by-file
note         ./Kraftfile:11:1: noodles: no such key
";
    assert_eq!(said, expected);
    let tiny = guest("tiny");
    let said = kraft_in(&lab, &dir, &["run", "--explain", "-o", "json", &tiny, "a", "--", "b"]).ok();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["tried"][0]["why"], format!("{tiny} is one, for x86_64"));
    let words = (&said["what"], &said["kernel"], &said["kernel_args"][0], &said["args"][0]);
    assert_eq!(words, (&"kernel".into(), &tiny.into(), &"a".into(), &"b".into()));
    // In a project's directory, too, a name is an image's.
    let said = kraft_in(&lab, &dir, &["run", "--explain", "-o", "json", "unikraft.org/nginx:1.15"]);
    let said: Value = serde_json::from_str(&said.out).unwrap();
    let tried: Vec<_> = said["tried"].as_array().unwrap().iter().map(|one| (&one["what"], &one["is_it"])).collect();
    let order = [("kernel", false), ("binary", false), ("project", false), ("oci", true)];
    assert_eq!(
        tried,
        order.map(|(what, is_it)| (Value::from(what), Value::from(is_it))).each_ref().map(|(a, b)| (a, b))
    );
    let program = kraft();
    let said = lab.kraft(["run", "--explain", program.to_str().unwrap()]);
    assert!(
        said.out.contains(&format!("binary       yes  {} is a program for Linux", program.display())),
        "{}",
        said.out
    );
    assert_eq!(lab.kraft(["ps", "-a", "-o", "json"]).ok(), before);
}

#[test]
fn what_cannot_be_run_is_told() {
    let lab = Lab::new("norun").with_store();
    let dir = Project::new(&lab, KRAFTFILE);
    let run = |args: &[&str]| kraft_in(&lab, &dir, &[&["run", "-d"], args].concat());
    let file = dir.join("Kraftfile");
    let known = "there are fc/x86_64, qemu/x86_64";
    assert_eq!(run(&["-t", "no"]).fails(125), format!("./Kraftfile: no target 'no': {known}"));
    let error = run(&["-t", "fc/x86_64"]).fails(125);
    assert_eq!(error, format!("./Kraftfile: target 'fc/x86_64' is not for qemu: {known}"));
    fs::write(&file, "spec: v0.6\nruntime: x\nvolumes:\n  - a:/a\n  - b:c:d:e\n").unwrap();
    let error = run(&[]).fails(125);
    assert!(error.starts_with("./Kraftfile:5:5: volumes[1]: bad volume 'b:c:d:e'"), "{error}");
    fs::write(&file, "spec: v0.6\nruntime: [\n").unwrap();
    assert!(run(&[]).fails(125).starts_with("./Kraftfile:3:1: "));
    fs::write(&file, KRAFTFILE).unwrap();
    fs::remove_file(kernel(&dir)).unwrap();
    let (error, hint) = run(&[]).fails_with_hint(127);
    let missing = ".unikraft/build/app_qemu-x86_64";
    assert!(error.contains(&format!("project app is not built for qemu/x86_64: there is no {missing}")), "{error}");
    assert!(hint.contains("kraft build --plat qemu --arch x86_64"), "{hint}");
    fs::remove_file(&file).unwrap();
    let (error, hint) = run(&[]).fails_with_hint(125);
    assert!(error.contains(". has no Kraftfile (kraft.yaml, "), "{error}");
    assert!(hint.contains("`kraft run WHAT`"), "{hint}");
    let (_, hint) = run(&["."]).fails_with_hint(125);
    assert!(hint.contains("--as oci"), "{hint}");
    assert_eq!(run(&["./missing.elf"]).fails(127), "kernel not found: ./missing.elf");
    assert_eq!(lab.kraft(["ps", "-a", "-q"]).ok(), "");
}
