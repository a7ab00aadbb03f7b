//! Opening the directory that a guest is to see, so that nobody can put another in its place between the look and the
//! use: what is handed on is the open directory, not its path.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;

use crate::error::{Context as _, Error, IntoError as _, Kind, Result};

/// What to do about a directory that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Fail.
    Refuse,
    /// Make it, with all that leads there.
    Make,
}

const HOW: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A directory of the host's. Symbolic links on the way are the host's own and are followed.
///
/// # Errors
/// [`Kind::NotFound`] when it is not there; when it is no directory.
pub fn open_dir(path: &Path, missing: Missing) -> Result<OwnedFd> {
    let cannot = || format!("cannot share {}", path.display());
    if missing == Missing::Make {
        std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    match openat(CWD, path, HOW, Mode::empty()) {
        Err(Errno::NOENT) => Err(Error::of(Kind::NotFound, format!("{}: it does not exist", cannot()))
            .with_hint("`--mkdir` at `kraft run` or `kraft create` makes missing directories")),
        Err(Errno::NOTDIR) => Err(no_directory(cannot(), path)),
        result => result.with_context(cannot),
    }
}

/// A directory below a volume's root. Guests write there: no symbolic link leads out of it.
///
/// # Errors
/// [`Kind::NotFound`] when it is not there; when it is no directory, or the way to it leaves the root.
pub fn open_below(root: &Path, below: &Path, shown: &str, missing: Missing) -> Result<OwnedFd> {
    let cannot = || format!("cannot share {shown}");
    let mut dir: OwnedFd = File::open(root).with_context(cannot)?.into();
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    if missing == Missing::Make {
        // One step at a time, as there is no call that makes directories beneath one and follows no link out.
        let top = dir.try_clone().with_context(cannot)?;
        let mut so_far = std::path::PathBuf::new();
        for component in below.components() {
            let Component::Normal(name) = component else { continue };
            match mkdirat(&dir, name, Mode::from_raw_mode(0o755)) {
                Err(Errno::EXIST) => {}
                result => result.with_context(|| format!("cannot make {shown}"))?,
            }
            so_far.push(name);
            dir =
                openat2(&top, &so_far, HOW, Mode::empty(), beneath).map_err(|errno| because(errno, cannot(), below))?;
        }
        return Ok(dir);
    }
    let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    openat2(&dir, below, HOW, Mode::empty(), beneath).map_err(|errno| because(errno, cannot(), below))
}

fn because(errno: Errno, cannot: String, path: &Path) -> Error {
    match errno {
        Errno::NOENT => Error::of(Kind::NotFound, format!("{cannot}: it does not exist"))
            .with_hint("`--mkdir` at `kraft run` or `kraft create` makes missing directories"),
        Errno::NOTDIR => no_directory(cannot, path),
        Errno::XDEV | Errno::LOOP => Error::new(format!("{cannot}: a symbolic link on the way leaves the volume")),
        errno => errno.into_error().context(cannot),
    }
}

fn no_directory(cannot: String, path: &Path) -> Error {
    let error = Error::new(format!("{cannot}: it is not a directory"));
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => error.with_hint(format!("a whole directory can be shared, such as {}", parent.display())),
        None => error,
    }
}

/// A new volume's root: what a guest's users see of it is what the guest makes of it, so it is open to them. On the host
/// the directory above it is closed.
pub(super) fn make_root(path: &Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let cannot = || format!("cannot make {}", path.display());
    std::fs::DirBuilder::new().mode(0o755).create(path).with_context(cannot)?;
    // Whatever the umask.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).with_context(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_a_volume() {
        let root = std::env::temp_dir().join(format!("kraft-root-{}", std::process::id()));
        std::fs::create_dir_all(root.join("data/a")).unwrap();
        std::fs::create_dir_all(root.join("out")).unwrap();
        std::fs::write(root.join("data/file"), "").unwrap();
        for (link, to) in [("up", "../out"), ("abs", "/"), ("loop", "loop"), ("in", "a")] {
            std::os::unix::fs::symlink(to, root.join("data").join(link)).unwrap();
        }
        let open = |below: &str, missing| {
            open_below(&root.join("data"), below.as_ref(), "v", missing).map(drop).map_err(|e| e.to_string())
        };
        for good in ["", "a", "in"] {
            assert_eq!(open(good, Missing::Refuse), Ok(()), "{good}");
        }
        let out = Err("cannot share v: a symbolic link on the way leaves the volume".to_owned());
        for bad in ["up", "abs", "loop", "a/../../out"] {
            assert_eq!(open(bad, Missing::Refuse), out, "{bad}");
        }
        for bad in ["up/new", "abs/new"] {
            assert_eq!(open(bad, Missing::Make), out, "{bad}");
        }
        assert!(!root.join("out/new").exists());
        assert_eq!(open("file", Missing::Refuse), Err("cannot share v: it is not a directory".into()));
        assert_eq!(open("new", Missing::Refuse), Err("cannot share v: it does not exist".into()));
        assert_eq!(open("new/er", Missing::Make), Ok(()));
        assert!(root.join("data/new/er").is_dir());
        let error = open_dir(&root.join("data/file"), Missing::Refuse).unwrap_err();
        assert!(error.to_string().ends_with("it is not a directory") && error.hint().is_some(), "{error}");
        assert_eq!(open_dir(&root.join("no"), Missing::Refuse).unwrap_err().kind(), Kind::NotFound);
        std::fs::remove_dir_all(root).unwrap();
    }
}
