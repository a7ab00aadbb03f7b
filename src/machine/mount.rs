//! Volumes of a machine: a directory of the host's that its guest sees, as a person writes it and as a record keeps it.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ShareDriver, VolumeName};
use crate::error::{Error, Result};

/// Where a volume's files are, as a person points at them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A directory of the host's, perhaps relative.
    Path(PathBuf),
    /// A named volume, or a directory below its root, if that is not empty: relative, without `..`.
    Volume(VolumeName, PathBuf),
}

/// A volume as written: `SRC:DST[:OPTIONS]`.
///
/// What begins with `/` or `.` is a path; anything else names a volume, perhaps with a path below its root. No colon can stand in it: a directory with one in its name is reached by `.` from inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountRequest {
    /// The host's side.
    pub source: MountSource,
    /// The guest's side: absolute, without `.`, `..` or doubled slashes.
    pub target: String,
    /// The guest cannot write.
    pub read_only: bool,
    /// How it gets there, if that was said.
    pub driver: Option<ShareDriver>,
}

impl FromStr for MountRequest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::new(format!("bad volume '{}': {why}", text.escape_debug()));
        let fields: Vec<&str> = text.split(':').collect();
        let (source, target, options) = match fields[..] {
            [_] => return Err(bad("it has no place in the guest").with_hint("expected SRC:DST[:OPTIONS]")),
            [source, target] => (source, target, None),
            [source, target, options] => (source, target, Some(options)),
            _ => {
                let hint = "a directory with a colon in its name can be given as `.`, from inside it";
                return Err(bad("it has too many colons").with_hint(hint));
            }
        };
        let mut request = Self {
            source: parse_source(source).map_err(|error| error.context(bad_volume(text)))?,
            target: parse_target(target).map_err(bad)?,
            read_only: false,
            driver: None,
        };
        let mut access = None;
        for option in options.into_iter().flat_map(|options| options.split(',')) {
            let twice = match option {
                "ro" | "rw" => access.replace(option == "ro").is_some(),
                word => match word.parse() {
                    Ok(driver) => request.driver.replace(driver).is_some(),
                    Err(_) => {
                        let why = format!("unknown option '{}': known are ro, rw, 9p, virtiofs", word.escape_debug());
                        return Err(bad(&why));
                    }
                },
            };
            if twice {
                return Err(bad(&format!("its option {option} excludes another one")));
            }
        }
        request.read_only = access.unwrap_or(false);
        Ok(request)
    }
}

impl MountRequest {
    /// What is known before the host is asked: a named volume may have a driver of its own.
    pub fn mount(self) -> Mount {
        let Self { source, target, read_only, driver } = self;
        let (volume, source) = match source {
            MountSource::Path(path) => (None, path),
            MountSource::Volume(name, below) => (Some(name), below),
        };
        Mount { volume, source, target, read_only, driver: driver.unwrap_or(ShareDriver::NineP), own: false }
    }

    /// A place in the guest, made plain.
    ///
    /// # Errors
    /// When it is none.
    pub fn target(text: &str) -> Result<String> {
        parse_target(text).map_err(|why| Error::new(format!("bad place '{}': {why}", text.escape_debug())))
    }
}

impl FromStr for MountSource {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse_source(text)
    }
}

/// As it is written, but that a path with a colon in it does not come back.
impl fmt::Display for MountRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            MountSource::Path(path) => write!(f, "{}", path.display())?,
            MountSource::Volume(name, below) if is_empty(below) => write!(f, "{name}")?,
            MountSource::Volume(name, below) => write!(f, "{name}/{}", below.display())?,
        }
        write!(f, ":{}", self.target)?;
        let driver = self.driver.map(|driver| driver.as_str());
        let options: Vec<&str> = self.read_only.then_some("ro").into_iter().chain(driver).collect();
        if options.is_empty() { Ok(()) } else { write!(f, ":{}", options.join(",")) }
    }
}

fn bad_volume(text: &str) -> String {
    format!("bad volume '{}'", text.escape_debug())
}

fn parse_source(text: &str) -> Result<MountSource> {
    if text.is_empty() {
        return Err(Error::new("it has no source on the host"));
    }
    if text.contains('\0') {
        return Err(Error::new("it holds a NUL"));
    }
    if text.starts_with(['/', '.']) {
        return Ok(MountSource::Path(text.into()));
    }
    let (name, below) = text.split_once('/').unwrap_or((text, ""));
    let name = name.parse().map_err(|error: Error| {
        error.with_hint(format!("a path begins with / or . as in './{}'", text.escape_debug()))
    })?;
    let below = Path::new(below);
    if below.components().any(|component| !matches!(component, Component::Normal(_) | Component::CurDir)) {
        return Err(Error::new("a path below a volume's root has no '..' and does not begin with '/'"));
    }
    Ok(MountSource::Volume(name, below.components().filter(|c| matches!(c, Component::Normal(_))).collect()))
}

fn parse_target(text: &str) -> Result<String, &'static str> {
    if !text.starts_with('/') {
        return Err("its place in the guest is not an absolute path");
    }
    if text.contains(|c: char| c.is_control()) {
        return Err("its place in the guest holds a control character");
    }
    let mut target = String::new();
    for component in text.split('/').filter(|component| !matches!(*component, "" | ".")) {
        if component == ".." {
            return Err("its place in the guest holds '..'");
        }
        target.push('/');
        target.push_str(component);
    }
    if target.is_empty() {
        target.push('/');
    }
    Ok(target)
}

