//! Programs for Linux on a loader: what they are given arrives whole, and what cannot be is refused by name.

use std::fs;
use std::path::Path;

use crate::keeper::{Keeper, everywhere};
use crate::lab::{Lab, Said, guest};

everywhere! {
    what_a_program_is_given_arrives_whole,
    a_program_stays_with_its_machine,
    a_root_by_9p_is_the_machine_s_own,
}

/// `kraft run -d` of a program.
fn start(lab: &Lab, short: &str, systemd: bool, loader: &str, options: &[&str], program: &[&str]) -> Said {
    let name = lab.name(short);
    let loader = if loader.starts_with('/') { loader.to_owned() } else { guest(loader) };
    let mut args = vec!["run", "-d", "--name", &name, "--elfloader", &loader];
    args.extend(systemd.then_some("--systemd"));
    args.extend(options);
    args.extend(program);
    lab.kraft(args)
}

/// What the program showed, line by line, from its first argument on.
#[track_caller]
fn shown(lab: &Lab, short: &str) -> Vec<String> {
    let lines = lab.until_console(short, "show: done");
    let begin = lines.iter().position(|line| line.contains("argument [")).unwrap_or(0);
    lines[begin..].iter().map(|line| line.trim_end().to_owned()).collect()
}

fn what_a_program_is_given_arrives_whole(keeper: Keeper) {
    let lab = keeper.lab("arrive");
    let systemd = keeper.has_units();
    let options = ["-e", "A=b=c \"d\" 'e'", "-e", "B=one\ntwo", "-e", "C=\\", "--workdir", "/srv/here"];
    let arguments = ["two words", "--", "it's \"so\"", "a=b", "-x", "--", "\\", "à[]"];
    let variables = ["variable [A=b=c \"d\" 'e']", "variable [B=one", "two]", "variable [C=\\]"];
    for (short, loader, program) in [
        ("static", "elfloader", "show-static"),
        ("dynamic", "elfloader", "show"),
        ("share-static", "elfloader-share", "show-static"),
        ("share-dynamic", "elfloader-share", "show"),
    ] {
        let program = guest(program);
        let words = [&[&*program], &arguments[..]].concat();
        start(&lab, short, systemd, loader, &options, &words).ok();
        let lines = shown(&lab, short);
        let name = Path::new(&program).file_name().unwrap().to_str().unwrap();
        // The first `--` is kraft's.
        let words = [name, "two words", "it's \"so\"", "a=b", "-x", "--", "\\", "à[]"];
        let wanted: Vec<String> = words.iter().map(|word| format!("argument [{word}]")).collect();
        assert_eq!(lines[..wanted.len()], wanted, "{lines:#?}");
        let rest: Vec<&str> = lines[wanted.len()..].iter().map(String::as_str).collect();
        let wanted = [&variables[..], &["variable [PWD=/srv/here]", "directory [/srv/here]", "show: done"]].concat();
        assert_eq!(rest, wanted);
        let spec = &lab.inspect(short)["record"]["spec"];
        assert_eq!((&spec["rootfs"], &spec["kernel"]["given"]), (&program.into(), &guest(loader).into()));
        lab.kraft(["rm", "--force", &lab.name(short)]).ok();
    }
    // The loader that has no file system gets the program itself, and all words for it.
    let program = guest("show-static");
    let options = ["-e", "A=b=c \"d\" 'e'", "-e", "STATUS=3"];
    start(&lab, "whole", systemd, "elfloader-whole", &options, &[&program, "--", "two words", "--"]).ok();
    let lines = shown(&lab, "whole");
    assert_eq!(lines[1..3], ["argument [two words]", "argument [--]"], "{lines:#?}");
    assert_eq!(lines[3..5], ["variable [A=b=c \"d\" 'e']", "variable [STATUS=3]"], "{lines:#?}");
    assert_eq!(lab.until_event("whole", "die", 1)["exit"]["code"], 3);
    // A library beside the program, which has to know where it is.
    for (short, loader) in [("origin", "elfloader"), ("share-origin", "elfloader-share")] {
        start(&lab, short, systemd, loader, &[], &[&guest("app/bin/show")]).ok();
        assert!(shown(&lab, short).contains(&"library [hello]".to_owned()));
    }
}

