//! What a person asks for that cannot be.

use super::{MANAGERS, assert_nothing_left, run};
use crate::lab::{Lab, guest};

/// A file header of 64-bit ELF: an executable for this machine, with nothing in it.
fn elf_header(machine: u16) -> Vec<u8> {
    let mut elf = vec![0; 64];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    elf[16..18].copy_from_slice(&2u16.to_le_bytes());
    elf[18..20].copy_from_slice(&machine.to_le_bytes());
    elf[20..24].copy_from_slice(&1u32.to_le_bytes());
    elf[52..54].copy_from_slice(&64u16.to_le_bytes());
    elf
}

#[test]
fn a_kernel_that_is_none() {
    let lab = Lab::new("kernel").with_store();
    let text = lab.file("text", b"this is not a kernel\n");
    let riscv = lab.file("riscv", &elf_header(243));
    let arm = lab.file("arm", &elf_header(183));
    let tiny = std::fs::read(guest("tiny")).unwrap();
    let half = lab.file("half", &tiny[..tiny.len() / 2]);
    let stub = lab.file("stub", &tiny[..20]);
    let empty = lab.file("empty", b"");
    let cases: [(&str, &str, &[&str], i32); 9] = [
        ("/nowhere/kernel", "kernel not found: /nowhere/kernel", &[], 127),
        ("/etc", "/etc has no Kraftfile", &[], 125),
        (&text, "text is not a kernel", &[], 125),
        (&riscv, "riscv is for an unknown architecture", &[], 125),
        (&arm, "arm is for arm64, not x86_64", &["--arch", "x86_64"], 125),
        (&half, "half is truncated", &[], 125),
        (&stub, "stub is truncated", &[], 125),
        (&empty, "empty is empty", &[], 125),
        ("/bin/true", "cannot run program /bin/true: cannot get its loader", &["--pull", "never"], 127),
    ];
    for (kernel, wanted, options, code) in cases {
        for systemd in MANAGERS {
            let error = run(&lab, systemd, options, kernel).fails(code);
            assert!(error.contains(wanted), "{error}");
            assert_nothing_left(&lab, kernel);
        }
    }
}

#[test]
fn an_initrd_that_is_none() {
    let lab = Lab::new("initrd").with_store();
    let text = lab.file("text", b"this is not an archive\n");
    for (initrd, wanted, code) in [
        ("/nowhere/rootfs", "rootfs not found: /nowhere/rootfs", 127),
        ("/dev/null", "rootfs /dev/null is not a regular file", 125),
        (&text, "text is not a cpio archive", 125),
    ] {
        for systemd in MANAGERS {
            let error = run(&lab, systemd, &["--initrd", initrd], &guest("tiny")).fails(code);
            assert!(error.contains(wanted), "{error}");
            assert_nothing_left(&lab, initrd);
        }
    }
}

/// Options that are refused, each with what the error names.
#[track_caller]
fn refused(lab: &Lab, systemd: bool, cases: &[(&[&str], &str)]) {
    for (options, wanted) in cases {
        let error = run(lab, systemd, options, &guest("tiny")).fails(125);
        assert!(error.contains(wanted), "{options:?}: {error}");
        assert_nothing_left(lab, &format!("{options:?}"));
    }
}

#[test]
fn a_bad_name() {
    let lab = Lab::new("badname").with_store();
    let long = "a".repeat(65);
    let long = format!("--name={long}");
    let cases: [(&[&str], &str); 8] = [
        (&["--name="], "--name"),
        (&["--name", ""], "--name"),
        (&["--name=-x"], "bad machine name '-x'"),
        (&["--name=A"], "bad machine name 'A'"),
        (&["--name=a/b"], "bad machine name 'a/b'"),
        (&["--name=.."], "bad machine name '..'"),
        (&["--name=a b"], "bad machine name 'a b'"),
        (&[&long], "it has 65 characters"),
    ];
    for systemd in MANAGERS {
        refused(&lab, systemd, &cases);
    }
}

#[test]
fn bad_amounts() {
    let lab = Lab::new("amount").with_store();
    let cases: [(&[&str], &str); 10] = [
        (&["--memory", "0"], "bad memory 0"),
        (&["--memory", "512K"], "bad memory 512Ki"),
        (&["--memory", "lots"], "bad amount 'lots'"),
        (&["--memory", "99999999T"], "bad amount '99999999T'"),
        (&["--memory", "17T"], "bad memory 17Ti"),
        (&["--cpus", "0"], "bad number of CPUs 0"),
        (&["--cpus", "256"], "bad number of CPUs 256"),
        (&["--cpus", "two"], "'two'"),
        (&["--stop-timeout", "soon"], "bad time 'soon'"),
        (&["--restart", "sometimes"], "'sometimes'"),
    ];
    for systemd in MANAGERS {
        refused(&lab, systemd, &cases);
    }
}

#[test]
fn bad_unit_properties() {
    let lab = Lab::new("property").with_store();
    refused(
        &lab,
        true,
        &[
            (&["--property", "Foo=bar"], "the unit property Foo"),
            (&["--property", "MemoryMax=lots"], "MemoryMax=lots"),
            (&["--property", "ExecStart=/bin/true"], "ExecStart cannot be changed"),
            (&["--property", "MemoryMax"], "expected KEY=VALUE"),
            (&["--property", "=1"], "bad unit property '=1'"),
            (&["--slice", "a/b"], "bad slice 'a/b'"),
            (&["--slice=-x"], "bad slice '-x'"),
            (&["--slice", "a--b"], "bad slice 'a--b'"),
        ],
    );
    refused(
        &lab,
        false,
        &[(&["--property", "MemoryMax=1G"], "required arguments"), (&["--slice", "tenants"], "required arguments")],
    );
}

#[test]
fn an_update_that_cannot_be_changes_nothing() {
    let lab = Lab::new("badupdate").with_store();
    lab.run_tiny("m", &[], &[]);
    let record = lab.state().join("machines").join(lab.name("m")).join("machine.toml");
    let before = std::fs::read(&record).unwrap();
    for (options, wanted) in [
        (["--memory", "0"], "bad memory 0"),
        (["--cpus", "256"], "bad number of CPUs 256"),
        (["--property", "Foo=bar"], "the unit property Foo"),
        (["--property", "ExecStart=/bin/true"], "ExecStart cannot be changed"),
    ] {
        let error = lab.kraft(["update", options[0], options[1], &lab.name("m")]).fails(125);
        assert!(error.contains(wanted), "{error}");
        assert_eq!(std::fs::read(&record).unwrap(), before, "after {options:?}");
    }
    assert_eq!(lab.state_of("m"), "running");
}
