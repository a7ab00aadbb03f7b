//! What a registry wants as a proof, by its header `WWW-Authenticate`.

use ureq::http::{HeaderMap, header};

/// What it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A name and a password with each request.
    Basic,
    /// A token, which somebody else gives.
    Bearer {
        /// Where it is had.
        realm: String,
        /// For which service.
        service: Option<String>,
        /// For what there.
        scope: Option<String>,
    },
}

impl Challenge {
    /// The best of those that an answer has: a token where there is a choice.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let all =
            headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| Self::parse(value.to_str().ok()?));
        all.max_by_key(|challenge| matches!(challenge, Self::Bearer { .. }))
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        for (name, value) in parameters(rest) {
            match name.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                "scope" => scope = Some(value),
                _ => {}
            }
        }
        Some(Self::Bearer { realm: realm?, service, scope })
    }
}

/// `NAME="VALUE",NAME=VALUE`, with a backslash before what means something in quotes.
fn parameters(text: &str) -> Vec<(String, String)> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some((name, after)) = rest.split_once('=') {
        let mut value = String::new();
        let end = match after.strip_prefix('"') {
            Some(quoted) => {
                let (mut escaped, mut end) = (false, quoted.len());
                for (at, letter) in quoted.char_indices() {
                    match letter {
                        '\\' if !escaped => escaped = true,
                        '"' if !escaped => {
                            end = at + 1;
                            break;
                        }
                        letter => {
                            value.push(letter);
                            escaped = false;
                        }
                    }
                }
                1 + end
            }
            None => {
                let end = after.find(',').unwrap_or(after.len());
                value.push_str(after[..end].trim());
                end
            }
        };
        found.push((name.trim_matches([' ', ',']).to_owned(), value));
        rest = &after[end.min(after.len())..];
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ureq::http::HeaderValue;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Some(Challenge::Bearer { realm: realm.into(), service: owned(service), scope: owned(scope) })
    }

    #[test]
    fn what_registries_say_is_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let wanted =
            bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:a/b:pull,push"));
        assert_eq!(Challenge::parse(hub), wanted);
        assert_eq!(Challenge::parse(r#"bearer realm="a\"b", x=y , service=s"#), bearer("a\"b", Some("s"), None));
        assert_eq!(Challenge::parse(r#"Basic realm="x""#), Some(Challenge::Basic));
        assert_eq!(Challenge::parse("Basic"), Some(Challenge::Basic));
        for nothing in ["", "Digest realm=\"x\"", "Bearer", "Bearer service=\"x\""] {
            assert_eq!(Challenge::parse(nothing), None, "{nothing}");
        }
        let mut headers = HeaderMap::new();
        headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"r\""));
        headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
        assert_eq!(Challenge::of(&headers), bearer("r", None, None));
    }

    proptest! {
        #[test]
        fn nothing_that_it_says_is_too_much(text in "\\PC{0,80}", quoted in "[=\", \\\\a-zé]{0,40}") {
            Challenge::parse(&text);
            Challenge::parse(&format!("Bearer {quoted}"));
        }
    }
}
