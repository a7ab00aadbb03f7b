//! Whether this host's KVM runs guests, found out by running one.
//!
//! A `/dev/kvm` that opens may still be unable to run anything: some nested hosts only emulate a guest's instructions
//! one by one and give up at the first that they do not know. So the probe has a vCPU execute such instructions and
//! looks at how that ends. The answer holds until the next boot; [`probe_cached`] keeps it in the runtime directory.
//! The guest itself is in `guest.rs`.

#[cfg(target_arch = "x86_64")]
mod guest;

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Context as _, Result};
use crate::paths;

const CACHE: &str = "kvm.json";

/// The only version of its API that KVM has had since Linux 2.6.22.
const API_VERSION: i32 = 12;

/// Whether guests can run under KVM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kvm {
    /// They can.
    Usable,
    /// They cannot, and why: a phrase that goes on from `KVM cannot be used: `.
    Unusable(String),
}

/// What the guest's run showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// It ran to its end.
    Ran,
    /// KVM could not run it, and never will on this host as it is.
    Broken(String),
    /// It did not get to run this time.
    Prevented(String),
}

impl From<Outcome> for Kvm {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ran => Self::Usable,
            Outcome::Broken(how) => Self::Unusable(format!(
                "{} opens but cannot run guest code (a nested host without support for it): {how}",
                device()
            )),
            Outcome::Prevented(reason) => Self::Unusable(reason),
        }
    }
}

/// What is kept of a probe. It counts for one boot and one user.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    boot: String,
    uid: u32,
    outcome: Outcome,
}

/// Runs a guest of a few instructions. Takes 1 to 3 ms where KVM answers, and never much more than a second.
pub fn probe() -> Kvm {
    match open() {
        Ok(kvm) => run(&kvm).into(),
        Err(reason) => Kvm::Unusable(reason),
    }
}

/// The same, once per boot: the answer is kept in this runtime directory.
///
/// What may change during a boot is looked at every time: that the device is there, opens, and is not taken by another
/// hypervisor. A cache that cannot be read or written costs a probe and is no error.
pub fn probe_cached(runtime_dir: &Path) -> Kvm {
    let kvm = match open() {
        Ok(kvm) => kvm,
        Err(reason) => return Kvm::Unusable(reason),
    };
    let path = runtime_dir.join(CACHE);
    let uid = rustix::process::geteuid().as_raw();
    let Ok(boot) = std::fs::read_to_string(paths::BOOT_ID) else { return run(&kvm).into() };
    let boot = boot.trim();
    if let Ok(text) = std::fs::read(&path)
        && let Some(outcome) = parse(&text, boot, uid)
    {
        return outcome.into();
    }
    let outcome = run(&kvm);
    match &outcome {
        Outcome::Ran | Outcome::Broken(_) => {
            let kept = Kept { boot: boot.to_owned(), uid, outcome: outcome.clone() };
            if let Err(error) = keep(runtime_dir, &path, &kept) {
                log::debug!("cannot keep what is known of KVM: {error}");
            }
        }
        Outcome::Prevented(_) => {}
    }
    outcome.into()
}

/// The answer of an earlier probe, if it was in this boot and for this user.
fn parse(text: &[u8], boot: &str, uid: u32) -> Option<Outcome> {
    let kept: Kept = serde_json::from_slice(text).ok()?;
    if kept.boot != boot || kept.uid != uid {
        return None;
    }
    match kept.outcome {
        Outcome::Ran | Outcome::Broken(_) => Some(kept.outcome),
        Outcome::Prevented(_) => None,
    }
}

