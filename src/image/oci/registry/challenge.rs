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
    },
}

impl Challenge {
    /// The best of those that an answer has: a token where there is a choice, by the first who gives some.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let mut all: Vec<Self> = values.flat_map(Self::parse).collect();
        let best = all.iter().position(|challenge| matches!(challenge, Self::Bearer { .. })).unwrap_or(0);
        (best < all.len()).then(|| all.swap_remove(best))
    }

    /// Those of one header, of the kinds that we know.
    fn parse(text: &str) -> Vec<Self> {
        let known = |Said { scheme, parameters }: Said| {
            if scheme.eq_ignore_ascii_case("basic") {
                return Some(Self::Basic);
            }
            if !scheme.eq_ignore_ascii_case("bearer") {
                return None;
            }
            let get = |wanted: &str| {
                let found = parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
                found.map(|(_, value)| value.clone())
            };
            Some(Self::Bearer { realm: get("realm")?, service: get("service") })
        };
        said(text).into_iter().filter_map(known).collect()
    }
}

/// A challenge of any kind.
struct Said {
    scheme: String,
    parameters: Vec<(String, String)>,
}

/// `SCHEME NAME="VALUE", NAME=VALUE, SCHEME ...` (RFC 9110, section 11.6.1), with a backslash before what means something
/// in quotes. A comma parts parameters as well as challenges: what no `=` follows is a scheme.
fn said(text: &str) -> Vec<Said> {
    let mut all: Vec<Said> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=', '"']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after.trim_start_matches([' ', '\t']);
        if let Some(value) = rest.strip_prefix('=') {
            let (value, behind) = value_of(value.trim_start_matches([' ', '\t']));
            rest = behind;
            if let Some(last) = all.last_mut() {
                last.parameters.push((word.to_owned(), value));
            }
        } else if !word.is_empty() {
            all.push(Said { scheme: word.to_owned(), parameters: Vec::new() });
        } else if let Some(quoted) = rest.strip_prefix('"') {
            // It stands where nothing can be quoted.
            rest = value_of_quoted(quoted).1;
        } else {
            return all;
        }
    }
}

/// A value, and what is behind it.
fn value_of(text: &str) -> (String, &str) {
    match text.strip_prefix('"') {
        Some(quoted) => value_of_quoted(quoted),
        None => {
            let (value, rest) = text.split_at(text.find([' ', '\t', ',']).unwrap_or(text.len()));
            (value.to_owned(), rest)
        }
    }
}

/// The same, behind the first quote.
fn value_of_quoted(text: &str) -> (String, &str) {
    let (mut value, mut escaped) = (String::new(), false);
    for (at, letter) in text.char_indices() {
        match letter {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return (value, &text[at + 1..]),
            letter => {
                value.push(letter);
                escaped = false;
            }
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ureq::http::HeaderValue;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.into(), service: service.map(str::to_owned) }
    }

    fn best(values: &[&'static str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(value));
        }
        Challenge::of(&headers)
    }

    #[test]
    fn what_registries_say_is_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let wanted = bearer("https://auth.docker.io/token", Some("registry.docker.io"));
        assert_eq!(Challenge::parse(hub), [wanted]);
        assert_eq!(Challenge::parse(r#"bearer realm="a\"b", x=y , service=s"#), [bearer("a\"b", Some("s"))]);
        assert_eq!(Challenge::parse(r#"Basic realm="x""#), [Challenge::Basic]);
        assert_eq!(Challenge::parse("Basic"), [Challenge::Basic]);
        for nothing in ["", "Digest realm=\"x\"", "Bearer", "Bearer service=\"x\"", "=x", "\"Basic\"", ", ,"] {
            assert_eq!(Challenge::parse(nothing), [], "{nothing}");
        }
    }

    #[test]
    fn of_several_the_best_is_taken() {
        assert_eq!(best(&["Bearer realm=\"r\"", "Basic"]), Some(bearer("r", None)));
        assert_eq!(best(&["Basic", "Bearer realm=\"r\"", "Bearer realm=\"s\""]), Some(bearer("r", None)));
        // In one header, with commas in quotes, and with what has no parameters.
        let one = r#"Negotiate, Basic realm="a, Bearer realm=\"x\"", Bearer scope="repository:a:pull,push", realm = "r", service="a=b""#;
        assert_eq!(best(&[one]), Some(bearer("r", Some("a=b"))));
        assert_eq!(best(&["NTLM TlRMTVNTUAAB==, Basic realm=\"x\""]), Some(Challenge::Basic));
        assert_eq!(best(&["Digest realm=\"x\", nonce=\"Basic\""]), None);
        assert_eq!(best(&[]), None);
    }

    proptest! {
        #[test]
        fn nothing_that_it_says_is_too_much(text in "\\PC{0,80}", quoted in "[=\", \\\\a-zé]{0,40}") {
            Challenge::parse(&text);
            Challenge::parse(&format!("Bearer {quoted}"));
        }
    }
}