/// A directory of the host's in the guest. In a record everything is settled: the source is absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The named volume, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeName>,
    /// The host's directory: absolute, or, of a named volume, relative to its root.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub source: PathBuf,
    /// Where the guest sees it, an absolute path of its own.
    pub target: String,
    /// The guest cannot write, whatever it tries.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// How it gets there.
    pub driver: ShareDriver,
    /// It is the machine's own root file system: nobody gave it, and it goes with the machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own: bool,
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

impl Mount {
    /// A machine's own root file system, in this directory.
    pub fn own_root(source: PathBuf) -> Self {
        Self { volume: None, source, target: "/".into(), read_only: false, driver: ShareDriver::NineP, own: true }
    }

    /// What is shared, as a person would write it: `html`, `html/site`, `/srv/www`.
    pub fn what(&self) -> String {
        match &self.volume {
            Some(volume) if is_empty(&self.source) => volume.to_string(),
            Some(volume) => format!("{volume}/{}", self.source.display()),
            None => self.source.display().to_string(),
        }
    }
}

/// As a person would write it: `html:/www:ro`.
impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.what(), self.target)?;
        let driver = (self.driver != ShareDriver::NineP).then(|| self.driver.as_str());
        let options: Vec<&str> = self.read_only.then_some("ro").into_iter().chain(driver).collect();
        if options.is_empty() { Ok(()) } else { write!(f, ":{}", options.join(",")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> MountRequest {
        text.parse().expect(text)
    }

    #[test]
    fn sources_are_paths_or_volumes() {
        for path in [".", "..", ".html", "./html", "../a b", "/srv/w,w=w", "/", ".//x"] {
            assert_eq!(parsed(&format!("{path}:/www")).source, MountSource::Path(path.into()), "{path}");
        }
        let volume = |name: &str, below: &str| MountSource::Volume(name.parse().unwrap(), below.into());
        assert_eq!(parsed("html:/www").source, volume("html", ""));
        assert_eq!(parsed("html/:/www").source, volume("html", ""));
        assert_eq!(parsed("html/a/./b:/www").source, volume("html", "a/b"));
    }

    #[test]
    fn options() {
        let said = |text: &str| {
            let request = parsed(text);
            (request.read_only, request.driver)
        };
        assert_eq!(said("v:/w"), (false, None));
        assert_eq!(said("v:/w:rw"), (false, None));
        assert_eq!(said("v:/w:ro,virtiofs"), (true, Some(ShareDriver::Virtiofs)));
        assert_eq!(said("v:/w:9pfs,ro"), (true, Some(ShareDriver::NineP)));
    }

    #[test]
    fn targets_are_made_plain() {
        for (target, plain) in [("/", "/"), ("//a///b/", "/a/b"), ("/a/./b", "/a/b"), ("/a b,\"[c]'", "/a b,\"[c]'")] {
            assert_eq!(parsed(&format!("v:{target}")).target, plain);
        }
    }

    #[test]
    fn what_is_refused_says_why() {
        for (bad, why) in [
            ("", "no place in the guest"),
            ("html", "no place in the guest"),
            (":/www", "no source"),
            ("a:/b:ro:x", "too many colons"),
            ("html:www", "not an absolute path"),
            ("html:", "not an absolute path"),
            ("html:/a/../b", "'..'"),
            ("html:/a\nb", "control character"),
            ("html:/www:", "unknown option ''"),
            ("html:/www:z", "unknown option 'z': known are ro, rw, 9p, virtiofs"),
            ("html:/www:ro,rw", "excludes another"),
            ("html:/www:9p,virtiofs", "excludes another"),
            ("Html:/www", "bad volume name 'Html'"),
            ("a\nb:/www", "bad volume name 'a\\nb'"),
            ("html/../x:/www", "no '..'"),
            ("html//x/..:/www", "no '..'"),
            (&format!("{}:/www", "a".repeat(300)), "at most 64"),
        ] {
            let error = bad.parse::<MountRequest>().expect_err(bad).to_string();
            assert!(error.contains(why), "{bad}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_no_volume_is_left_upwards(text in "[a./:~,\n\"\\[ ]{0,24}|.{0,40}") {
            if let Ok(request) = text.parse::<MountRequest>() {
                prop_assert!(request.target.starts_with('/'));
                prop_assert!(!request.target.split('/').any(|part| part == ".." || part == "."));
                if let MountSource::Volume(name, below) = request.source {
                    prop_assert!(name.as_str().parse::<VolumeName>().is_ok());
                    prop_assert!(below.components().all(|c| matches!(c, Component::Normal(_))));
                }
            }
        }

        #[test]
        fn what_is_shown_is_read_again(below in "([a-z]{1,3}(/[a-z]{1,3}){0,2})?", ro: bool, virtiofs: bool) {
            let driver = if virtiofs { ShareDriver::Virtiofs } else { ShareDriver::NineP };
            let mount = Mount {
                volume: Some("v".parse().unwrap()), source: below.clone().into(), target: "/w".into(), read_only: ro, driver,
                own: false,
            };
            let request = parsed(&mount.to_string());
            prop_assert_eq!(request.source, MountSource::Volume("v".parse().unwrap(), below.into()));
            prop_assert_eq!((request.read_only, request.driver.unwrap_or(ShareDriver::NineP)), (ro, driver));
        }
    }
}
