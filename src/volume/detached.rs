//! A directory of the host's as a mount that nobody else sees: what an unprivileged VMM is handed in its place.
//!
//! The mount is id-mapped: to the machine's user the files of the directory's owner are his own, and what he makes
//! belongs to that owner on the host. Owner and user trade places; everybody else stays who he is. No file is a device or
//! lends its owner's rights there, so nothing that a guest writes is of use to others on the host beyond its content.

#![allow(unsafe_code, reason = "open_tree, mount_setattr and a process for a user namespace have no safe wrapper")]

use std::fs::File;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;

use crate::error::{Context as _, Error, Result};
use crate::paths;

/// A file system without a way to do this for a whole tree is asked for its top alone.
const HOW_DEEP: [i32; 2] = [libc::AT_RECURSIVE, 0];

/// Makes such a mount of an open directory, for this user and group if they are not the directory's. Where its file
/// system cannot map owners, the machine has the rights there that everybody has: that is told in a warning.
///
/// # Errors
/// When it cannot be made.
pub fn detached(directory: BorrowedFd<'_>, read_only: bool, user: Option<(u32, u32)>, what: &str) -> Result<OwnedFd> {
    let cannot = || format!("cannot share {what}");
    let mount = open_tree(directory).with_context(cannot)?;
    let mut flags = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    if read_only {
        flags |= libc::MOUNT_ATTR_RDONLY;
    }
    set(&mount, flags, None, libc::AT_RECURSIVE).with_context(cannot)?;
    let about = File::from(directory.try_clone_to_owned().with_context(cannot)?).metadata().with_context(cannot)?;
    if let Some((uid, gid)) = user
        && (uid, gid) != (about.uid(), about.gid())
    {
        let namespace = user_namespace(&trade(about.uid(), uid), &trade(about.gid(), gid)).with_context(cannot)?;
        if !map(&mount, &namespace) {
            log::warn!("{what}: its file system cannot map owners, so the guest may do there what everybody may");
        }
    }
    Ok(mount)
}

/// Whether a machine's user can be given the files of this directory as his own. Only root can tell.
pub fn maps_owners(directory: BorrowedFd<'_>) -> bool {
    let mapped = || Ok::<_, Error>(map(&open_tree(directory)?, &user_namespace(&trade(0, 1), &trade(0, 1))?));
    mapped().unwrap_or(false)
}

/// Which mount a directory is in; `None` where the kernel does not tell.
pub fn mount_of(directory: BorrowedFd<'_>) -> Option<u64> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    let about = statx(directory, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    StatxFlags::from_bits_retain(about.stx_mask).contains(StatxFlags::MNT_ID).then_some(about.stx_mnt_id)
}

/// Has a mount show its files as a namespace's users own them; false if its file system cannot.
fn map(mount: &OwnedFd, namespace: &OwnedFd) -> bool {
    HOW_DEEP.iter().any(|&deep| set(mount, 0, Some(namespace), deep).is_ok())
}

fn open_tree(directory: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    let deep = (libc::AT_RECURSIVE | libc::AT_EMPTY_PATH).unsigned_abs();
    // SAFETY: the descriptor is open and the path is an empty string.
    let opened = unsafe { libc::syscall(libc::SYS_open_tree, directory.as_raw_fd(), c"".as_ptr(), flags | deep) };
    let fd = Errno::result(opened).context("cannot make a mount of it")?;
    let fd = i32::try_from(fd).map_err(|_| Error::new("not a descriptor"))?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set(mount: &OwnedFd, flags: u64, namespace: Option<&OwnedFd>, deep: i32) -> Result<()> {
    let attributes = libc::mount_attr {
        attr_set: flags | if namespace.is_some() { libc::MOUNT_ATTR_IDMAP } else { 0 },
        attr_clr: 0,
        propagation: 0,
        userns_fd: namespace.map_or(0, |namespace| namespace.as_raw_fd().unsigned_abs().into()),
    };
    // SAFETY: the descriptors are open, the path is an empty string and the attributes outlive the call.
    let set = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | deep,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    Errno::result(set).map(drop).context("cannot set what its mount allows")
}

/// A user namespace with these maps. It lives as long as the descriptor.
fn user_namespace(uids: &str, gids: &str) -> Result<OwnedFd> {
    let cannot = "cannot make a map of owners";
    let (wait, go) = std::io::pipe().context(cannot)?;
    let flags = libc::c_long::from(libc::CLONE_NEWUSER | libc::SIGCHLD);
    // SAFETY: this is fork with a new user namespace; the child makes two system calls on a copy of this one thread's
    // memory and ends.
    let child = Errno::result(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) }).context(cannot)?;
    if child == 0 {
        let mut byte = 0u8;
        // SAFETY: as above. Its own copy of the writing end is closed first, so that the read ends with its parent.
        unsafe {
            libc::close(go.as_raw_fd());
            libc::read(wait.as_raw_fd(), (&raw mut byte).cast(), 1);
            libc::_exit(0);
        }
    }
    let process = Path::new(paths::PROCESSES).join(child.to_string());
    let made = std::fs::write(process.join("uid_map"), uids)
        .and_then(|()| std::fs::write(process.join("gid_map"), gids))
        .and_then(|()| File::open(process.join("ns/user")));
    drop(go);
    let child = i32::try_from(child).map_err(|_| Error::new("not a process"))?;
    let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(child), None);
    made.map(OwnedFd::from).context(cannot)
}

/// A map in which two trade places and everybody else stays.
fn trade(one: u32, other: u32) -> String {
    let (low, high) = (one.min(other), one.max(other));
    if low == high {
        return format!("0 0 {}\n", u32::MAX);
    }
    let lines = [
        (0, 0, low),
        (low, high, 1),
        (low + 1, low + 1, high - low - 1),
        (high, low, 1),
        (high.saturating_add(1), high.saturating_add(1), u32::MAX - high.saturating_add(1)),
    ];
    let lines = lines.iter().filter(|(_, _, count)| *count > 0);
    lines.map(|(inside, outside, count)| format!("{inside} {outside} {count}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_trade_places() {
        assert_eq!(trade(0, 64580), "0 64580 1\n1 1 64579\n64580 0 1\n64581 64581 4294902714\n");
        assert_eq!(
            trade(64580, 1000),
            "0 0 1000\n1000 64580 1\n1001 1001 63579\n64580 1000 1\n64581 64581 4294902714\n"
        );
        assert_eq!(trade(7, 8), "0 0 7\n7 8 1\n8 7 1\n9 9 4294967286\n");
        assert_eq!(trade(5, 5), "0 0 4294967295\n");
    }
}
