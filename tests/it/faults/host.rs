//! What the host lacks: QEMU, a bus, permission, space.

use std::path::Path;

use super::{MANAGERS, assert_nothing_left, run, words};
use crate::lab::{Lab, Who, guest};
use crate::small::Small;

#[test]
fn no_qemu() {
    let lab = Lab::new("noqemu").with_store();
    for systemd in MANAGERS {
        let said = lab.kraft_with("PATH", "/nowhere", words(&lab, systemd, &[], &guest("tiny")));
        let (error, hint) = said.fails_with_hint(126);
        assert!(error.contains("cannot find qemu-system-x86_64") && hint.contains("install QEMU"), "{error}: {hint}");
        assert_nothing_left(&lab, "a run without QEMU");
    }
    // Only the unit's PATH lacks it.
    let error = run(&lab, true, &["--property", "Environment=PATH=/nowhere"], &guest("tiny")).fails(126);
    assert!(error.contains(&lab.name("m")) && error.contains("cannot find qemu-system-x86_64"), "{error}");
    assert_nothing_left(&lab, "a unit without QEMU");
}

#[test]
fn a_qemu_that_does_not_work() {
    let lab = Lab::new("badqemu").with_store();
    for (program, wanted, code) in [
        ("#!/bin/sh\necho 'qemu-system-x86_64: this is broken' >&2\nexit 1\n", "this is broken", 126),
        ("#!/nowhere/sh\n", "qemu-system-x86_64", 126),
        ("#!/bin/sh\nkill -SEGV $$\n", "SIGSEGV", 126),
    ] {
        let path = lab.program("bin", "qemu-system-x86_64", program);
        let said = lab.kraft_with("PATH", &format!("{path}:/usr/bin:/bin"), words(&lab, false, &[], &guest("tiny")));
        let error = said.fails(code);
        assert!(error.contains(wanted) && error.contains(&lab.name("m")), "{error}");
        // A failed `run -d` leaves nothing, so there is no need to look into a log that is gone.
        assert_nothing_left(&lab, program);
        let property = format!("Environment=PATH={path}:/usr/bin:/bin");
        // Strict, it sees no program in a temporary directory.
        let options = ["--sandbox", "compatible", "--property", &property];
        let error = run(&lab, true, &options, &guest("tiny")).fails(code);
        assert!(error.contains(wanted) && error.contains(&lab.name("m")), "{error}");
        assert_nothing_left(&lab, program);
    }
}

/// An ELF file for x86-64 with one segment of code, and neither a PVH note nor a multiboot header.
fn plain_elf() -> Vec<u8> {
    let mut elf = vec![0; 0x2000];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    let mut put = |at: usize, bytes: &[u8]| elf[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &2u16.to_le_bytes()); // executable
    put(18, &62u16.to_le_bytes()); // x86-64
    put(20, &1u32.to_le_bytes());
    put(24, &0x10_0000u64.to_le_bytes()); // entry
    put(32, &64u64.to_le_bytes()); // program headers
    put(52, &64u16.to_le_bytes());
    put(54, &56u16.to_le_bytes());
    put(56, &1u16.to_le_bytes());
    put(64, &1u32.to_le_bytes()); // PT_LOAD
    put(68, &5u32.to_le_bytes());
    put(72, &0x1000u64.to_le_bytes());
    put(80, &0x10_0000u64.to_le_bytes());
    put(88, &0x10_0000u64.to_le_bytes());
    put(96, &0x1000u64.to_le_bytes());
    put(104, &0x1000u64.to_le_bytes());
    put(112, &0x1000u64.to_le_bytes());
    elf
}

#[test]
fn a_kernel_that_qemu_refuses() {
    let lab = Lab::new("refused").with_store();
    let kernel = lab.file("plain", &plain_elf());
    for systemd in MANAGERS {
        let error = run(&lab, systemd, &[], &kernel).fails(126);
        assert!(error.contains("PVH"), "{error}");
        assert_nothing_left(&lab, "a refused kernel");
    }
}

#[test]
fn a_start_that_fails_keeps_what_was_created() {
    let lab = Lab::new("startfail").with_store();
    for systemd in MANAGERS {
        let kernel = lab.file("kernel", &std::fs::read(guest("tiny")).unwrap());
        let (name, by) = (lab.name("m"), if systemd { "--systemd" } else { "--quiet" });
        lab.kraft(["create", by, "--name", &name, &kernel]).ok();
        // What it was made of does not matter any more; its own kernel does.
        let own = lab.state().join("machines").join(&name).join("kernel");
        std::fs::remove_file(&kernel).unwrap();
        std::fs::remove_file(&own).unwrap();
        for _ in 0..2 {
            let error = lab.kraft(["start", &name]).fails(127);
            assert!(error.contains(&name) && error.contains(own.to_str().unwrap()), "{error}");
            assert_eq!(lab.state_of("m"), "failed");
        }
        std::fs::copy(guest("tiny"), &own).unwrap();
        lab.kraft(["start", &name]).ok();
        assert_eq!(lab.state_of("m"), "running");
        lab.kraft(["rm", &name]).ok();
        assert_nothing_left(&lab, "rm");
    }
}

