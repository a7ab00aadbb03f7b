//! Which registries stand for which: containers-registries.conf(5), version 2. Text becomes rules, rules tell where an image
//! is fetched from; which files there are is the matter of [`sources`](super::sources).
//!
//! Of it we have `[[registry]]` with `prefix`, `location`, `insecure`, `blocked`, `mirror-by-digest-only`, and
//! `[[registry.mirror]]` with `location`, `insecure`, `pull-from-mirror`. An image without a registry is of our own default
//! one, whatever `unqualified-search-registries` says.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::reference::Reference;
use crate::error::{Error, Result};

/// All rules, from all files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Registries(Vec<Rule>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// The file that it stands in.
    path: PathBuf,
    prefix: String,
    /// What takes the place of the prefix.
    location: String,
    insecure: bool,
    blocked: bool,
    mirrors: Vec<Mirror>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mirror {
    location: String,
    insecure: bool,
    only: Only,
}

/// What a mirror is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Only {
    All,
    Digests,
    Tags,
}

/// One place that has an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// What the image is called there.
    pub(super) reference: Reference,
    /// Whether plain HTTP will do there if it does not speak TLS.
    pub(super) insecure: bool,
}

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sources {
    /// Those that are asked first, in this order.
    pub(super) mirrors: Vec<Source>,
    /// Where it is at home, and where it is pushed to.
    pub(super) own: Source,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    registry: Vec<Written>,
    /// Of version 1.
    registries: Option<toml::Table>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Written {
    prefix: Option<String>,
    location: Option<String>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<WrittenMirror>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WrittenMirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    pull_from_mirror: Option<String>,
}

impl Registries {
    /// Adds the rules of one file. One for the same prefix takes the place of what was there.
    ///
    /// # Errors
    /// When it is not of this form; it names the file and the line.
    pub(super) fn add(&mut self, path: &Path, text: &str) -> Result<()> {
        let file: File = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            Error::new(format!("{}:{line}: {}", path.display(), error.message().replace('\n', ", ")))
        })?;
        let bad = |why: String| Error::new(format!("{}: {why}", path.display()));
        if file.registries.is_some() {
            return Err(bad("it is of version 1, which is not read".into()).with_hint(
                "containers-registries.conf(5) tells of version 2: [[registry]] in the place of [registries]",
            ));
        }
        for written in file.registry {
            let rule = rule(path, written).map_err(bad)?;
            self.0.retain(|old| old.prefix != rule.prefix || old.path == rule.path);
            if self.0.iter().any(|old| old.prefix == rule.prefix) {
                return Err(bad(format!("{} is there twice", rule.prefix.escape_debug())));
            }
            self.0.push(rule);
        }
        Ok(())
    }

    /// Where an image is, by the rule of the longest prefix.
    ///
    /// # Errors
    /// When its registry is blocked, or the rule leads to no name of an image.
    pub(super) fn sources(&self, image: &Reference) -> Result<Sources> {
        let name = image.to_string();
        let fitting = self.0.iter().filter_map(|rule| fit(&name, &rule.prefix).map(|length| (length, rule)));
        let Some((length, rule)) = fitting.max_by_key(|(_, rule)| rule.prefix.len()) else {
            return Ok(Sources { mirrors: Vec::new(), own: Source { reference: image.clone(), insecure: false } });
        };
        if rule.blocked {
            return Err(Error::new(format!("{} is blocked by {}", rule.prefix, rule.path.display())));
        }
        let at = |location: &str, insecure: bool| -> Result<Source> {
            let reference = if location.is_empty() { Ok(image.clone()) } else { moved(location, &name[length..]) };
            let reference = reference.map_err(|error| error.context(rule.path.display().to_string()))?;
            Ok(Source { reference, insecure })
        };
        let asked = |mirror: &&Mirror| match mirror.only {
            Only::All => true,
            Only::Digests => image.digest().is_some(),
            Only::Tags => image.digest().is_none(),
        };
        let mirrors = rule.mirrors.iter().filter(asked).map(|mirror| at(&mirror.location, mirror.insecure));
        Ok(Sources { mirrors: mirrors.collect::<Result<_>>()?, own: at(&rule.location, rule.insecure)? })
    }

    /// Whether plain HTTP will do for a registry, be it somebody's mirror or at home there.
    pub(super) fn is_insecure(&self, registry: &str) -> bool {
        let is_at = |location: &str| location.split('/').next() == Some(registry);
        self.0.iter().any(|rule| {
            let own =
                if rule.location.is_empty() { fit(registry, &rule.prefix).is_some() } else { is_at(&rule.location) };
            (rule.insecure && own) || rule.mirrors.iter().any(|mirror| mirror.insecure && is_at(&mirror.location))
        })
    }
}

