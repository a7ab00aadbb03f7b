//! Registries that send us elsewhere, and those to whom they do: nobody but the registry is told who we are.

use super::*;

fn digest() -> Digest {
    Digest::from_bytes([7; 32])
}

/// Wants the password for everything, and then answers.
fn with_password(asked: &Asked, answer: impl FnOnce() -> String) -> String {
    // me:good
    match asked.1.contains("authorization: basic bwu6z29vza==") {
        true => answer(),
        false => said("401 Unauthorized", "www-authenticate: Basic realm=\"x\"\r\n", ""),
    }
}

fn sends(status: &'static str, location: impl Fn(&str) -> String + Send + Sync + 'static) -> Server {
    Server::start(move |asked, own| {
        with_password(asked, || match asked.0.as_str() {
            "GET /v2/" => said("200 OK", "", ""),
            _ => said(status, &format!("location: {}\r\n", location(own)), ""),
        })
    })
}

fn text(part: Part) -> String {
    let Part { mut reader, .. } = part;
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_blob_that_is_elsewhere_is_fetched_there_without_a_proof() {
    let there = Server::start(|(_, headers, _), _| match headers.contains("range: bytes=3-") {
        true => said("206 Partial Content", "content-range: bytes 3-6/7\r\n", "tent"),
        false => said("200 OK", "", "content"),
    });
    let name = there.name.clone();
    for status in ["302 Found", "301 Moved", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let place = format!("http://{name}/data?sig=a%2Fb");
        let registry = sends(status, move |_| place.clone());
        let connected = registry.connect(Access::Pull, "good");
        assert_eq!(text(connected.blob(digest(), 0).unwrap().unwrap()), "content");
        assert_eq!(text(connected.blob(digest(), 3).unwrap().unwrap()), "tent");
        assert!(connected.has_blob(digest()).unwrap());
    }
    let asked = there.whole();
    assert_eq!(asked.len(), 15);
    for (line, headers, _) in asked {
        assert!(line.ends_with(" /data?sig=a%2Fb") && !headers.contains("authorization"), "{line} {headers}");
    }
}

#[test]
fn what_another_asks_for_is_not_answered() {
    let there = Server::start(|_, own| {
        let wants = format!("www-authenticate: Bearer realm=\"http://{own}/token\"\r\nwww-authenticate: Basic\r\n");
        said("401 Unauthorized", &wants, "")
    });
    let name = there.name.clone();
    let registry = sends("302 Found", move |_| format!("http://{name}/data"));
    let error = registry.connect(Access::Pull, "good").blob(digest(), 0).unwrap_err();
    assert!(error.to_string().contains("401"), "{error}");
    assert_eq!(there.asked(), ["GET /data"]);
    assert!(!there.whole()[0].1.contains("authorization"));
}

#[test]
fn a_name_before_an_at_is_no_host() {
    let there = Server::start(|_, _| said("201 Created", "", ""));
    let name = there.name.clone();
    let registry = sends("202 Accepted", move |own| format!("http://{own}@{name}/upload"));
    let connected = registry.connect(Access::Push, "good");
    let _ = connected.put_blob(digest(), 3, &mut b"abc".as_slice());
    for (_, headers, _) in there.whole() {
        assert!(!headers.contains("bwu6z29vza=="), "{headers}");
    }
    // Nor is what looks like a place of this host's.
    for realm in
        ["http://localhost:x@tokens.example/", "http://127.0.0.1@tokens.example/", "http://tokens.example#@localhost"]
    {
        let server = Server::start(move |_, _| {
            said("401 Unauthorized", &format!("www-authenticate: Bearer realm=\"{realm}\"\r\n"), "")
        });
        let error = server.connect(Access::Pull, "good").manifest("v1").unwrap_err();
        assert!(error.to_string().contains("which is not safe"), "{error}");
    }
}

#[test]
fn an_upload_goes_where_it_is_sent() {
    let hex = digest().to_string();
    for (location, wanted) in [
        ("/v2/a/b/blobs/uploads/u?state=x%3D", format!("PUT /v2/a/b/blobs/uploads/u?state=x%3D&digest=sha256:{hex}")),
        ("u", format!("PUT /v2/a/b/blobs/uploads/u?digest=sha256:{hex}")),
        ("http://OWN/u#f", format!("PUT /u?digest=sha256:{hex}")),
        ("//OWN/u?", format!("PUT /u?&digest=sha256:{hex}")),
    ] {
        let server = Server::start(move |asked, own| {
            with_password(asked, || match asked.0.split(' ').next() {
                Some("POST") => said("202 Accepted", &format!("location: {}\r\n", location.replace("OWN", own)), ""),
                Some("PUT") => said("201 Created", "", ""),
                _ => said("200 OK", "", ""),
            })
        });
        server.connect(Access::Push, "good").put_blob(digest(), 3, &mut b"abc".as_slice()).unwrap();
        let last = server.whole().pop().unwrap();
        assert_eq!((last.0, last.2.as_str()), (wanted, "abc"));
        assert!(last.1.contains("content-length: 3\r\n") && !last.1.contains("transfer-encoding"), "{}", last.1);
        assert!(last.1.contains("authorization: basic"), "{}", last.1);
    }
    for location in ["file:///etc/passwd", "https:///"] {
        let server = sends("202 Accepted", move |_| location.to_owned());
        let error = server.connect(Access::Push, "good").put_blob(digest(), 3, &mut b"abc".as_slice());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("which is no address"), "{location}: {error}");
    }
}