/// Its source and its loader go away, and it is started again: by its manager, and by hand.
fn a_program_stays_with_its_machine(keeper: Keeper) {
    let lab = keeper.lab("stay");
    let dir = Path::new("/tmp/it").join(lab.name("source"));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    let program = dir.join("show");
    fs::copy(guest("show"), &program).unwrap();
    let loader = dir.join("loader");
    fs::copy(guest("elfloader"), &loader).unwrap();
    let options = ["--restart", "on-failure:1", "-e", "STATUS=3"];
    let (loader, words) = (loader.to_str().unwrap(), [program.to_str().unwrap(), "--", "again"]);
    start(&lab, "web", keeper.has_units(), loader, &options, &words).ok();
    fs::remove_dir_all(&dir).unwrap();
    assert_eq!(lab.until_event("web", "die", 1)["exit"]["code"], 3);
    assert_eq!(lab.kraft(["wait", &lab.name("web")]).code, 3);
    assert_eq!(lab.events("web", "die").len(), 2);
    lab.kraft(["start", &lab.name("web")]).ok();
    let count = std::cell::Cell::new(0);
    let logs = lab.command(crate::lab::kraft(), ["logs", "-f", &lab.name("web")]);
    lab.until_line(logs, "the third life's argument", |line| {
        count.set(count.get() + u32::from(line.contains("argument [again]")));
        count.get() == 3
    });
}