fn rule(path: &Path, written: Written) -> Result<Rule, String> {
    let trimmed = |text: Option<String>| text.map(|text| text.trim_end_matches('/').to_owned()).unwrap_or_default();
    let (prefix, location) = (trimmed(written.prefix), trimmed(written.location));
    let prefix = if prefix.is_empty() { location.clone() } else { prefix };
    if prefix.is_empty() {
        return Err("a [[registry]] has neither prefix nor location".into());
    }
    if location.is_empty() && !prefix.starts_with("*.") {
        return Err(format!("the [[registry]] {} has no location", prefix.escape_debug()));
    }
    for text in [&prefix, &location].into_iter().chain(written.mirror.iter().map(|mirror| &mirror.location)) {
        if text.contains("://") {
            return Err(format!("{} has no scheme", text.escape_debug()));
        }
    }
    let mirror = |mirror: WrittenMirror| -> Result<Mirror, String> {
        let only = match (mirror.pull_from_mirror.as_deref(), written.mirror_by_digest_only) {
            (Some(_), true) => return Err("mirror-by-digest-only and pull-from-mirror are both given".into()),
            (None, true) | (Some("digest-only"), false) => Only::Digests,
            (None | Some("" | "all"), false) => Only::All,
            (Some("tag-only"), false) => Only::Tags,
            (Some(other), false) => {
                let known = "all, digest-only, tag-only";
                return Err(format!("unknown pull-from-mirror '{}': {known}", other.escape_debug()));
            }
        };
        let location = mirror.location.trim_end_matches('/').to_owned();
        if location.is_empty() {
            return Err(format!("a mirror of {} has no location", prefix.escape_debug()));
        }
        Ok(Mirror { location, insecure: mirror.insecure, only })
    };
    let mirrors = written.mirror.into_iter().map(mirror).collect::<Result<_, _>>()?;
    let (insecure, blocked) = (written.insecure, written.blocked);
    Ok(Rule { path: path.to_owned(), prefix, location, insecure, blocked, mirrors })
}

/// How much of a name a prefix is; `None` if it is not that of the name. A registry is another with another port.
fn fit(name: &str, prefix: &str) -> Option<usize> {
    if let Some(domain) = prefix.strip_prefix('*') {
        let (host, _) = name.split_once('/').unwrap_or((name, ""));
        return (host.len() > domain.len() && host.ends_with(domain)).then_some(host.len());
    }
    let rest = name.strip_prefix(prefix)?;
    let ends = rest.is_empty() || rest.starts_with('/') || (prefix.contains('/') && rest.starts_with([':', '@']));
    ends.then_some(prefix.len())
}

