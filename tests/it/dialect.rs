//! What kernels are told on their command line, each in its own dialect, and what is refused because it would be lost.

use serde_json::{Value, json};

use crate::keeper::{Keeper, everywhere};
use crate::lab::{Lab, guest};
use crate::wire::{free_ports, get, loopback};

everywhere! {
    unikraft_is_told_of_everything,
    old_unikraft_is_told_in_its_own_words,
    what_a_plain_kernel_would_not_read_is_refused,
}

/// The guest's whole command line, without the name in front of it.
fn line(lab: &Lab, short: &str) -> String {
    let lines = lab.until_console(short, "net: up");
    let line =
        lines.iter().find(|line| line.contains("net: ") && !line.contains("net: up")).cloned().unwrap_or_default();
    // The kernel's own name, by whatever path it was given to the VMM.
    let words = line.split_once("net: ").and_then(|(_, line)| line.split_once(' ')).map(|(_, words)| words);
    words.unwrap_or_default().trim_end().to_owned()
}

fn unikraft_is_told_of_everything(keeper: Keeper) {
    let lab = keeper.lab("unikraft");
    let [port] = free_ports();
    let publish = format!("127.0.0.1:{port}:80");
    let options = ["-p", &publish, "-e", "GREETING=it's \"two\" words\\", "-e", "LIST=[1]", "-e", "PLAIN=a b"];
    let words = ["debug.x=1", "--", "/app", "two words"];
    lab.start_guest("net-unikraft", "web", keeper.has_units(), &options, &words).ok();
    let name = lab.name("web");
    assert_eq!(
        line(&lab, "web"),
        format!(
            "debug.x=1 netdev.ip=10.0.2.15/24:10.0.2.2:10.0.2.3::{name}: \
             env.vars=[ 'GREETING=it'\"'\"'s \"two\" words\\' \"PLAIN=a b\" ] env.vars=LIST=[1] -- /app \"two words\""
        )
    );
    assert_eq!(get((loopback(1), port), "/").trim(), format!("hello from {name}"));
    let kernel = lab.inspect("web")["record"]["spec"]["kernel"].clone();
    assert_eq!(kernel["dialect"], "unikraft");
    assert_eq!(kernel["parameters"], json!({ "env.vars": 32, "netdev.ip": 8, "vfs.fstab": 16 }));
}

fn old_unikraft_is_told_in_its_own_words(keeper: Keeper) {
    let lab = keeper.lab("old");
    let systemd = keeper.has_units();
    let [port] = free_ports();
    let publish = format!("127.0.0.1:{port}:80");
    lab.start_guest("net-unikraft-old", "web", systemd, &["-p", &publish], &[]).ok();
    assert_eq!(
        line(&lab, "web"),
        "netdev.ipv4_addr=10.0.2.15 netdev.ipv4_subnet_mask=255.255.255.0 netdev.ipv4_gw_addr=10.0.2.2 --"
    );
    assert!(get((loopback(1), port), "/").starts_with("hello from "));
    let error = lab.start_guest("net-unikraft-old", "env", systemd, &["-e", "A=1"], &[]).fails(125);
    assert!(
        error.ends_with("cannot give an environment to a kernel of dialect unikraft-old: it knows of none"),
        "{error}"
    );
    lab.start_guest("net-unikraft-old", "new", systemd, &["--dialect", "unikraft", "-e", "A=1"], &[]).ok();
    assert_eq!(line(&lab, "new"), "env.vars=[ \"A=1\" ] --");
}

fn what_a_plain_kernel_would_not_read_is_refused(keeper: Keeper) {
    let lab = keeper.lab("plain");
    let systemd = keeper.has_units();
    let (error, hint) = lab.start_tiny("env", systemd, &["-e", "A=1"], &[]).fails_with_hint(125);
    let wanted = "cannot give an environment to a kernel of dialect plain: nothing is known of how it takes that";
    assert_eq!(error, format!("cannot create {}: {wanted}", lab.name("env")));
    assert_eq!(hint, "`--dialect unikraft`, `unikraft-old` or `linux` says what the kernel understands");
    assert_eq!(lab.state_of("env"), "absent");
    let error = lab.start_tiny("word", systemd, &["--dialect", "unikraft"], &["--", ""]).fails(125);
    assert!(
        error.ends_with("cannot give an empty argument to a kernel of dialect unikraft: it leaves such out"),
        "{error}"
    );
}

#[test]
fn linux_hands_on_environment_and_arguments() {
    let lab = Lab::new("dialect-linux");
    let [port] = free_ports();
    let (publish, initrd) = (format!("127.0.0.1:{port}:80"), guest("linux.cpio"));
    let options = [
        "--initrd",
        &initrd,
        "-M",
        "256M",
        "-p",
        &publish,
        "-e",
        "GUEST_A=two words",
        "-e",
        "GUEST_B=a\"b\"c à",
        "--stop-timeout",
        "1s",
    ];
    let words = ["no_timer_check", "--", "two words", "a=b c", ""];
    lab.start_guest("linux", "vm", false, &options, &words).ok();
    let lines = lab.until_console("vm", "guest: ready");
    for wanted in [
        "argument [two words]",
        "argument [a=b c]",
        "argument []",
        "variable [GUEST_A=two words]",
        "variable [GUEST_B=a\"b\"c à]",
        "http://10.0.2.15/",
    ] {
        assert!(lines.iter().any(|line| line.contains(wanted)), "{wanted}: {lines:#?}");
    }
    assert!(get((loopback(1), port), "/").contains("hello"));
}

#[test]
fn a_kernel_is_inspected() {
    let lab = Lab::new("kernels");
    let show = |name: &str| -> Value {
        serde_json::from_str(&lab.kraft(["inspect", "--kernel", &guest(name), "-o", "json"]).ok()).unwrap()
    };
    let unikraft = show("net-unikraft");
    assert_eq!((&unikraft["kind"], &unikraft["bits"]), (&json!("unikraft"), &json!(32)));
    assert_eq!(unikraft["protocols"], json!(["multiboot"]));
    assert_eq!(unikraft["unikraft"]["version"], "0.17.0");
    assert_eq!(unikraft["abilities"]["9p"], true);
    assert_eq!(unikraft["abilities"]["power_button"], false);
    assert_eq!(show("net-unikraft-old")["dialect"], "unikraft-old");
    let linux = show("linux");
    assert_eq!(
        (&linux["kind"], &linux["dialect"], &linux["unikraft"]),
        (&json!("linux"), &json!("linux"), &Value::Null)
    );
    assert_eq!(show("tiny")["dialect"], "plain");
    let text = lab.kraft(["inspect", "--kernel", &guest("tiny")]).ok();
    assert!(text.contains("\ndialect       plain\n"), "{text}");
    let error = lab.kraft(["inspect", "--kernel", "/etc/passwd"]).fails(125);
    assert!(error.contains("is not a kernel"), "{error}");
}