fn keep(dir: &Path, path: &Path, kept: &Kept) -> Result<()> {
    let text = serde_json::to_vec(kept).context("cannot write JSON")?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir)
        .with_context(|| format!("cannot make {}", dir.display()))?;
    // Many machines may start at once, each with a probe of its own: a temporary file belongs to one process.
    let temporary = dir.join(format!(".{CACHE}.{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(&text))
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}

fn open() -> Result<kvm_ioctls::Kvm, String> {
    let kvm = kvm_ioctls::Kvm::new_with_path(paths::KVM).map_err(|e| open_failure(Errno::from_raw(e.errno())))?;
    match kvm.get_api_version() {
        API_VERSION => Ok(kvm),
        other => Err(format!("{} speaks version {other} of its API, not {API_VERSION}", device())),
    }
}

fn open_failure(errno: Errno) -> String {
    let device = device();
    match errno {
        Errno::ENOENT => format!("{device} does not exist (no hardware virtualization, or its module is not loaded)"),
        Errno::EACCES | Errno::EPERM => format!("no permission to open {device} (members of group kvm have it)"),
        Errno::ENODEV | Errno::ENXIO => format!("{device} is there but its module is not loaded"),
        Errno::EBUSY => busy(),
        errno => format!("cannot open {device}: {}", errno.desc()),
    }
}

fn busy() -> String {
    format!("{} is busy: another hypervisor has the processor's virtualization", device())
}

fn device() -> std::borrow::Cow<'static, str> {
    paths::KVM.to_string_lossy()
}

#[cfg(target_arch = "x86_64")]
fn run(kvm: &kvm_ioctls::Kvm) -> Outcome {
    match guest::run(kvm) {
        Ok(outcome) => outcome,
        Err(guest::Failure { errno: Errno::EBUSY, .. }) => Outcome::Prevented(busy()),
        Err(guest::Failure { doing, errno }) => Outcome::Prevented(format!("cannot {doing}: {}", errno.desc())),
    }
}

/// Only x86 hosts are known to have a KVM that opens and cannot run guests.
#[cfg(not(target_arch = "x86_64"))]
fn run(_: &kvm_ioctls::Kvm) -> Outcome {
    Outcome::Ran
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(outcome: &Outcome) -> Vec<u8> {
        serde_json::to_vec(&Kept { boot: "b".into(), uid: 7, outcome: outcome.clone() }).unwrap()
    }

    #[test]
    fn an_answer_counts_for_its_boot_and_its_user() {
        let broken = Outcome::Broken("internal error".into());
        assert_eq!(parse(&text(&Outcome::Ran), "b", 7), Some(Outcome::Ran));
        assert_eq!(parse(&text(&broken), "b", 7), Some(broken.clone()));
        assert_eq!(parse(&text(&broken), "c", 7), None);
        assert_eq!(parse(&text(&broken), "b", 8), None);
        assert_eq!(parse(b"{\"boot\":", "b", 7), None);
        assert_eq!(parse(&text(&Outcome::Prevented("no".into())), "b", 7), None);
    }

    #[test]
    fn failures_to_open_say_the_cure() {
        assert!(open_failure(Errno::EACCES).contains("group kvm"));
        assert!(open_failure(Errno::ENOENT).contains("does not exist"));
        assert_eq!(open_failure(Errno::EIO), "cannot open /dev/kvm: I/O error");
    }

    #[test]
    fn a_probe_and_its_cached_answer_agree() {
        let dir = std::env::temp_dir().join(format!("kraft-kvm-{}", std::process::id()));
        let probed = probe();
        let first = probe_cached(&dir);
        let second = probe_cached(&dir);
        let kept = std::fs::read(dir.join(CACHE));
        let files = std::fs::read_dir(&dir).map(Iterator::count);
        let _ = std::fs::remove_dir_all(&dir);
        assert_eq!(probed, first);
        assert_eq!(first, second);
        match (open(), first) {
            (Ok(_), Kvm::Usable) => assert!(kept.is_ok()),
            (Ok(_), Kvm::Unusable(reason)) if reason.contains("cannot run guest code") => {
                assert!(kept.is_ok());
                assert_eq!(files.unwrap(), 1, "a temporary file was left");
            }
            (_, Kvm::Unusable(reason)) => assert!(kept.is_err(), "kept: {reason}"),
            (Err(reason), Kvm::Usable) => panic!("usable, yet {reason}"),
        }
    }
}