#[test]
fn no_bus() {
    const NOWHERE: &str = "unix:path=/nowhere/bus";
    let lab = Lab::new("nobus").with_store();
    let busless = |args: &[&str]| lab.kraft_with("DBUS_SYSTEM_BUS_ADDRESS", NOWHERE, args);
    let said = lab.kraft_with("DBUS_SYSTEM_BUS_ADDRESS", NOWHERE, words(&lab, true, &[], &guest("tiny")));
    let error = said.fails(125);
    assert!(error.contains("cannot reach the system service manager"), "{error}");
    assert_nothing_left(&lab, "a run without a bus");

    lab.start_tiny("local", false, &[], &[]).ok();
    let shown: serde_json::Value = serde_json::from_str(&busless(&["ps", "-o", "json"]).ok()).unwrap();
    assert_eq!((shown.as_array().unwrap().len(), &shown[0]["state"]), (1, &"running".into()));

    lab.run_tiny("unit", &[], &[]);
    let said = busless(&["ps", "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&said.ok()).unwrap();
    let [local, unit] = shown.as_array().unwrap().as_slice() else { panic!("{shown}") };
    assert_eq!((&local["state"], &local["problem"]), (&"running".into(), &serde_json::Value::Null));
    assert_eq!(unit["state"], "unknown");
    assert!(unit["problem"].as_str().unwrap().contains("cannot reach the system service manager"), "{unit}");
    for verb in ["start", "stop", "rm"] {
        let error = busless(&[verb, &lab.name("unit")]).fails(125);
        assert!(error.contains(&lab.name("unit")) && error.contains("cannot reach the system"), "{verb}: {error}");
    }
    assert_eq!(lab.state_of("unit"), "running");
    busless(&["rm", &lab.name("local")]).ok();
}

#[test]
fn no_permission() {
    let lab = Lab::of("noperm", Who::Tester);
    let name = lab.name("m");
    for by in ["--systemd", "--quiet"] {
        let said = lab.kraft(["--system", "run", "-d", by, "--name", &name, &guest("tiny")]);
        let (error, hint) = said.fails_with_hint(125);
        assert!(error.contains("ermission denied"), "{error}");
        assert!(hint.contains("root"), "{hint}");
        assert!(!Path::new("/var/lib/kraft/machines").join(&name).exists());
    }
}

#[test]
fn a_full_disk_takes_no_machine() {
    let lab = Lab::new("full").with_store();
    let state = Small::on(lab.state(), "size=512k");
    let runtime = Small::on(lab.runtime(), "size=512k");
    for full in [&state, &runtime] {
        full.fill();
        for systemd in MANAGERS {
            let said = run(&lab, systemd, &[], &guest("tiny"));
            // A full runtime directory is noticed by the runner, in a unit at its first word.
            let error = if full.dir == state.dir {
                let (error, hint) = said.fails_with_hint(125);
                assert!(hint.contains("free some space"), "{hint}");
                error
            } else {
                said.fails(125)
            };
            assert!(error.contains("No space left on device") && error.contains(&lab.name("m")), "{error}");
            assert_nothing_left(&lab, &format!("a run with {} full", full.dir.display()));
        }
        full.make_room();
        for systemd in MANAGERS {
            run(&lab, systemd, &[], &guest("tiny")).ok();
            lab.kraft(["rm", &lab.name("m")]).ok();
        }
    }
    assert_nothing_left(&lab, "all");
}

#[test]
fn a_machine_outlives_a_full_disk() {
    let lab = Lab::new("fullrun").with_store();
    let state = Small::on(lab.state(), "size=512k");
    let runtime = Small::on(lab.runtime(), "size=512k");
    for systemd in MANAGERS {
        let name = lab.name("m");
        lab.start_tiny("m", systemd, &[], &["tick=50"]).ok();
        state.fill();
        runtime.fill();
        if systemd {
            lab.until_console("m", "tick 10");
        }
        assert_eq!(lab.state_of("m"), "running");
        lab.kraft(["stop", &name]).ok();
        assert_eq!(lab.processes(), Vec::new());
        assert_eq!(lab.state_of("m"), "exited");
        // What it needs to be started again it has kept.
        lab.kraft(["start", &name]).ok();
        assert_eq!(lab.state_of("m"), "running");
        lab.kraft(["stop", &name]).ok();
        assert_eq!(lab.state_of("m"), "exited");
        state.make_room();
        runtime.make_room();
        lab.kraft(["start", &name]).ok();
        assert_eq!(lab.state_of("m"), "running");
        state.fill();
        runtime.fill();
        lab.kraft(["rm", &name]).ok();
        assert_nothing_left(&lab, "rm on a full disk");
        state.make_room();
        runtime.make_room();
    }
}

#[test]
fn a_read_only_disk() {
    let lab = Lab::new("readonly").with_store();
    let state = Small::on(lab.state(), "size=512k");
    lab.run_tiny("old", &[], &[]);
    state.mount(&["-o", "remount,ro"]);
    for systemd in MANAGERS {
        let error = run(&lab, systemd, &[], &guest("tiny")).fails(125);
        assert!(error.contains(&lab.name("m")) && error.contains("Read-only file system"), "{error}");
    }
    assert_eq!(lab.state_of("old"), "running");
    lab.kraft(["stop", &lab.name("old")]).ok();
    assert_eq!(lab.state_of("old"), "exited");
    let error = lab.kraft(["rm", &lab.name("old")]).fails(125);
    assert!(error.contains(&lab.name("old")) && error.contains("Read-only file system"), "{error}");
    state.mount(&["-o", "remount,rw"]);
    lab.kraft(["start", &lab.name("old")]).ok();
    lab.kraft(["rm", &lab.name("old")]).ok();
    assert_nothing_left(&lab, "rm");
}