/// The name behind a prefix, in another place.
fn moved(location: &str, rest: &str) -> Result<Reference> {
    let name = format!("{location}{rest}");
    let reference: Reference = name.parse()?;
    // What does not look like a registry would be taken for a part of the name.
    let first = location.split('/').next().unwrap_or_default();
    if reference.registry() == first.to_ascii_lowercase() {
        return Ok(reference);
    }
    Err(Error::new(format!("bad location '{}': it begins with no registry", location.escape_debug())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn read(text: &str) -> Result<Registries> {
        let mut all = Registries::default();
        all.add(Path::new("r.conf"), text).map(|()| all)
    }

    fn sources(all: &Registries, image: &str) -> Vec<String> {
        let Sources { mirrors, own } = all.sources(&image.parse().unwrap()).unwrap();
        let shown = |source: Source| format!("{}{}", source.reference, if source.insecure { " insecure" } else { "" });
        mirrors.into_iter().chain([own]).map(shown).collect()
    }

    #[test]
    fn mirrors_come_first_and_the_longest_prefix_counts() {
        let all = read(
            r#"
            unqualified-search-registries = ["docker.io"]
            short-name-mode = "enforcing"
            [[registry]]
            prefix = "unikraft.org"
            location = "index.unikraft.io/official"
            [[registry.mirror]]
            location = "localhost:5000/copies/"
            insecure = true
            [[registry.mirror]]
            location = "mirror.org"
            pull-from-mirror = "digest-only"
            [[registry]]
            location = "unikraft.org/own"
            insecure = true
            [[registry]]
            prefix = "*.example.org"
            [[registry.mirror]]
            location = "mirror.org/example"
            "#,
        )
        .unwrap();
        assert_eq!(
            sources(&all, "nginx:1"),
            ["localhost:5000/copies/nginx:1 insecure", "index.unikraft.io/official/nginx:1"]
        );
        let pinned = format!("nginx@sha256:{HEX}");
        assert_eq!(
            sources(&all, &pinned)[1..],
            [format!("mirror.org/{pinned}"), format!("index.unikraft.io/official/{pinned}")]
        );
        assert_eq!(sources(&all, "unikraft.org/own/x"), ["unikraft.org/own/x:latest insecure"]);
        assert_eq!(sources(&all, "unikraft.org/owner/x").len(), 2);
        assert_eq!(sources(&all, "unikraft.org:5000/x"), ["unikraft.org:5000/x:latest"]);
        assert_eq!(sources(&all, "a.example.org/x"), ["mirror.org/example/x:latest", "a.example.org/x:latest"]);
        assert_eq!(sources(&all, "example.org/x"), ["example.org/x:latest"]);
        assert_eq!(sources(&all, "docker.io/x"), ["docker.io/library/x:latest"]);
        for (registry, insecure) in
            [("unikraft.org", true), ("localhost:5000", true), ("mirror.org", false), ("index.unikraft.io", false)]
        {
            assert_eq!(all.is_insecure(registry), insecure, "{registry}");
        }
    }

    #[test]
    fn a_later_file_counts_more() {
        let mut all = read("[[registry]]\nlocation = 'a.org'\nblocked = true\n").unwrap();
        let error = all.sources(&"a.org/x".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(error, "a.org is blocked by r.conf");
        all.add(Path::new("s.conf"), "[[registry]]\nprefix = 'a.org'\nlocation = 'b.org'\n").unwrap();
        assert_eq!(sources(&all, "a.org/x"), ["b.org/x:latest"]);
        let error = all.add(Path::new("t.conf"), "[[registry]]\nlocation='c.d'\n[[registry]]\nlocation='c.d'\n");
        assert_eq!(error.unwrap_err().to_string(), "t.conf: c.d is there twice");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, why) in [
            ("x = [", "r.conf:1: "),
            ("\n[[registry]]\nlocation = 7", "r.conf:3: "),
            ("[registries.search]\nregistries = []", "r.conf: it is of version 1"),
            ("[[registry]]", "neither prefix nor location"),
            ("[[registry]]\nprefix = 'a.b'", "the [[registry]] a.b has no location"),
            ("[[registry]]\nlocation = 'https://a.b'", "has no scheme"),
            (
                "[[registry]]\nlocation='a.b'\n[[registry.mirror]]\nlocation='c.d'\npull-from-mirror='x'",
                "unknown pull-from",
            ),
            (
                "[[registry]]\nlocation='a.b'\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation='c.d'\npull-from-mirror='all'",
                "both given",
            ),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        // What a name becomes is told when it is asked for.
        let all = read("[[registry]]\nprefix = 'a.b'\nlocation = 'mirror/x'").unwrap();
        let error = all.sources(&"a.b/y".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(error, "r.conf: bad location 'mirror/x': it begins with no registry");
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_refused(text in "(\\[\\[registry(.mirror)?\\]\\]|prefix|location|=|'[a-z.*/:]{0,6}'|true|\n){0,24}") {
            if let Ok(all) = read(&text) {
                let _ = all.sources(&"a.b/c:d".parse().unwrap());
            }
        }
    }
}