/// A loader that mounts its root by 9P gets a directory that kraft makes of the program and its libraries.
fn a_root_by_9p_is_the_machine_s_own(keeper: Keeper) {
    let lab = keeper.lab("root9p");
    let dir = Path::new("/tmp/it").join(lab.name("source"));
    let _ = fs::remove_dir_all(&dir);
    for below in ["bin", "lib"] {
        fs::create_dir_all(dir.join(below)).unwrap();
    }
    let library = dir.join("lib/libgreeting.so.1");
    let program = dir.join("bin/show");
    fs::copy(guest("app/lib/libgreeting.so.1"), &library).unwrap();
    fs::copy(guest("app/bin/show"), &program).unwrap();
    let name = lab.name("web");
    let words = [program.to_str().unwrap(), "--", "again"];
    start(&lab, "web", keeper.has_units(), "elfloader-share", &["-e", "STATUS=3", "--workdir", "/srv"], &words).ok();
    lab.until_event("web", "die", 1);
    // Written anew in its place, and the program gone: the machine has its own.
    fs::write(&library, "no library").unwrap();
    fs::remove_file(&program).unwrap();
    lab.kraft(["start", &name]).ok();
    assert_eq!(lab.until_event("web", "die", 2)["exit"]["code"], 3);
    let console = lab.kraft(["logs", &name]).ok();
    assert_eq!(console.matches("library [hello]").count(), 2, "{console}");
    let spec = &lab.inspect("web")["record"]["spec"];
    let root = lab.state().join("machines").join(&name).join("root");
    assert_eq!(spec["volumes"][0]["source"], root.to_str().unwrap());
    assert_eq!((&spec["rootfs"], &spec["initrd"]), (&words[0].into(), &serde_json::Value::Null));
    // It is nothing that anybody asked for: not shown, not written into a file, and no reason for another sandbox.
    assert_eq!(lab.ps("web")["volumes"], serde_json::json!([]));
    assert!(!lab.kraft(["export", &name]).ok().contains("volumes"));
    if keeper == Keeper::Systemd {
        assert_eq!(spec["sandbox"], "strict");
        assert_eq!(lab.property("web", "DynamicUser"), "yes");
    }
    let (error, hint) = {
        let at = format!("{}:/", dir.display());
        let program = guest("show");
        start(&lab, "taken", keeper.has_units(), "elfloader-share", &["-v", &at], &[&program]).fails_with_hint(125)
    };
    assert!(error.contains("has the program and its libraries at /"), "{error}");
    assert!(hint.contains("--rootfs"), "{hint}");
    assert!(root.join("srv").is_dir());
    lab.kraft(["rm", &name]).ok();
    assert!(!root.exists());
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn what_cannot_run_on_a_loader_is_refused_by_name() {
    let lab = Lab::new("progrefused").with_store();
    let refused = |loader: &str, options: &[&str], program: &[&str]| {
        let said = start(&lab, "m", false, loader, options, program);
        let code = said.code;
        assert!(matches!(code, 125 | 127), "{code}");
        let (error, hint) = said.fails_with_hint(code);
        assert_eq!(lab.state_of("m"), "absent");
        (error, hint)
    };
    let fixed = guest("show-fixed");
    let (error, hint) = refused("elfloader", &[], &[&fixed]);
    assert_eq!(error, format!("program {fixed} is a program that is not position-independent"));
    assert!(hint.contains("-static-pie") && hint.contains("-fPIE -pie"), "{hint}");
    let missing = guest("app/missing");
    let (error, _) = refused("elfloader", &[], &[&missing]);
    assert_eq!(error, format!("{missing} needs a library that cannot be found: libgreeting.so.1"));
    let library = guest("app/lib/libgreeting.so.1");
    let (error, _) = refused("elfloader", &[], &[&library]);
    assert_eq!(error, format!("program {library} is a shared library, not a program"));
    let show = guest("show");
    let (error, _) = refused("elfloader-whole", &[], &[&show]);
    assert!(error.contains("has an interpreter and libraries, and its loader"), "{error}");
    let (error, _) = refused("net-unikraft", &[], &[&show]);
    assert!(error.ends_with("is no loader of programs for Linux: it was built without appelfloader"), "{error}");
    let (error, _) = refused("linux", &[], &[&show]);
    assert!(error.ends_with("it is not one of Unikraft's"), "{error}");
    let script = lab.program("bin", "script", "#!/bin/sh\necho\n");
    let (error, _) = refused("elfloader", &["--as", "binary"], &[&format!("{script}/script")]);
    assert!(error.ends_with("is a script for /bin/sh, which a loader cannot start"), "{error}");
    let (error, _) = refused("elfloader", &["--rootfs", &script], &[&show]);
    assert_eq!(error, format!("program {show} is not in rootfs {script}"));
    let (error, _) = refused("elfloader", &["--as", "binary"], &[&guest("tiny")]);
    assert_eq!(error, format!("program {} is a kernel, not a program for Linux", guest("tiny")));
    let (error, _) = refused("elfloader", &[], &[&guest("tiny")]);
    assert_eq!(error, "--elfloader goes with a program for Linux, and this is none");
    // What the line cannot carry.
    let error = start(&lab, "m", false, "elfloader", &[], &[&show, "--", "one\ntwo"]).fails(125);
    assert!(error.contains("bad argument 'one\\ntwo'"), "{error}");
    let error = start(&lab, "m", false, "elfloader", &[], &[&show, "--", ""]).fails(125);
    assert!(error.contains("cannot give an empty argument to a kernel of dialect unikraft"), "{error}");
    // No loader but the usual one, which is an image that nobody has here.
    let said = lab.kraft(["run", &show]);
    assert!(matches!(said.code, 125 | 127), "{}", said.code);
    let code = said.code;
    let error = said.fails(code);
    assert!(error.contains(&show) && error.contains("unikraft.org/base:latest"), "{error}");
}

#[test]
fn what_a_program_becomes_is_explained() {
    let lab = Lab::new("explained-program").with_store();
    let (program, loader) = (guest("show"), guest("elfloader"));
    let args = ["run", "--explain", "-o", "json", "--elfloader", &loader, &program, "one", "--", "two"];
    let said: serde_json::Value = serde_json::from_str(&lab.kraft(args).ok()).unwrap();
    assert_eq!((&said["what"], &said["kernel"]), (&"binary".into(), &loader.as_str().into()));
    assert_eq!(
        (&said["rootfs"], &said["args"]),
        (&program.as_str().into(), &serde_json::json!([program, "one", "two"]))
    );
    assert_eq!(said["tried"][1]["why"], format!("{program} is a program for Linux"));
    let note = |loader: &str| {
        let args = ["run", "--explain", "-o", "json", "--elfloader", &guest(loader), &guest("show-static")];
        let said: serde_json::Value = serde_json::from_str(&lab.kraft(args).ok()).unwrap();
        said["notes"][0].as_str().unwrap().to_owned()
    };
    assert!(note("elfloader").contains("become a RAM disk"));
    assert!(note("elfloader-share").contains("a directory of the machine's own"));
    assert!(note("elfloader-whole").contains("as the loader has no file system"));
    // The environment has the loader where the command line has none.
    let said = lab.kraft_with("KRAFT_ELFLOADER", &loader, ["run", "--explain", "-o", "json", &program]).ok();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&said).unwrap()["kernel"], loader);
}

#[test]
fn a_root_file_system_takes_the_place_of_what_is_collected() {
    let lab = Lab::new("rooted-program").with_store();
    let root = lab.state().parent().unwrap().join("root");
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::copy(guest("show-static"), root.join("bin/show")).unwrap();
    let program = root.join("bin/show");
    let options = ["--rootfs", root.to_str().unwrap()];
    start(&lab, "m", true, "elfloader", &options, &[program.to_str().unwrap(), "word"]).ok();
    assert_eq!(shown(&lab, "m")[..2], ["argument [show]", "argument [word]"]);
    assert_eq!(lab.inspect("m")["record"]["spec"]["app_args"], serde_json::json!(["/bin/show", "word"]));
    // A loader that mounts its root by 9P has that directory itself.
    start(&lab, "share", true, "elfloader-share", &options, &[program.to_str().unwrap(), "word"]).ok();
    assert_eq!(shown(&lab, "share")[..2], ["argument [show]", "argument [word]"]);
    assert_eq!(lab.inspect("share")["record"]["spec"]["volumes"].as_array().unwrap().len(), 1);
}
