//! Where a registry sends us: addresses by HTTP, told apart by who answers there.

use ureq::http::Uri;

use crate::error::{Error, Result};

/// Who answers at an address: scheme, host and port. What proves who we are is for one of them alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// That of an address; `None` if it is none of HTTP.
    pub(super) fn of(url: &str) -> Option<Self> {
        let url: Uri = url.parse().ok()?;
        let scheme = url.scheme_str()?.to_ascii_lowercase();
        let usual = match scheme.as_str() {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        let authority = url.authority()?;
        let port = match authority.port() {
            Some(port) => port.as_str().parse().ok()?,
            None => usual,
        };
        let host = authority.host().to_ascii_lowercase();
        (!host.is_empty()).then_some(Self { scheme, host, port })
    }

    /// The host, in brackets if it is an address of IPv6.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The host, and the port if it is not the usual one: what a registry there is called.
    pub(super) fn name(&self) -> String {
        match (self.is_https(), self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    pub(super) fn is_https(&self) -> bool {
        self.scheme == "https"
    }
}

/// The address that a `Location:` sends us to.
///
/// # Errors
/// When it is none, or less safe than where it was said.
pub(super) fn lead(from: &str, location: &str) -> Result<String> {
    let cannot = |why: &str| Error::new(format!("it sends us to {}, which is {why}", location.escape_debug()));
    let next = join(from, location).ok_or_else(|| cannot("no address"))?;
    let is_https = |url: &str| Origin::of(url).is_some_and(|origin| origin.is_https());
    if is_https(from) && !is_https(&next) { Err(cannot("not safe")) } else { Ok(next) }
}

/// The address that a `Location:` means, seen from where it was said (RFC 3986, section 5.2); `None` if it is none of
/// HTTP.
pub(super) fn join(from: &str, location: &str) -> Option<String> {
    let location = location.split('#').next().unwrap_or_default();
    let (scheme, rest) = from.split_once("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = path.split('?').next().unwrap_or_default();
    let dir = path.rfind('/').map_or("/", |at| &path[..=at]);
    let colon = location.find([':', '/', '?']).filter(|at| location[*at..].starts_with(':'));
    let whole = if colon.is_some() {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.is_empty() || location.starts_with('?') {
        format!("{scheme}://{authority}{path}{location}")
    } else {
        format!("{scheme}://{authority}{}", without_dots(&format!("{dir}{location}")))
    };
    Origin::of(&whole).map(|_| whole)
}

/// A path without `.` and `..`; what is behind a question mark stays.
fn without_dots(path: &str) -> String {
    let (path, query) = path.find('?').map_or((path, ""), |at| path.split_at(at));
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") {
        parts.push("");
    }
    format!("/{}{query}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_answers_is_told_by_scheme_host_and_port() {
        let same = |a: &str, b: &str| Origin::of(a).unwrap() == Origin::of(b).unwrap();
        assert!(same("https://r.org/v2/", "HTTPS://R.org:443/x?y"));
        assert!(same("http://[::1]:5000/", "http://[::1]:5000/v2/"));
        for other in [
            "http://r.org/",
            "https://r.org.evil.org/",
            "https://r.org:444/",
            "https://r.org@evil.org/",
            "https://evil.org/https://r.org/",
        ] {
            assert!(!same("https://r.org", other), "{other}");
        }
        assert!(!same("http://localhost:500", "http://localhost:5000"));
        // What stands before an @ is no host.
        assert_eq!(Origin::of("http://localhost:x@evil.org/").map(|of| of.host), Some("evil.org".into()));
        for none in ["", "r.org", "/v2/", "ftp://r.org/", "https://", "file:///etc/passwd"] {
            assert_eq!(Origin::of(none), None, "{none}");
        }
        assert_eq!(Origin::of("https://r.org:443/x").unwrap().name(), "r.org");
        assert_eq!(Origin::of("http://r.org:443/x").unwrap().name(), "r.org:443");
    }

    #[test]
    fn a_location_is_seen_from_where_it_was_said() {
        let from = "https://r.org:5000/v2/a/blobs/uploads/?x=/y/";
        for (location, wanted) in [
            ("https://cdn.org/b?c=d", Some("https://cdn.org/b?c=d")),
            ("//cdn.org/b", Some("https://cdn.org/b")),
            ("/v2/a/blobs/uploads/u?state=s%3D", Some("https://r.org:5000/v2/a/blobs/uploads/u?state=s%3D")),
            ("u?s=a:b", Some("https://r.org:5000/v2/a/blobs/uploads/u?s=a:b")),
            ("../u/./v/..", Some("https://r.org:5000/v2/a/blobs/u/")),
            ("../../../../../../../u", Some("https://r.org:5000/u")),
            ("?s=1#f", Some("https://r.org:5000/v2/a/blobs/uploads/?s=1")),
            ("javascript:alert(1)", None),
            ("file:///etc/passwd", None),
            ("https:///x", None),
            ("/a b", None),
        ] {
            assert_eq!(join(from, location).as_deref(), wanted, "{location}");
        }
        assert_eq!(join("http://r.org", "u").as_deref(), Some("http://r.org/u"));
        assert_eq!(
            lead(from, "http://cdn.org/\n").unwrap_err().to_string(),
            r"it sends us to http://cdn.org/\n, which is no address"
        );
        assert!(lead(from, "http://r.org:5000/").unwrap_err().to_string().ends_with("which is not safe"));
        assert!(lead("http://r.org", "http://cdn.org/").is_ok());
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_an_address_or_none(text in "\\PC{0,40}", path in "[/.?#:a@]{0,20}") {
            for location in [&text, &path] {
                if let Some(url) = join("https://r.org/v2/a/", location) {
                    prop_assert!(Origin::of(&url).is_some());
                }
            }
        }
    }
}
