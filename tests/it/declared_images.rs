//! Machine files that name images: applied, written by `kraft export`, and declared, where a start may fetch nothing.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::lab::{Lab, guest};
use crate::registry::Registry;

/// A directory of machine files in a world that has directories of its own.
fn directory(lab: &Lab, name: &str) -> PathBuf {
    let dir = lab.state().with_file_name(name);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn write(dir: &Path, machine: &str, text: &str) -> String {
    let path = dir.join(format!("{machine}.toml"));
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn apply(lab: &Lab, options: &[&str], dir: &Path) -> String {
    let dir = dir.to_str().unwrap();
    lab.kraft([&["apply"], options, &[dir]].concat()).ok().trim_end().to_owned()
}

/// An image of a guest, with this for its command.
fn build(lab: &Lab, name: &str, kernel: &str, command: &[&str]) {
    lab.kraft([&["pkg", "build", "-n", name, "-k", &guest(kernel), "--"], command].concat()).ok();
}

fn image_of(lab: &Lab, short: &str) -> Value {
    lab.inspect(short)["record"]["spec"]["image"].clone()
}

#[test]
fn a_file_may_name_an_image() {
    let lab = Lab::new("fileimage").with_store();
    let (dir, web) = (directory(&lab, "m"), lab.name("web"));
    let image = "fileimage/web:v1";
    let file = |more: &str| write(&dir, &web, &format!("image = \"{image}\"\naccel = \"tcg\"\n{more}"));
    build(&lab, image, "tiny", &["tick=100", "of-the-image"]);
    file("");
    assert_eq!(apply(&lab, &[], &dir), format!("created {web}"));
    lab.until_console("web", "tick=100 of-the-image");
    assert_eq!(image_of(&lab, "web")["reference"], format!("unikraft.org/{image}"));
    let pid = lab.property("web", "MainPID");
    assert_eq!(apply(&lab, &[], &dir), format!("unchanged {web}"));
    assert_eq!(lab.property("web", "MainPID"), pid);

    // Another image has its name.
    build(&lab, image, "tiny", &["tick=100", "another"]);
    assert_eq!(apply(&lab, &["--dry-run"], &dir), format!("changed {web}"));
    assert_eq!(apply(&lab, &[], &dir), format!("changed {web}"));
    lab.until_console("web", "tick=100 another");

    // None has it: the machine's own content is here as long as the machine is.
    lab.kraft(["pkg", "rm", image]).ok();
    lab.kraft(["pkg", "prune"]).ok();
    assert_eq!(apply(&lab, &[], &dir), format!("unchanged {web}"));
    file("args = [\"tick=100\", \"typed\"]\n");
    assert_eq!(apply(&lab, &["--pull", "never"], &dir), format!("changed {web}"));
    lab.until_console("web", "tick=100 typed");
    file("entrypoint = [\"tick=100\"]\nargs = [\"both\"]\n");
    assert_eq!(apply(&lab, &[], &dir), format!("changed {web}"));
    lab.until_console("web", "tick=100 both");
    lab.kraft(["rm", "-f", &web]).ok();
    let (error, hint) = lab.kraft(["apply", "--pull", "never", dir.to_str().unwrap()]).fails_with_hint(127);
    let place = dir.join(format!("{web}.toml"));
    assert_eq!(error, format!("{}:1:9: image unikraft.org/{image} is not here", place.display()));
    assert!(hint.contains("kraft pkg pull"), "{hint}");
    assert_eq!(apply(&lab, &["--dry-run"], &dir), format!("created {web}"));
}

#[test]
fn what_a_file_cannot_say_of_an_image_is_told_where_it_stands() {
    let lab = Lab::new("fileflaws").with_store();
    let (dir, web) = (directory(&lab, "m"), lab.name("web"));
    for (text, flaw) in [
        ("image = \"Web\"\n", ":1:9: bad image 'Web'"),
        ("image = \"oci:\"\n", ":1:9: bad image 'oci:'"),
        ("kernel = \"k\"\nimage = \"web\"\n", ":2:9: kernel and image exclude each other, and kernel is there, too: "),
        ("kernel = \"k\"\npull = \"always\"\n", ":2:8: pull goes with image"),
        ("kernel = \"k\"\nentrypoint = []\n", ":2:14: entrypoint goes with image"),
        ("image = \"web\"\npull = \"daily\"\n", ":2:8: pull: unknown time to pull 'daily'"),
    ] {
        let file = write(&dir, &web, text);
        let said = lab.kraft(["config", "check", &file]);
        assert_eq!(said.code, 1);
        assert!(said.out.starts_with(&format!("{file}{flaw}")), "{}", said.out);
        assert!(lab.kraft(["apply", dir.to_str().unwrap()]).fails(125).starts_with(&format!("{file}{flaw}")));
    }
    let file = write(&dir, &web, "image = \"web:%n\"\npull = \"never\"\n");
    lab.kraft(["config", "check", &file]).ok();
    let file = write(&dir, &web, "kernel = \"k\"\nrootfs = \"web:v1\"\npull = \"never\"\n");
    lab.kraft(["config", "check", &file]).ok();
}

#[test]
fn a_machine_of_an_image_becomes_a_file_and_the_file_the_same_machine() {
    let lab = Lab::new("fileexport").with_store();
    let (dir, web) = (directory(&lab, "m"), lab.name("web"));
    build(&lab, "fileexport/web", "tiny", &["tick=100", "of-the-image"]);
    lab.kraft(["run", "--systemd", "-d", "--name", &web, "-W", "-l", "a=b", "fileexport/web"]).ok();
    lab.until_console("web", "tick=100 of-the-image");
    let text = lab.kraft(["export", &web]).ok();
    let manifest = image_of(&lab, "web")["manifest"].as_str().unwrap().to_owned();
    let line = format!("image = \"unikraft.org/fileexport/web:latest@sha256:{manifest}\"\n");
    assert!(text.starts_with(&line) && !text.contains("kernel = ") && !text.contains("rootfs = "), "{text}");
    let before = lab.inspect("web");
    lab.kraft(["rm", "-f", &web]).ok();
    write(&dir, &web, &text);
    assert_eq!(apply(&lab, &[], &dir), format!("created {web}"));
    lab.until_console("web", "tick=100 of-the-image");
    assert_eq!(lab.kraft(["export", &web]).ok(), text);
    assert_eq!(apply(&lab, &[], &dir), format!("unchanged {web}"));
    let mut after = lab.inspect("web");
    for what in ["labels", "image"] {
        after["record"]["spec"][what] = before["record"]["spec"][what].clone();
    }
    assert_eq!(after["record"]["spec"], before["record"]["spec"]);
    // The same content by the same name, without its digest.
    write(&dir, &web, &text.replace(&format!("@sha256:{manifest}"), ""));
    assert_eq!(apply(&lab, &[], &dir), format!("unchanged {web}"));
    lab.kraft(["rm", "-f", &web]).ok();

    // A program is exported as its loader's image and itself.
    build(&lab, "fileexport/loader", "elfloader", &[]);
    let program = guest("show-static");
    let words = ["run", "--systemd", "-d", "--name", &web, "--elfloader", "fileexport/loader", &program, "a word"];
    lab.kraft(words).ok();
    lab.until_console("web", "argument [a word]");
    let text = lab.kraft(["export", &web]).ok();
    assert!(text.starts_with("image = \"unikraft.org/fileexport/loader:latest@sha256:"), "{text}");
    assert!(text.contains(&format!("rootfs = \"{program}\"\n")), "{text}");
    lab.kraft(["rm", "-f", &web]).ok();
    write(&dir, &web, &text);
    assert_eq!(apply(&lab, &[], &dir), format!("created {web}"));
    lab.until_console("web", "argument [a word]");
    assert_eq!(apply(&lab, &[], &dir), format!("unchanged {web}"));
}

#[test]
fn apply_fetches_what_is_missing_and_nothing_else() {
    if !Registry::is_installed() {
        crate::skip!("docker-registry is not installed");
    }
    let mut registry = Registry::start("filefetch");
    let lab = registry.trusted_by(Lab::new("filefetch")).with_store();
    registry.let_in(&lab).ok();
    let (dir, web) = (directory(&lab, "m"), lab.name("web"));
    let image = format!("{}/web:v1", registry.name);
    for (word, name) in [("first", "filefetch/first"), ("second", "filefetch/second")] {
        build(&lab, name, "tiny", &["tick=100", word]);
    }
    lab.kraft(["pkg", "push", "filefetch/first", &image]).ok();
    write(&dir, &web, &format!("image = \"{image}\"\naccel = \"tcg\"\n"));

    // To say what would be done is to fetch nothing.
    assert_eq!(apply(&lab, &["--dry-run"], &dir), format!("created {web}"));
    assert!(!lab.kraft(["pkg", "ls"]).ok().contains(&image));
    assert_eq!(apply(&lab, &[], &dir), format!("created {web}"));
    lab.until_console("web", "tick=100 first");
    let text = lab.kraft(["export", &web]).ok();

    // Another host has no more than the file, and the registry.
    let far = registry.trusted_by(Lab::new("filefar")).with_store();
    let (there, other) = (directory(&far, "m"), far.name("web"));
    write(&there, &other, &text);
    assert_eq!(apply(&far, &[], &there), format!("created {other}"));
    far.until_console("web", "tick=100 first");
    assert_eq!(far.kraft(["export", &other]).ok(), text);

    // The tag moves there, and here when that is asked for.
    lab.kraft(["pkg", "push", "filefetch/second", &image]).ok();
    assert_eq!(apply(&lab, &[], &dir), format!("unchanged {web}"));
    assert_eq!(apply(&lab, &["--pull", "always"], &dir), format!("changed {web}"));
    lab.until_console("web", "tick=100 second");
    write(&dir, &web, &format!("image = \"{image}\"\naccel = \"tcg\"\npull = \"always\"\n"));
    assert_eq!(apply(&lab, &[], &dir), format!("unchanged {web}"));
    registry.kill();
    let error = lab.kraft(["apply", dir.to_str().unwrap()]).fails(125);
    assert!(error.contains(":1:9: ") && error.contains(&format!("cannot pull {image}")), "{error}");
    assert_eq!(apply(&lab, &["--pull", "missing"], &dir), format!("unchanged {web}"));
    lab.kraft(["restart", &web]).ok();
    lab.until_console("web", "tick=100 second");
}

#[test]
fn a_declared_machine_is_made_of_what_is_in_the_store() {
    let lab = Lab::new("fileboot").with_store();
    let own = directory(&lab, "c");
    let lab = lab.with_env("KRAFT_CONFIG_DIR", own.to_str().unwrap());
    let (dir, web) = (directory(&lab, "c/machines"), lab.name("web"));
    let image = "fileboot/web";
    let file = write(&dir, &web, &format!("image = \"{image}\"\naccel = \"tcg\"\n[install]\n"));
    let units = lab.kraft(["config", "unit", &web]).ok();
    assert!(units.contains("web:latest") && units.contains("--declared"), "{units}");
    // What the unit does before all else. Nothing is fetched.
    let before_start = || lab.kraft(["--system", "runner", "--declared", &web]);
    let (error, hint) = before_start().fails_with_hint(127);
    assert_eq!(error, format!("{file}:1:9: image unikraft.org/{image}:latest is not here"));
    assert!(hint.contains("kraft pkg pull"), "{hint}");
    assert_eq!(lab.ps("web")["kernel"], format!("unikraft.org/{image}:latest"));

    build(&lab, image, "tiny", &["first"]);
    before_start().ok();
    let args = || lab.inspect("web")["record"]["spec"]["app_args"].clone();
    assert_eq!(args(), serde_json::json!(["first"]));
    let record = lab.inspect("web")["record"].clone();
    before_start().ok();
    assert_eq!(lab.inspect("web")["record"], record);
    // Its name stands for another one by the next start, and then for none.
    build(&lab, image, "tiny", &["second"]);
    before_start().ok();
    assert_eq!(args(), serde_json::json!(["second"]));
    lab.kraft(["pkg", "rm", image]).ok();
    let said = before_start();
    assert!(said.err.contains("is not there any more"), "{}", said.err);
    said.ok();
    write(&dir, &web, &format!("image = \"{image}\"\naccel = \"tcg\"\nmemory = \"32Mi\"\n[install]\n"));
    before_start().ok();
    let record = &lab.inspect("web")["record"]["spec"];
    assert_eq!((&record["memory"], &record["app_args"]), (&(32 << 20).into(), &serde_json::json!(["second"])));
    std::fs::remove_file(file).unwrap();
    lab.kraft(["rm", &web]).ok();
}
