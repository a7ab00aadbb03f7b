//! `x-kraft` of a service, what only unikernels have, and `platform`. Pure.

use super::model::Own;
use super::read::{At, Notes, Unread};
use crate::error::Error;
use crate::machine::{Compression, parse_duration};

const KNOWN: &[&str] = &[
    "kernel-args",
    "elfloader",
    "rootfs",
    "rootfs-compress",
    "platform",
    "arch",
    "accel",
    "machine-type",
    "dialect",
    "sandbox",
    "machined",
    "properties",
    "memory-max",
    "ready",
    "ready-timeout",
    "health",
    "health-on-failure",
];

const UNREAD: &[(&str, Unread)] =
    &[("enable", Unread::Refused("a project starts at boot as a whole: `x-kraft: enable` at the top of the file"))];

/// Reads `x-kraft` of a service.
pub(super) fn read(service: &At<'_>, notes: &mut Notes) -> Own {
    let Some(at) = service.get("x-kraft") else { return Own::default() };
    at.check_keys(notes, KNOWN, UNREAD);
    macro_rules! parsed {
        ($key:literal) => {
            at.get($key).and_then(|at| at.parsed(notes))
        };
    }
    Own {
        kernel_args: at.get("kernel-args").map(|at| at.texts(notes)).unwrap_or_default(),
        elfloader: at.get("elfloader").and_then(|at| at.text(notes).map(Into::into)),
        rootfs: at.get("rootfs").and_then(|at| at.text(notes).map(Into::into)),
        rootfs_compress: parsed!("rootfs-compress").unwrap_or(Compression::None),
        platform: parsed!("platform"),
        arch: parsed!("arch"),
        accel: parsed!("accel"),
        machine_type: parsed!("machine-type"),
        dialect: parsed!("dialect"),
        sandbox: parsed!("sandbox"),
        machined: parsed!("machined"),
        properties: at.get("properties").map(|at| at.texts(notes)).unwrap_or_default(),
        memory_max: parsed!("memory-max"),
        ready: parsed!("ready"),
        ready_timeout: at.get("ready-timeout").and_then(|at| at.read(notes, parse_duration)),
    }
}

/// `platform`: `linux/amd64` as docker has it, `qemu/x86_64` as upstream's kraft does, or an architecture alone.
pub(super) fn platform(own: &mut Own, text: &str, at: &At<'_>, notes: &mut Notes) {
    let (platform, arch) = text.split_once('/').map_or((None, text), |(platform, arch)| (Some(platform), arch));
    // What docker calls linux says nothing of who runs a unikernel.
    if let Some(platform) = platform.filter(|platform| *platform != "linux") {
        match platform.parse() {
            Ok(platform) => own.platform = own.platform.or(Some(platform)),
            Err(error) => at.flaw(notes, error),
        }
    }
    let arch = arch.split('/').next().unwrap_or_default();
    match arch.parse() {
        Ok(arch) => own.arch = own.arch.or(Some(arch)),
        Err(error) if platform.is_some() => at.flaw(notes, error),
        Err(_) => at.flaw(notes, Error::new(format!("'{}' is not PLATFORM/ARCHITECTURE", text.escape_debug()))),
    }
}
