//! A registry that wants tokens, in plain HTTP on loopback.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

mod hostile;

#[test]
fn what_is_on_this_host_is_told_by_its_name() {
    for here in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.8.8.8", "[::1]:5000"] {
        assert!(is_loopback(here), "{here}");
    }
    for elsewhere in ["localhost.org", "unikraft.org:5000", "10.0.0.1", "[::2]:5000", "127.0.0.1.org", ""] {
        assert!(!is_loopback(elsewhere), "{elsewhere}");
    }
}

/// A request: its first line, its headers in small letters, and what was sent along.
pub(in crate::image::oci) type Asked = (String, String, String);

/// Answers requests until the test ends, and keeps them.
pub(in crate::image::oci) struct Server {
    pub(in crate::image::oci) name: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// `answer` is given a request and this server's name. It hangs up behind what says `connection: close`.
    pub(in crate::image::oci) fn start(answer: impl Fn(&Asked, &str) -> String + Send + Sync + 'static) -> Self {
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

    /// What was asked for, by its first line.
    pub(in crate::image::oci) fn asked(&self) -> Vec<String> {
        self.whole().into_iter().map(|(line, ..)| line).collect()
    }

    fn whole(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn connect(&self, access: Access, password: &str) -> Registry {
        let credentials = Credentials::Password { user: "me".into(), password: password.into() };
        Registry::with(&self.name, "a/b", access, Some(credentials), Plain::WithoutTls).unwrap()
    }
}

fn converse(mut stream: &TcpStream, kept: &Mutex<Vec<Asked>>, answer: impl Fn(&Asked) -> String) {
    let mut from = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut first = Vec::new();
        if from.read_until(b'\n', &mut first).unwrap_or(0) == 0 {
            return;
        }
        let Ok(first) = String::from_utf8(first) else {
            // Somebody speaks TLS.
            let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
            return;
        };
        let mut headers = String::new();
        while !headers.ends_with("\r\n\r\n") && from.read_line(&mut headers).unwrap_or(0) > 2 {}
        let headers = headers.to_ascii_lowercase();
        let length = headers.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
        from.read_exact(&mut body).unwrap();
        let line = first.trim().trim_end_matches(" HTTP/1.1").to_owned();
        let asked = (line, headers, String::from_utf8_lossy(&body).into_owned());
        let text = answer(&asked);
        kept.lock().unwrap().push(asked);
        if stream.write_all(text.as_bytes()).is_err() || text.contains("connection: close") {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

/// An answer. A length among the headers is what it is said to be.
pub(in crate::image::oci) fn said(status: &str, headers: &str, body: &str) -> String {
    let length =
        if headers.contains("content-length") { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    format!("HTTP/1.1 {status}\r\n{length}{headers}\r\n{body}")
}

/// Wants a token for everything, which is had by `me:good`.
fn strict(asked: &Asked, own: &str) -> String {
    let (line, headers, _) = asked;
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
    let token = "GET /token?service=s%20p&scope=repository%3Aa%2Fb%3Apull&account=me";
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
    let count = AtomicU32::new(0);
    let server = Server::start(move |(line, ..), own| match line.starts_with("GET /token") {
        // Another one each time.
        true => said("200 OK", "", &format!(r#"{{"access_token": "t{}"}}"#, count.fetch_add(1, Ordering::SeqCst))),
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