#[test]
fn what_the_registry_has_elsewhere_is_not_sent() {
    for (status, sent) in [("201 Created", false), ("202 Accepted", true)] {
        let server = Server::start(move |(line, headers, _), own| {
            if line.starts_with("GET /token") {
                return said("200 OK", "", r#"{"token": "t1"}"#);
            }
            let wants = format!("www-authenticate: Bearer realm=\"http://{own}/token\"\r\n");
            match line.split(' ').next() {
                _ if !headers.contains("bearer t1") => said("401 Unauthorized", &wants, ""),
                Some("POST") => said(status, "location: /u\r\n", ""),
                _ => said("201 Created", "", ""),
            }
        });
        let registry = server.connect(Access::Push, "good").like("c");
        assert_eq!(registry.put_blob(digest(), 3, &mut b"abc".as_slice()).unwrap(), sent);
        let asked = server.asked();
        assert!(asked[1].contains("scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Ac%3Apull"), "{asked:?}");
        let hex = digest();
        assert!(asked.contains(&format!("POST /v2/a/b/blobs/uploads/?mount=sha256:{hex}&from=c")), "{asked:?}");
        assert_eq!(asked.iter().any(|line| line.starts_with("PUT")), sent);
    }
}

#[test]
fn what_is_sent_on_and_on_ends() {
    let server = sends("307 Temporary Redirect", |own| format!("http://{own}/v2/"));
    let round = Server::start(|_, own| said("302 Found", &format!("location: http://{own}/again\r\n"), ""));
    let error = round.connect(Access::Pull, "good").manifest("v1").unwrap_err();
    assert_eq!(error.to_string(), "it sends us on more than 10 times");
    assert_eq!(round.asked().len(), 1 + 11);
    // What was given to be kept is not made a question.
    let manifest = Manifest { content: b"{}".to_vec(), media_type: "x/y".into() };
    let error = sends("302 Found", |own| format!("http://{own}/v2/"))
        .connect(Access::Push, "good")
        .put_manifest("v1", &manifest)
        .unwrap_err();
    assert!(error.to_string().contains("302"), "{error}");
    server.connect(Access::Push, "good").put_manifest("v1", &manifest).unwrap_err();
    assert!(server.asked().contains(&"PUT /v2/".to_owned()), "{:?}", server.asked());
}

#[test]
fn a_token_server_that_moved_is_told_no_password_elsewhere() {
    let there = Server::start(|_, _| said("200 OK", "", r#"{"access_token": "t1"}"#));
    let name = there.name.clone();
    let server = Server::start(move |(line, headers, _), own| {
        if line.starts_with("GET /token") {
            return said("302 Found", &format!("location: http://{name}/token2?x=y\r\n"), "");
        }
        match headers.contains("authorization: bearer t1") {
            true => said("200 OK", "", "content"),
            false => said(
                "401 Unauthorized",
                &format!("www-authenticate: Negotiate, Bearer realm=\"http://{own}/token\"\r\n"),
                "",
            ),
        }
    });
    assert_eq!(server.connect(Access::Pull, "good").manifest("v1").unwrap().content, b"content");
    assert_eq!(there.asked(), ["GET /token2?x=y"]);
    assert!(!there.whole()[0].1.contains("authorization"));
    assert!(
        server.whole().iter().any(|(line, headers, _)| line.starts_with("GET /token") && headers.contains("basic"))
    );
}

#[test]
fn a_token_that_no_header_can_have_is_none() {
    for token in ["", "a\\r\\nx-y: z", "a b", "\u{e9}"] {
        let server = Server::start(move |(line, ..), own| match line.starts_with("GET /token") {
            true => said("200 OK", "", &format!("{{\"token\": \"{token}\"}}")),
            false => {
                said("401 Unauthorized", &format!("www-authenticate: Bearer realm=\"http://{own}/token\"\r\n"), "")
            }
        });
        let error = server.connect(Access::Pull, "good").manifest("v1").unwrap_err();
        assert!(error.to_string().ends_with("it answers with something else"), "{error}");
    }
}

#[test]
fn a_manifest_has_its_limit() {
    let server = Server::start(|(line, ..), _| match line.as_str() {
        "GET /v2/" => said("200 OK", "", ""),
        // No length, and no end in sight.
        _ => format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", " ".repeat((LONGEST_MANIFEST + 2) as usize)),
    });
    let error = server.connect(Access::Pull, "good").manifest("v1").unwrap_err();
    assert_eq!(error.to_string(), "it has more than 4194304 bytes");
}
