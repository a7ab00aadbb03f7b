//! Files of kraft that are damaged: that machine is unknown and says why, every other is as it is, and `rm` helps.

use super::{MANAGERS, assert_nothing_left};
use crate::lab::{Lab, guest};
use std::path::PathBuf;

fn record(lab: &Lab, short: &str) -> PathBuf {
    lab.state().join("machines").join(lab.name(short)).join("machine.toml")
}

/// The machine is unknown, `wanted` is part of the reason, and only `rm` does something with it. Another is well.
#[track_caller]
fn is_unknown(lab: &Lab, short: &str, wanted: &str) {
    let name = lab.name(short);
    let shown = lab.ps(short);
    assert_eq!(shown["state"], "unknown", "{shown}");
    assert!(shown["problem"].as_str().is_some_and(|problem| problem.contains(wanted)), "{wanted}: {shown}");
    let shown = lab.inspect(short);
    assert_eq!(shown["state"], "unknown", "{shown}");
    assert!(shown["problem"].as_str().is_some_and(|problem| problem.contains(wanted)), "{wanted}: {shown}");
    let error = lab.kraft(["start", &name]).fails(125);
    assert!(error.contains(wanted), "{wanted}: {error}");
    assert_eq!(lab.state_of("well"), "running");
    // For people, too.
    let table = lab.kraft(["ps"]).ok();
    assert!(table.lines().any(|line| line.starts_with(&name) && line.contains("unknown")), "{table}");
}

#[test]
fn a_broken_record() {
    let lab = Lab::new("record").with_store();
    lab.run_tiny("well", &[], &[]);
    let sound = std::fs::read(record(&lab, "well")).unwrap();
    let without_id: String = String::from_utf8(sound.clone())
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with("id"))
        .collect::<Vec<_>>()
        .join("\n");
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("garbage", b"\x01\x02 nonsense\n".to_vec(), "machine.toml:1"),
        ("empty", Vec::new(), "machine.toml:1"),
        ("truncated", sound[..sound.len() / 2].to_vec(), "machine.toml"),
        ("not UTF-8", [&sound[..], b"\n# \xff\xfe\n"].concat(), "machine.toml"),
        (
            "a wrong type",
            String::from_utf8(sound.clone()).unwrap().replace("cpus = 1", "cpus = \"one\"").into_bytes(),
            "invalid type: string \"one\"",
        ),
        ("without an id", without_id.into_bytes(), "id"),
    ];
    for (what, content, wanted) in cases {
        for systemd in MANAGERS {
            for live in [true, false] {
                lab.start_tiny("sick", systemd, &[], &[]).ok();
                if !live {
                    lab.kraft(["stop", &lab.name("sick")]).ok();
                }
                std::fs::write(record(&lab, "sick"), &content).unwrap();
                eprintln!("{what}, systemd {systemd}, live {live}");
                is_unknown(&lab, "sick", wanted);
                lab.kraft(["rm", &lab.name("sick")]).ok();
                assert_eq!(lab.ps("sick"), serde_json::Value::Null);
                assert_eq!(lab.leaks_of("sick"), Vec::<String>::new());
            }
        }
    }
    lab.kraft(["rm", &lab.name("well")]).ok();
    assert_nothing_left(&lab, "rm");
}

#[test]
fn the_error_of_a_wrong_type_has_file_and_line() {
    let lab = Lab::new("line").with_store();
    lab.kraft(["create", "--name", &lab.name("m"), &guest("tiny")]).ok();
    let path = record(&lab, "m");
    let text = std::fs::read_to_string(&path).unwrap();
    let line = text.lines().position(|line| line == "cpus = 1").expect("a record has cpus") + 1;
    std::fs::write(&path, text.replace("cpus = 1", "cpus = \"one\"")).unwrap();
    let problem = lab.ps("m")["problem"].as_str().unwrap().to_owned();
    assert!(problem.starts_with(&format!("{}:{line}: ", path.display())), "{problem}");
}

#[test]
fn a_missing_record_in_a_slice_of_its_own() {
    let lab = Lab::new("tenant").with_store();
    lab.run_tiny("well", &[], &[]);
    lab.run_tiny("sick", &["--slice", "tenants"], &[]);
    std::fs::remove_file(record(&lab, "sick")).unwrap();
    is_unknown(&lab, "sick", "machine.toml");
    lab.kraft(["rm", "--all"]).ok();
    assert_nothing_left(&lab, "rm");
}

#[test]
fn a_record_of_a_newer_kraft_is_left_alone() {
    let lab = Lab::new("newer").with_store();
    lab.run_tiny("well", &[], &[]);
    for systemd in MANAGERS {
        lab.start_tiny("new", systemd, &[], &[]).ok();
        let (path, name) = (record(&lab, "new"), lab.name("new"));
        let text = std::fs::read_to_string(&path).unwrap();
        let newer = text.replace("schema = 1\n", "schema = 99\nshape = \"round\"\n");
        assert_ne!(newer, text);
        std::fs::write(&path, &newer).unwrap();
        is_unknown(&lab, "new", "written by a newer kraft (schema 99");
        for args in [&["start"][..], &["stop"], &["pause"], &["rm"], &["rm", "--force"], &["update", "--cpus", "2"]] {
            let error = lab.kraft(args.iter().copied().chain([&*name])).fails(125);
            assert!(error.contains("written by a newer kraft"), "{args:?}: {error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), newer, "after {args:?}");
        }
        // It was touched by nobody: the guest runs, and goes on being known once it can be read.
        std::fs::write(&path, &text).unwrap();
        assert_eq!(lab.state_of("new"), "running");
        lab.kraft(["rm", &name]).ok();
    }
}

#[test]
fn a_broken_status_or_exit() {
    let lab = Lab::new("status").with_store();
    lab.run_tiny("well", &[], &[]);
    for systemd in MANAGERS {
        for live in [true, false] {
            for file in ["status.json", "exit.json"] {
                lab.start_tiny("sick", systemd, &[], &[]).ok();
                let name = lab.name("sick");
                if !live {
                    lab.kraft(["stop", &name]).ok();
                }
                let dir = match file {
                    "status.json" => lab.runtime().join(&name),
                    _ => lab.state().join("machines").join(&name),
                };
                std::fs::write(dir.join(file), "{\"schema\": 1, \"phase\"").unwrap();
                eprintln!("{file}, systemd {systemd}, live {live}");
                is_unknown(&lab, "sick", file);
                lab.kraft(["rm", &name]).ok();
                assert_eq!(lab.ps("sick"), serde_json::Value::Null);
                assert_eq!(lab.leaks_of("sick"), Vec::<String>::new());
            }
        }
    }
}
