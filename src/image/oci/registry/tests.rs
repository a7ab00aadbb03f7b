//! A registry that wants tokens, in plain HTTP on loopback.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use super::*;

#[test]
fn what_is_on_this_host_is_told_by_its_name() {
    for here in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.8.8.8", "[::1]:5000"] {
        assert!(is_loopback(here), "{here}");
    }
    for elsewhere in ["localhost.org", "unikraft.org:5000", "10.0.0.1", "[::2]:5000", "127.0.0.1.org", ""] {
        assert!(!is_loopback(elsewhere), "{elsewhere}");
    }
}

/// A request: its first line and its headers in small letters.
type Asked = (String, String);

/// Answers requests until the test ends, and keeps them.
struct Server {
    name: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    fn start(answer: impl Fn(&Asked, &str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let name = listener.local_addr().unwrap().to_string();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (theirs, own, answer) = (Arc::clone(&asked), name.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (theirs, own, answer) = (Arc::clone(&theirs), own.clone(), Arc::clone(&answer));
                std::thread::spawn(move || converse(&stream, &theirs, |asked| answer(asked, &own)));
            }
        });
        Self { name, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(line, _)| line.clone()).collect()
    }

    fn connect(&self, access: Access, password: &str) -> Registry {
        let credentials = Credentials::Password { user: "me".into(), password: password.into() };
        Registry::with(&self.name, "a/b", access, Some(credentials)).unwrap()
    }
}

fn converse(mut stream: &TcpStream, kept: &Mutex<Vec<Asked>>, answer: impl Fn(&Asked) -> String) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).split(b'\n').map_while(Result::ok);
    while let Some(first) = lines.next() {
        let Ok(first) = String::from_utf8(first) else {
            // Somebody speaks TLS.
            let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
            return;
        };
        let headers = lines.by_ref().map(|line| String::from_utf8_lossy(&line).to_ascii_lowercase());
        let headers: Vec<String> = headers.take_while(|line| line.trim() != "").collect();
        let asked = (first.trim().trim_end_matches(" HTTP/1.1").to_owned(), headers.concat());
        let text = answer(&asked);
        kept.lock().unwrap().push(asked);
        if stream.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn said(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

/// Wants a token for everything, which is had by `me:good`.
fn strict(asked: &Asked, own: &str) -> String {
    let (line, headers) = asked;
    if line.starts_with("GET /token") {
        // me:good
        return match headers.contains("authorization: basic bwu6z29vza==") {
            true => said("200 OK", "", r#"{"token": "t1"}"#),
            false => said("401 Unauthorized", "", r#"{"details": "incorrect username or password"}"#),
        };
    }
    if !headers.contains("authorization: bearer t1") {
        let wants = format!("www-authenticate: Bearer realm=\"http://{own}/token\",service=\"s p\"\r\n");
        return said("401 Unauthorized", &wants, r#"{"errors": [{"message": "authentication required"}]}"#);
    }
    match line.as_str() {
        "GET /v2/" => said("200 OK", "", "{}"),
        "GET /v2/a/b/manifests/v1" => said("200 OK", "content-type: x/y; charset=z\r\n", "content"),
        _ if line.contains("/blobs/") && headers.contains("range: bytes=3-") => {
            said("206 Partial Content", "content-range: bytes 3-6/7\r\n", "tent")
        }
        _ if line.contains("/blobs/") && headers.contains("range: bytes=5-") => {
            said("206 Partial Content", "content-range: bytes 0-6/7\r\n", "content")
        }
        _ if line.contains("/blobs/") && headers.contains("range: bytes=7-") => said("416 Too Far", "", ""),
        _ if line.contains("/blobs/") => said("200 OK", "", "content"),
        _ => said("404 Not Found", "", r#"{"errors": [{"code": "MANIFEST_UNKNOWN"}]}"#),
    }
}

#[test]
fn a_token_is_asked_for_once_and_for_what_is_to_be_done() {
    let server = Server::start(strict);
    let registry = server.connect(Access::Pull, "good");
    let manifest = registry.manifest("v1").unwrap();
    assert_eq!((manifest.content.as_slice(), &*manifest.media_type), (&b"content"[..], "x/y"));
    let error = registry.manifest("v2").unwrap_err();
    assert_eq!((error.kind(), error.to_string()), (Kind::NotFound, "MANIFEST_UNKNOWN (404)".into()));
    let token = "GET /token?service=s%20p&scope=repository%3Aa%2Fb%3Apull";
    assert_eq!(server.asked()[..3], ["GET /v2/", token, "GET /v2/a/b/manifests/v1"]);
    assert_eq!(server.asked().iter().filter(|line| line.starts_with("GET /token")).count(), 1);
}

#[test]
fn a_blob_comes_from_a_byte_on() {
    let server = Server::start(strict);
    let registry = server.connect(Access::Pull, "good");
    let digest = Digest::from_bytes([7; 32]);
    for (from, wanted) in [(0, (0, "content")), (3, (3, "tent"))] {
        let mut part = registry.blob(digest, from).unwrap().unwrap();
        let mut text = String::new();
        part.reader.read_to_string(&mut text).unwrap();
        assert_eq!((part.from, &*text), wanted);
    }
    assert!(registry.blob(digest, 7).unwrap().is_none());
    assert!(registry.blob(digest, 5).unwrap_err().to_string().contains("another part"));
}

#[test]
fn wrong_credentials_are_told_by_who_refuses_them() {
    let server = Server::start(strict);
    let error = server.connect(Access::Pull, "bad").manifest("v1").unwrap_err();
    assert!(error.to_string().contains("incorrect username or password (401)"), "{error}");
    assert!(error.hint().unwrap().contains("kraft pkg login"));
    let good = Credentials::Password { user: "me".into(), password: "good".into() };
    Registry::check(&server.name, good).unwrap();
}

#[test]
fn what_wants_ever_more_tokens_gets_two() {
    let server = Server::start(|(line, _), own| match line.starts_with("GET /token") {
        // Another one each time.
        true => said("200 OK", "", &format!(r#"{{"access_token": "{:?}"}}"#, std::time::Instant::now())),
        false => said("401 Unauthorized", &format!("www-authenticate: Bearer realm=\"http://{own}/token\"\r\n"), ""),
    });
    let error = server.connect(Access::Pull, "good").manifest("v1").unwrap_err();
    assert!(error.to_string().contains("401"), "{error}");
    let tokens = server.asked().iter().filter(|line| line.starts_with("GET /token")).count();
    assert!(tokens <= 3, "{tokens}");
}

#[test]
fn a_password_goes_to_no_place_that_is_not_safe() {
    let server = Server::start(|_, _| {
        said("401 Unauthorized", "www-authenticate: Bearer realm=\"http://tokens.example/get\"\r\n", "")
    });
    let error = server.connect(Access::Pull, "good").manifest("v1").unwrap_err();
    assert!(error.to_string().contains("http://tokens.example/get, which is not safe"), "{error}");
}
