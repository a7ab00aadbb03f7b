//! Linux's dialect. What becomes of its line:
//!
//! - `init/main.c`: what is no parameter of the kernel's and has no dot in its name becomes a variable of init's
//!   environment where it has a value; there is room for 31. What stands behind `--` becomes init's arguments, at most 32;
//!   a second `--` ends them.
//! - `Documentation/admin-guide/nfs/nfsroot.rst`: `ip=CLIENT:SERVER:ROUTER:MASK:HOST:DEVICE:AUTOCONF:DNS:DNS`, for a kernel
//!   with `CONFIG_IP_PNP` or an initial RAM disk that reads it. A host name with a dot brings the domain. Host name and
//!   domain have 64 characters.
//! - `systemd-fstab-generator(8)`, since 254: `systemd.mount-extra=WHAT:WHERE:TYPE:OPTIONS`, with escapes as in C.
//! - `COMMAND_LINE_SIZE` is 2048 with the NUL on x86 and Arm.

use super::{Mounted, Told, V4, refusal, shown, split, within};
use crate::error::Result;
use crate::machine::{Arch, Dialect, MachineType, ShareDriver, Spec};

const BYTES: usize = 2047;
/// QEMU's microvm tells Linux of its devices by adding to the line: 64 bytes for each of eight.
const MICROVM: usize = 8 * 64;
const ENVIRONMENT: usize = 31;
const ARGUMENTS: usize = 32;
const NAME: usize = 64;

/// Lower-case names that the kernel itself takes, so that init would not see such a variable.
const TAKEN: [&str; 40] = [
    "acpi",
    "apparmor",
    "clocksource",
    "console",
    "debug",
    "earlycon",
    "earlyprintk",
    "hostname",
    "hugepages",
    "idle",
    "init",
    "initrd",
    "iommu",
    "ip",
    "isolcpus",
    "lockdown",
    "loglevel",
    "maxcpus",
    "mem",
    "memmap",
    "mitigations",
    "netdev",
    "nfsroot",
    "nohz",
    "noinitrd",
    "nr_cpus",
    "panic",
    "pci",
    "profile",
    "quiet",
    "rdinit",
    "reboot",
    "ro",
    "root",
    "rootdelay",
    "rootflags",
    "rootfstype",
    "rootwait",
    "rw",
    "security",
];

pub(super) fn render(spec: &Spec, told: &Told<'_>) -> Result<String> {
    let typed = spec.kernel_args.join(" ");
    let read = split::linux(typed.as_bytes());
    let mut words = Vec::new();
    let has_console = |word: &Vec<u8>| word.starts_with(b"console=");
    if !read.words.iter().any(has_console) {
        words.push(match spec.arch {
            Arch::X86_64 => "console=ttyS0".to_owned(),
            Arch::Arm64 => "console=ttyAMA0".to_owned(),
        });
    }
    addresses(told, &mut words)?;
    for mount in told.mounts_in_order() {
        words.push(mounted(mount));
    }
    for (key, value) in &spec.env {
        words.push(variable(key, value)?);
    }
    if spec.env.len() > ENVIRONMENT {
        let why = format!("it takes at most {ENVIRONMENT} variables, not {}", spec.env.len());
        return Err(refusal("such an environment", Dialect::Linux, &why));
    }
    if spec.app_args.len() > ARGUMENTS {
        let why = format!("init takes at most {ARGUMENTS}, not {}", spec.app_args.len());
        return Err(refusal("so many arguments", Dialect::Linux, &why));
    }
    if read.open {
        return Err(refusal(&shown("kernel arguments", &typed), Dialect::Linux, "a quote in them is left open"));
    }
    if read.words.iter().any(|word| word == b"--") {
        let why = "what comes behind it is init's";
        return Err(refusal("kernel argument '--'", Dialect::Linux, why));
    }
    if !spec.app_args.is_empty() {
        words.push("--".into());
    }
    for argument in &spec.app_args {
        if argument == "--" {
            return Err(refusal("argument '--'", Dialect::Linux, "it ends init's arguments"));
        }
        words.push(word(argument, &shown("argument", argument))?);
    }
    let line: Vec<String> = (!typed.is_empty()).then_some(typed).into_iter().chain(words).collect();
    let most = if spec.machine_type == Some(MachineType::Microvm) { BYTES - MICROVM } else { BYTES };
    within(line.join(" "), most, Dialect::Linux)
}

