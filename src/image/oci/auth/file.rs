//! A file of credentials as docker and podman write it. What we do not know in it stays as it is.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::Credentials;
use crate::error::{Context as _, Error, Kind, Result};
use crate::store::{self, Lock};

/// How docker calls its own registry here.
const DOCKER: &str = "https://index.docker.io/v1/";
const AUTHS: &str = "auths";

/// Such a file.
#[derive(Debug)]
pub(super) struct AuthFile {
    path: PathBuf,
    content: Map<String, Value>,
}

/// What a registry is called in such a file and by helpers.
pub(super) fn server(registry: &str) -> &str {
    if registry == "docker.io" { DOCKER } else { registry }
}

impl AuthFile {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf(), content: Map::new() }
    }

    /// Reads it; `None` when there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let text = match std::fs::read(path) {
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        Self::parse(path, &text).map(Some)
    }

    fn parse(path: &Path, text: &[u8]) -> Result<Self> {
        if text.trim_ascii().is_empty() {
            return Ok(Self::new(path));
        }
        let bad = |e: serde_json::Error| Error::new(format!("{}:{}: {e}", path.display(), e.line()));
        Ok(Self { path: path.to_path_buf(), content: serde_json::from_slice(text).map_err(bad)? })
    }

    /// The helper that keeps what this registry wants.
    pub(super) fn helper(&self, registry: &str) -> Option<&str> {
        // podman calls docker's own registry by its name.
        let named = |name: &str| self.content.get("credHelpers").and_then(|all| all.get(name));
        let of_registry = named(server(registry)).or_else(|| named(registry));
        let of_all = || self.content.get("credsStore");
        of_registry.or_else(of_all).and_then(Value::as_str).filter(|helper| !helper.is_empty())
    }

    /// What it has for a repository, or for its registry. What is for the longest part of the name counts.
    pub(super) fn find(&self, registry: &str, repository: &str) -> Result<Option<Credentials>> {
        let Some(auths) = self.content.get(AUTHS).and_then(Value::as_object) else { return Ok(None) };
        let whole = format!("{registry}/{repository}");
        let mut best: Option<(usize, &Value)> = None;
        for (key, value) in auths {
            let name = bare(key);
            let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
            let fits = whole.strip_prefix(name).is_some_and(below);
            if fits && best.is_none_or(|(length, _)| name.len() > length) {
                best = Some((name.len(), value));
            }
        }
        let Some((_, entry)) = best else { return Ok(None) };
        self.credentials(registry, entry)
    }

    fn credentials(&self, registry: &str, entry: &Value) -> Result<Option<Credentials>> {
        let text = |key| entry.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(token) = text("identitytoken") {
            return Ok(Some(Credentials::Identity(token.to_owned())));
        }
        if let Some(token) = text("registrytoken") {
            return Ok(Some(Credentials::Token(token.to_owned())));
        }
        if let Some(auth) = text("auth") {
            let bad = || Error::new(format!("{}: bad auth of {registry}: not USER:PASSWORD", self.path.display()));
            let decoded = STANDARD.decode(auth.trim()).map_err(|_| bad())?;
            let decoded = String::from_utf8(decoded).map_err(|_| bad())?;
            let (user, password) = decoded.split_once(':').ok_or_else(bad)?;
            // Docker fills it up with NULs.
            let password = password.trim_end_matches('\0').to_owned();
            return Ok(Some(Credentials::Password { user: user.to_owned(), password }));
        }
        let (Some(user), Some(password)) = (text("username"), text("password")) else { return Ok(None) };
        Ok(Some(Credentials::Password { user: user.to_owned(), password: password.to_owned() }))
    }

    pub(super) fn set(&mut self, registry: &str, user: &str, password: &str) {
        self.remove(registry);
        let auths = self.content.entry(AUTHS).or_insert_with(|| json!({}));
        if !auths.is_object() {
            *auths = json!({});
        }
        auths[server(registry)] = json!({ "auth": STANDARD.encode(format!("{user}:{password}")) });
    }

    /// Removes what it has for the whole registry. Says whether there was anything.
    pub(super) fn remove(&mut self, registry: &str) -> bool {
        let Some(auths) = self.content.get_mut(AUTHS).and_then(Value::as_object_mut) else { return false };
        let before = auths.len();
        auths.retain(|key, _| bare(key) != registry);
        auths.len() != before
    }

    /// Writes it whole, for its owner alone.
    pub(super) fn write(&self) -> Result<()> {
        use std::io::Write as _;
        let cannot = || format!("cannot write {}", self.path.display());
        let path = resolved(&self.path);
        let dir = dir_of(&path);
        let text = serde_json::to_string_pretty(&self.content).with_context(cannot)?;
        // The directory may be one that others write to: nobody is to find the file, or to have it open, before it is ours.
        let suffix: String = store::random()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let new = dir.join(format!(".kraft-credentials.{suffix}"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
        let written = file.and_then(|mut file| {
            writeln!(file, "{text}")?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            File::open(dir)?.sync_all()
        });
        if written.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        written.with_context(cannot)
    }
}

/// The right to change such a file, which others of us wait for; none where a file system cannot lock.
pub(super) fn turn(path: &Path) -> Result<Option<Lock>> {
    let path = resolved(path);
    let dir = dir_of(&path);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot make {}", dir.display()))?;
    match Lock::take_directory(dir, "the file of credentials") {
        Err(error) if error.kind() == Kind::Failed => {
            log::debug!("{error}");
            Ok(None)
        }
        taken => taken.map(Some),
    }
}

fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// It may be a link to where a person keeps such files; the link stays.
fn resolved(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

/// The name that a key is for: without what old versions put around it, and docker's own registry by its name.
fn bare(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let bare = bare.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
    if matches!(bare, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { bare }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> AuthFile {
        AuthFile::parse(Path::new("config.json"), text.as_bytes()).unwrap()
    }

    fn password(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Password { user: user.into(), password: password.into() })
    }

    #[test]
    fn what_fits_best_is_found() {
        let auth = |text: &str| STANDARD.encode(text);
        let file = file(&format!(
            r#"{{"auths": {{
                "ghcr.io": {{"auth": "{}"}},
                "ghcr.io/me": {{"username": "me", "password": "p:q"}},
                "https://old.org/v1/": {{"auth": "{}"}},
                "https://index.docker.io/v1/": {{"auth": "{}"}},
                "t.org": {{"auth": "eDp5", "identitytoken": "t"}},
                "bad.org": {{"auth": "!"}},
                "empty.org": {{}}
            }}}}"#,
            auth("a:b:c"),
            auth("o:p\0\0"),
            auth("d:e"),
        ));
        assert_eq!(file.find("ghcr.io", "you/x").unwrap(), password("a", "b:c"));
        assert_eq!(file.find("ghcr.io", "me/x").unwrap(), password("me", "p:q"));
        assert_eq!(file.find("ghcr.io", "melon/x").unwrap(), password("a", "b:c"));
        assert_eq!(file.find("old.org", "x").unwrap(), password("o", "p"));
        assert_eq!(file.find("docker.io", "library/x").unwrap(), password("d", "e"));
        assert_eq!(file.find("t.org", "x").unwrap(), Some(Credentials::Identity("t".into())));
        assert_eq!(file.find("empty.org", "x").unwrap(), None);
        assert_eq!(file.find("ghcr.io:5000", "x").unwrap(), None);
        let error = file.find("bad.org", "x").unwrap_err().to_string();
        assert_eq!(error, "config.json: bad auth of bad.org: not USER:PASSWORD");
    }

    #[test]
    fn a_helper_is_found() {
        let file = file(r#"{"credsStore": "all", "credHelpers": {"ghcr.io": "one"}}"#);
        assert_eq!((file.helper("ghcr.io"), file.helper("x.org")), (Some("one"), Some("all")));
        for docker in ["docker.io", DOCKER] {
            let file = self::file(&json!({"credHelpers": {docker: "hub"}}).to_string());
            assert_eq!((file.helper("docker.io"), file.helper("x.org")), (Some("hub"), None));
        }
        assert_eq!(super::super::file::AuthFile::new(Path::new("x")).helper("x.org"), None);
    }

    #[test]
    fn what_is_not_ours_stays() {
        let mut file = file(r#"{"HttpHeaders": {"X": "y"}, "auths": {"https://a.org/v1/": {"auth": "x"}}}"#);
        file.set("a.org", "u", "p");
        file.set("docker.io", "u", "p");
        let text = serde_json::to_value(&file.content).unwrap();
        let auth = json!({ "auth": STANDARD.encode("u:p") });
        let wanted = json!({ "HttpHeaders": {"X": "y"}, "auths": { "a.org": auth, DOCKER: auth } });
        assert_eq!(text, wanted);
        assert!(file.remove("a.org") && !file.remove("a.org"));
    }

    #[test]
    fn it_is_written_whole_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = std::env::temp_dir().join(format!("kraft-credentials-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("elsewhere")).unwrap();
        let (path, link) = (dir.join("elsewhere/auth.json"), dir.join("config.json"));
        std::fs::write(&path, r#"{"z": 1.5, "auths": {"b.org": {"auth": "x"}}, "a": [null]}"#).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        std::thread::scope(|scope| {
            for number in 0..8 {
                let link = &link;
                scope.spawn(move || {
                    let _turn = turn(link).unwrap();
                    let mut file = AuthFile::read(link).unwrap().unwrap();
                    file.set(&format!("r{number}.org"), "u", "p");
                    file.write().unwrap();
                });
            }
        });
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let file = AuthFile::read(&path).unwrap().unwrap();
        assert_eq!((&file.content["z"], &file.content["a"]), (&json!(1.5), &json!([null])));
        assert_eq!(file.content[AUTHS].as_object().unwrap().len(), 9, "each of eight has had its turn");
        assert_eq!(std::fs::read_dir(dir.join("elsewhere")).unwrap().count(), 1);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_mistake_in_it_is_named_by_its_line() {
        let error = AuthFile::parse(Path::new("config.json"), b"{\n\"auths\": x}").unwrap_err().to_string();
        assert!(error.starts_with("config.json:2: "), "{error}");
    }
}
