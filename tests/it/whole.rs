//! Arguments and variables arrive whole, whoever says them: an image, a Kraftfile, a machine file, a compose file.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::keeper::{Keeper, under_both};
use crate::lab::{Lab, guest};

under_both! {
    what_an_image_and_files_say_arrives_whole,
}

const WORDS: [&str; 6] = ["/bin/show", "one two", "it's", "a=\"b\\c\"", "--", "$x"];
const A: &str = "b=c 'd' \"e\"";
const B: &str = "one\ntwo=";

#[track_caller]
fn arrived(lab: &Lab, short: &str) {
    let console = lab.until_console(short, "show: done");
    let begin = console.iter().position(|line| line.contains("argument [")).expect("it was given nothing");
    let shown: Vec<&str> = console[begin..].iter().map(|line| line.trim_end()).collect();
    let wanted = [
        "argument [show]",
        "argument [one two]",
        "argument [it's]",
        "argument [a=\"b\\c\"]",
        "argument [--]",
        "argument [$x]",
        "variable [A=b=c 'd' \"e\"]",
        "variable [B=one",
        "two=]",
        "directory [/]",
        "show: done",
    ];
    assert_eq!(shown, wanted, "{short}");
    lab.kraft(["rm", "--force", &lab.name(short)]).ok();
}

fn what_an_image_and_files_say_arrives_whole(keeper: Keeper) {
    let lab = keeper.lab("sayall").with_store();
    let dir = lab.state().parent().unwrap().join("files");
    let (root, project) = (dir.join("root"), dir.join("project"));
    for dir in [&root.join("bin"), &project] {
        fs::create_dir_all(dir).unwrap();
    }
    fs::copy(guest("show-static"), root.join("bin/show")).unwrap();
    let (image, a, b) = ("whole.test/show:1", format!("A={A}"), format!("B={B}"));
    let kernel = guest("elfloader");
    let mut build = vec!["pkg", "-n", image, "-k", &kernel, "--rootfs", root.to_str().unwrap(), "-e", &a, "-e", &b];
    build.push("--");
    build.extend(WORDS);
    lab.kraft(build).ok();
    let run = |short: &str, what: &str| {
        let name = lab.name(short);
        let mut args = vec!["run", "-d", "--pull", "never", "--name", &name];
        args.extend(keeper.has_units().then_some("--systemd"));
        args.push(what);
        lab.kraft(args)
    };
    run("image", image).ok();
    arrived(&lab, "image");

    // JSON is YAML, too. A dollar sign is a variable's in both files.
    let words = WORDS.map(|word| word.replace('$', "$$"));
    let env = json!({"A": A, "B": B});
    let kraftfile = |words: &[String]| {
        let file = json!({"spec": "v0.6", "name": "p", "runtime": image, "cmd": words, "env": env});
        fs::write(project.join("Kraftfile"), file.to_string()).unwrap();
        project.to_str().unwrap().to_owned()
    };
    run("project", &kraftfile(&words)).ok();
    arrived(&lab, "project");
    let broken = kraftfile(&["/bin/show".into(), "one\ntwo".into()]);
    assert!(run("project", &broken).fails(125).contains("bad argument 'one\\ntwo'"));

    let file = dir.join("compose.yaml");
    let service = json!({"image": image, "command": words, "environment": env, "network_mode": "none",
                         "container_name": lab.name("service")});
    fs::write(&file, json!({"name": "sayall", "services": {"service": service}}).to_string()).unwrap();
    let compose = |verb: &[&str]| {
        let first = ["compose", "-f", file.to_str().unwrap()];
        lab.kraft(first.iter().chain(verb))
    };
    let systemd: &[&str] = if keeper.has_units() { &["--systemd"] } else { &[] };
    compose(&[&["up", "-d"], systemd].concat()).ok();
    arrived(&lab, "service");
    compose(&["down"]).ok();

    if keeper.has_units() {
        let dir = dir.join("machines");
        fs::create_dir(&dir).unwrap();
        by_machine_file(&lab, &dir, root.join("bin/show").to_str().unwrap());
    }
}

fn by_machine_file(lab: &Lab, dir: &Path, program: &str) {
    let mut args = vec![program];
    args.extend(&WORDS[1..]);
    let keys = json!({"kernel": guest("elfloader-share"), "rootfs": program, "args": args, "env": {"A": A, "B": B}});
    let text: toml::Table = serde_json::from_value(keys).unwrap();
    fs::write(dir.join(format!("{}.toml", lab.name("file"))), text.to_string()).unwrap();
    lab.kraft(["apply", dir.to_str().unwrap()]).ok();
    lab.kraft(["start", &lab.name("file")]).ok();
    arrived(lab, "file");
}