fn addresses(told: &Told<'_>, words: &mut Vec<String>) -> Result<()> {
    for (index, interface) in told.interfaces.iter().enumerate() {
        let Some(v4) = V4::of(interface, Dialect::Linux)? else { continue };
        let host = match (v4.host, v4.domain) {
            (host, "") => host.to_owned(),
            ("", domain) => {
                return Err(refusal(&shown("domain", domain), Dialect::Linux, "it goes with a host name alone"));
            }
            (host, domain) => format!("{host}.{domain}"),
        };
        for (what, name) in [("host name", v4.host), ("domain", v4.domain)] {
            if name.len() > NAME {
                let why = format!("it has more than {NAME} characters");
                return Err(refusal(&shown(what, name), Dialect::Linux, &why));
            }
        }
        let (address, gateway, mask) = (v4.address, v4.gateway(), v4.mask);
        let text = format!("ip={address}::{gateway}:{mask}:{host}:eth{index}:off:{}:{}", v4.dns(0), v4.dns(1));
        words.push(word(text.trim_end_matches(':'), &shown("host name", &host))?);
    }
    Ok(())
}

fn mounted(mount: &Mounted<'_>) -> String {
    let (kind, options) = match (mount.driver, mount.read_only) {
        (ShareDriver::NineP, false) => ("9p", "trans=virtio,version=9p2000.L"),
        (ShareDriver::NineP, true) => ("9p", "trans=virtio,version=9p2000.L,ro"),
        (ShareDriver::Virtiofs, false) => ("virtiofs", "rw"),
        (ShareDriver::Virtiofs, true) => ("virtiofs", "ro"),
    };
    format!("systemd.mount-extra={}:{}:{kind}:{options}", escaped(&mount.tag), escaped(mount.target))
}

/// Text in which nothing means anything to the kernel or to systemd.
fn escaped(text: &str) -> String {
    let literal = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+@".contains(byte);
    text.bytes()
        .map(|byte| if literal(&byte) { char::from(byte).to_string() } else { format!("\\x{byte:02x}") })
        .collect()
}

/// A variable of init's environment.
fn variable(key: &str, value: &str) -> Result<String> {
    let what = || shown("environment variable", key);
    if key.contains('.') {
        return Err(refusal(&what(), Dialect::Linux, "with a dot it would be taken for a module's parameter"));
    }
    if TAKEN.contains(&key.replace('-', "_").as_str()) {
        return Err(refusal(&what(), Dialect::Linux, "it is a parameter of the kernel's own"));
    }
    if key.starts_with('"') {
        return Err(refusal(&what(), Dialect::Linux, "its name begins with a quote"));
    }
    word(&format!("{key}={value}"), &shown("environment variable", &format!("{key}={value}")))
}

/// A value as one word: the first of the ways to write it that the kernel reads as it is, whatever follows.
fn word(value: &str, what: &str) -> Result<String> {
    let in_value = value.split_once('=').map(|(name, value)| format!("{name}=\"{value}\""));
    let ways = [Some(value.to_owned()), in_value, Some(format!("\"{value}\""))];
    let arrives = |way: &String| {
        let read = split::linux(format!("{way} next").as_bytes());
        !way.is_empty() && !read.open && read.words == [value.as_bytes(), b"next"]
    };
    ways.into_iter().flatten().find(arrives).ok_or_else(|| {
        refusal(what, Dialect::Linux, "it cannot be quoted there: that knows double quotes alone, and no escapes")
    })
}
