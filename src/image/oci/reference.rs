//! The name of an image: `[REGISTRY[:PORT]/]REPOSITORY[:TAG][@sha256:HEX]`.
//!
//! What comes before the first slash is a registry if it has a dot or a colon or is `localhost`; without one, the image
//! is of [`DEFAULT_REGISTRY`]. With a digest the content is certain, whatever the tag says by then.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::machine::Digest;

/// Where images are whose name has no registry.
pub const DEFAULT_REGISTRY: &str = "unikraft.org";
/// The tag of a name that has neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";

const FORM: &str = "[REGISTRY[:PORT]/]REPOSITORY[:TAG][@sha256:HEX]";
const LONGEST_REPOSITORY: usize = 255;
const LONGEST_TAG: usize = 128;
const LONGEST_REGISTRY: usize = 255;

/// The name of an image, complete.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    /// There unless there is a digest.
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry, with its port if it has one: `docker.io`, `localhost:5000`, `[::1]:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// What the image is called there: `library/nginx`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Its tag; there is one unless there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that its manifest or index must have.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same image by a digest, whatever its tag says by then.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// What a registry is asked for: the digest, else the tag.
    pub fn version(&self) -> String {
        match (self.digest, &self.tag) {
            (Some(digest), _) => format!("sha256:{digest}"),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::new(format!("bad image '{}': {why}", text.escape_debug()));
        if text.contains("://") {
            return Err(bad("it has no scheme").with_hint(format!("an image is called {FORM}")));
        }
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                let hex = digest.strip_prefix("sha256:");
                let hex = hex.ok_or_else(|| bad("what follows @ is a digest: sha256: and 64 digits of 0-9 a-f"))?;
                (rest, Some(hex.parse().map_err(|error: Error| bad(&error.to_string()))?))
            }
        };
        let (registry, rest) = match rest.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first, rest),
            _ => (DEFAULT_REGISTRY, rest),
        };
        let registry =
            check_registry(registry).map_err(|why| bad(why).with_hint(format!("an image is called {FORM}")))?;
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        check_repository(repository).map_err(|why| bad(why).with_hint(format!("an image is called {FORM}")))?;
        if let Some(tag) = tag {
            let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let fits = |(at, byte): (usize, u8)| word(byte) || (at > 0 && matches!(byte, b'.' | b'-'));
            if tag.is_empty() || tag.len() > LONGEST_TAG || !tag.bytes().enumerate().all(fits) {
                return Err(bad("a tag has 1 to 128 characters of A-Z a-z 0-9 _ . - and begins with none of . -"));
            }
        }
        // Docker's own registry keeps what is its own in a directory, and says nothing of it.
        let repository = match registry.as_str() {
            "docker.io" if !repository.contains('/') => format!("library/{repository}"),
            _ => repository.to_owned(),
        };
        let tag = match (tag, digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some(DEFAULT_TAG.to_owned()),
        };
        Ok(Self { registry, repository, tag, digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match self.digest {
            Some(digest) => write!(f, "@sha256:{digest}"),
            None => Ok(()),
        }
    }
}

/// A registry as somebody names it who logs in.
///
/// # Errors
/// When that is none.
pub fn parse_registry(text: &str) -> Result<String> {
    let bare = text.trim_end_matches('/');
    let bare = bare.strip_prefix("https://").unwrap_or(bare);
    check_registry(bare).map_err(|why| Error::new(format!("bad registry '{}': {why}", text.escape_debug())))
}

fn is_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':'])
}

/// The registry in its usual form, or what is wrong with it.
fn check_registry(text: &str) -> Result<String, &'static str> {
    const HOST: &str = "a registry is a host name or an address, with :PORT if need be";
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or(HOST)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| HOST)?;
            let port = if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or(HOST)?) };
            (&text[..address.len() + 2], port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if let Some(port) = port
        && (port.parse::<u16>().unwrap_or(0) == 0 || port.starts_with(['+', '0']))
    {
        return Err("a port is a number from 1 to 65535");
    }
    let label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        !label.is_empty() && label.len() <= 63 && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    if text.len() > LONGEST_REGISTRY || !(host.starts_with('[') || host.split('.').all(label)) {
        return Err(HOST);
    }
    let registry = text.to_ascii_lowercase();
    Ok(if registry == "index.docker.io" { "docker.io".to_owned() } else { registry })
}

fn check_repository(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it has no repository");
    }
    if text.len() > LONGEST_REPOSITORY {
        return Err("a repository has at most 255 characters");
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("a repository is written in small letters");
    }
    if text.split('/').all(is_component) {
        return Ok(());
    }
    Err("a repository is of words of a-z 0-9, parted by one of / . _ __ or by any number of -")
}

/// Words of letters and digits, with `.`, `_`, `__` or any number of `-` between two.
fn is_component(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (Some(first), Some(last)) = (text.bytes().next(), text.bytes().last()) else { return false };
    if !word(first) || !word(last) {
        return false;
    }
    let between = text.split(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit());
    between
        .filter(|parts| !parts.is_empty())
        .all(|parts| matches!(parts, "." | "_" | "__") || parts.bytes().all(|byte| byte == b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn what_is_left_out_is_filled_in() {
        for (text, whole) in [
            ("nginx", "unikraft.org/nginx:latest"),
            ("nginx:1.25", "unikraft.org/nginx:1.25"),
            ("library/nginx", "unikraft.org/library/nginx:latest"),
            ("unikraft.org/nginx", "unikraft.org/nginx:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("127.0.0.1:5000/a/b_c/d--e:T.a-g", "127.0.0.1:5000/a/b_c/d--e:T.a-g"),
            ("[::1]:5000/x", "[::1]:5000/x:latest"),
            ("GHCR.io/x/y", "ghcr.io/x/y:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest"),
            ("index.docker.io/a/b", "docker.io/a/b:latest"),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), whole, "{text}");
        }
        let pinned: Reference = format!("ghcr.io/x@sha256:{HEX}").parse().unwrap();
        assert_eq!((pinned.tag(), pinned.version()), (None, format!("sha256:{HEX}")));
        let both: Reference = format!("ghcr.io/x:v1@sha256:{HEX}").parse().unwrap();
        assert_eq!((both.tag(), both.version()), (Some("v1"), format!("sha256:{HEX}")));
        assert_eq!(both.to_string(), format!("ghcr.io/x:v1@sha256:{HEX}"));
    }

    #[test]
    fn what_is_none_is_refused_by_what_is_wrong() {
        for (text, why) in [
            ("", "no repository"),
            ("localhost:5000/", "no repository"),
            ("https://x.org/y", "no scheme"),
            ("Nginx", "small letters"),
            ("a//b", "is of words"),
            ("a/../b", "is of words"),
            ("-a", "is of words"),
            ("a b", "is of words"),
            ("a___b", "is of words"),
            ("a:", "a tag has"),
            ("a:.b", "a tag has"),
            ("a:b:c", "a tag has"),
            ("x.org:0/a", "a port is"),
            ("x.org:99999/a", "a port is"),
            ("x..org/a", "a registry is"),
            ("[::g]/a", "a registry is"),
            ("a@md5:00", "what follows @"),
            ("a@sha256:00", "bad SHA-256"),
            (&format!("a:{}", "b".repeat(129)), "a tag has"),
            (&"a".repeat(256), "at most 255"),
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.starts_with("bad image '") && error.contains(why), "{text}: {error}");
        }
        assert_eq!(parse_registry("https://ghcr.io/").unwrap(), "ghcr.io");
        assert!(parse_registry("ghcr.io/x").is_err());
    }

    proptest! {
        #[test]
        fn a_name_says_the_same_when_it_is_read_again(
            registry in prop::option::of("([a-z0-9]{1,8}\\.){1,3}[a-z]{2,4}(:[1-9][0-9]{0,3})?"),
            repository in "[a-z0-9]{1,6}((\\.|_|__|-{1,3}|/)[a-z0-9]{1,6}){0,4}",
            tag in prop::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
            digest in prop::option::of("[0-9a-f]{64}"),
        ) {
            let mut text = registry.as_ref().map_or(String::new(), |registry| format!("{registry}/"));
            text += &repository;
            text += &tag.as_ref().map_or(String::new(), |tag| format!(":{tag}"));
            text += &digest.as_ref().map_or(String::new(), |digest| format!("@sha256:{digest}"));
            // The first word of a repository may look like a registry.
            prop_assume!(registry.is_some() || !repository.split('/').next().unwrap_or("").contains(['.', ':'])
                && !repository.starts_with("localhost/"));
            let reference: Reference = text.parse().unwrap();
            prop_assert_eq!(reference.registry(), registry.as_deref().unwrap_or(DEFAULT_REGISTRY));
            prop_assert_eq!(reference.repository(), repository.as_str());
            prop_assert_eq!(&reference.to_string().parse::<Reference>().unwrap(), &reference);
        }
    }
}
