//! What goes wrong with a registry, in words for people.

use std::io::Read as _;

use serde::Deserialize;
use ureq::http::Response;
use ureq::{Body, Timeout};

use super::pace::Paced;
use crate::error::{Error, Kind};

/// More than an error has to say.
const LONGEST: u64 = 1 << 16;

/// What a registry says of its refusal, on one line.
pub(super) fn said(answer: &mut Response<Body>) -> String {
    #[derive(Deserialize)]
    struct Said {
        #[serde(default)]
        errors: Vec<One>,
        #[serde(default)]
        details: String,
    }
    #[derive(Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let mut text = Vec::new();
    if Paced::new(answer.body_mut().as_reader()).take(LONGEST).read_to_end(&mut text).is_err() {
        return String::new();
    }
    let Ok(said) = serde_json::from_slice::<Said>(&text) else { return String::new() };
    let errors = said.errors.into_iter().map(|one| if one.message.is_empty() { one.code } else { one.message });
    let all: Vec<String> = errors.chain([said.details]).filter(|text| !text.is_empty()).collect();
    all.join(", ").chars().filter(|letter| !letter.is_control()).take(300).collect()
}

/// The error of a request that was not answered.
pub(super) fn unreachable(error: ureq::Error, host: &str) -> Error {
    if let Some(rustls::Error::InvalidCertificate(why)) = of_tls(&error) {
        let hint =
            format!("docker's and podman's certs.d/{host}/NAME.crt, or SSL_CERT_FILE, say which authority to trust");
        return Error::new(format!("its certificate is not valid: {why}")).with_hint(hint);
    }
    if let Some(why) = of_tls(&error) {
        let refused = Error::new(format!("no TLS with it: {why}"));
        // There are a few words for it, as TLS has changed.
        let is_ours =
            matches!(why, rustls::Error::AlertReceived(alert) if format!("{alert:?}").contains("Certificate"));
        return match is_ours {
            true => refused.with_hint(format!(
                "it wants to know us by a certificate: docker's and podman's certs.d/{host} has NAME.cert and NAME.key"
            )),
            false => refused,
        };
    }
    match error {
        ureq::Error::Io(e) => crate::error::IntoError::into_error(e),
        ureq::Error::HostNotFound => Error::new("no such host"),
        ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            Error::of(Kind::Timeout, "it cannot be reached in time")
        }
        ureq::Error::Timeout(_) => Error::of(Kind::Timeout, "it fell silent"),
        error => Error::new(error.to_string()),
    }
}

/// Whether the other side does not speak TLS at all: it says something else, or hangs up.
pub(super) fn is_no_tls(error: &ureq::Error) -> bool {
    use std::io::ErrorKind::{ConnectionReset, UnexpectedEof};
    let hung_up = matches!(error, ureq::Error::Io(e) if matches!(e.kind(), ConnectionReset | UnexpectedEof));
    match of_tls(error) {
        Some(error) => matches!(error, rustls::Error::InvalidMessage(_)),
        None => hung_up,
    }
}

/// Whether nobody listens at that port.
pub(super) fn is_nobody(error: &ureq::Error) -> bool {
    matches!(error, ureq::Error::Io(e) if e.kind() == std::io::ErrorKind::ConnectionRefused)
}

fn of_tls(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(e) => {
            let inner = e.get_ref()?;
            inner.downcast_ref::<rustls::Error>().or_else(|| of_tls(inner.downcast_ref::<ureq::Error>()?))
        }
        _ => None,
    }
}
