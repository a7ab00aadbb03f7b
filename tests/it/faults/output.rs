//! What kraft prints where somebody reads it: JSON of a fixed form, colours only where wanted, quiet ends.

use std::process::Stdio;

use serde_json::Value;

use crate::lab::{DEADLINE, Lab, finish, kraft, process_ends, set};

#[test]
fn an_empty_list() {
    let lab = Lab::new("empty").with_store();
    assert_eq!(lab.kraft(["ps", "-o", "json"]).ok(), "[]\n");
    assert_eq!(lab.kraft(["ps", "-q"]).ok(), "");
    assert_eq!(lab.kraft(["ps"]).ok().lines().count(), 1);
    for verb in ["start", "stop", "rm"] {
        assert_eq!(lab.kraft([verb, "--all"]).ok(), "");
    }
}

/// A JSON value's type, as a schema would call it.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[test]
fn the_form_of_a_list() {
    let lab = Lab::new("schema").with_store();
    const FORM: [(&str, &str, &str); 30] = [
        // Key, type while it runs, type before it was ever started.
        ("name", "string", "string"),
        ("id", "string", "string"),
        ("state", "string", "string"),
        ("exit_code", "null", "null"),
        ("exit_reason", "null", "null"),
        ("health", "null", "null"),
        ("kernel", "string", "string"),
        ("args", "array", "array"),
        ("created", "string", "string"),
        ("started", "string", "null"),
        ("memory", "integer", "integer"),
        ("cpus", "integer", "integer"),
        ("limits", "object", "object"),
        ("ports", "array", "array"),
        ("networks", "array", "array"),
        ("ips", "array", "array"),
        ("volumes", "array", "array"),
        ("plat", "string", "string"),
        ("arch", "string", "string"),
        ("manager", "string", "string"),
        ("unit", "string", "string"),
        ("timer", "null", "null"),
        ("on_calendar", "array", "array"),
        ("pid", "integer", "null"),
        ("vmm_pid", "integer", "null"),
        ("restarts", "integer", "integer"),
        ("labels", "object", "object"),
        ("problem", "null", "null"),
        ("file", "null", "null"),
        ("enabled", "boolean", "boolean"),
    ];
    lab.run_tiny("up", &["--label", "tier=web"], &[]);
    lab.kraft(["create", "--systemd", "--name", &lab.name("new"), &crate::lab::guest("tiny")]).ok();
    for (short, column) in [("up", 0), ("new", 1)] {
        let shown = lab.ps(short);
        let object = shown.as_object().unwrap();
        assert_eq!(set(object.keys().map(String::as_str)), set(FORM.map(|(key, ..)| key)));
        for (key, running, created) in FORM {
            assert_eq!(kind(&shown[key]), [running, created][column], "{key} of {short}: {shown}");
        }
        for time in ["created", "started"] {
            if let Some(text) = shown[time].as_str() {
                text.parse::<jiff::Timestamp>().expect("a time is in RFC 3339's form");
            }
        }
    }
    let code = lab.start_tiny("bad", true, &[], &["exit=3"]).code;
    assert_eq!(code, 0);
    lab.kraft(["wait", &lab.name("bad")]).fails_quietly(3);
    let shown = lab.ps("bad");
    assert_eq!((kind(&shown["exit_code"]), kind(&shown["exit_reason"])), ("integer", "string"), "{shown}");
    let labels = lab.ps("up")["labels"].clone();
    assert_eq!(labels["tier"], "web");
}

#[test]
fn nobody_reads_any_more() {
    let lab = Lab::new("pipe").with_store();
    lab.run_tiny("m", &[], &["tick=50"]);
    let name = lab.name("m");
    for args in [&["ps"][..], &["ps", "-o", "json"], &["inspect", &name], &["logs", &name], &["version"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = lab.command(kraft(), args).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        assert!(process_ends(child.id(), DEADLINE), "{args:?} ends");
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
    }
    // A follower ends at the first line that nobody takes.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = lab.command(kraft(), ["logs", "-f", &name]).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    assert!(process_ends(child.id(), DEADLINE), "logs -f ends");
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn output_that_cannot_be_written() {
    let lab = Lab::new("devfull").with_store();
    for args in [&["ps"][..], &["ps", "-o", "json"], &["ps", "-o", "yaml"], &["version"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = lab.command(kraft(), args).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(125), "{args:?}: {said}");
        assert!(said.contains("cannot write to standard output: No space left on device"), "{said}");
    }
}

#[test]
fn colours_only_where_wanted() {
    let lab = Lab::new("colour").with_store();
    lab.run_tiny("m", &[], &[]);
    let line = format!("{} ps", kraft().display());
    let on_terminal = |key: &str, value: &str| {
        let mut command = lab.command("script", ["-q", "-e", "-c", &line, "/dev/null"]);
        command.env(key, value).env("TERM", "xterm");
        finish(command, DEADLINE).ok()
    };
    assert!(on_terminal("LANG", "C.UTF-8").contains('\x1b'), "a terminal is shown colours");
    assert!(!on_terminal("NO_COLOR", "1").contains('\x1b'));
    assert!(!lab.kraft(["ps"]).ok().contains('\x1b'), "a file is not");
}

#[test]
fn wrong_use() {
    let lab = Lab::new("usage").with_store();
    for (args, wanted) in [
        (&["fly"][..], "'fly'"),
        (&["run"], "has no Kraftfile"),
        (&["ps", "--frob"], "'--frob'"),
        (&["ps", "-o", "xml"], "'xml'"),
        (&["start"], "MACHINE"),
        (&["rm", "--all", "x"], "--all"),
        (&["--user", "--system", "ps"], "--system"),
        (&["ps", "--filter", "size=3"], "size"),
    ] {
        let said = lab.kraft(args);
        assert_eq!(said.out, "", "{args:?}");
        let text = said.err.clone();
        said.fails(125);
        assert!(text.contains(wanted), "{args:?}: {text}");
    }
    assert_eq!(lab.kraft([] as [&str; 0]).code, 125);
    for args in [&["--help"][..], &["--version"], &["run", "--help"]] {
        assert!(!lab.kraft(args).ok().is_empty(), "{args:?}");
    }
    for verb in ["start", "stop", "rm", "inspect", "logs", "wait", "pause", "restart", "kill"] {
        let error = lab.kraft([verb, "t-nobody"]).fails(125);
        assert!(error.contains("no such machine: t-nobody"), "{verb}: {error}");
    }
}
