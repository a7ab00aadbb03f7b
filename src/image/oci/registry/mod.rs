//! A registry, spoken to as the distribution specification has it, for one repository.
//!
//! By HTTPS, verified by the system's authorities (`tls`) and those that docker and podman keep for one registry. Plain
//! HTTP is for registries on this host alone, and for those that `KRAFT_PLAIN_HTTP` names. Who we are is proved when the
//! registry asks for it (`token`).

mod answer;
mod challenge;
mod tls;
mod token;

use std::io::Read;
use std::sync::Mutex;
use std::time::Duration;

use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use ureq::{Agent, Body, SendBody};

use super::auth::{self, Credentials};
use super::reference::Reference;
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::Digest;
use crate::paths;

use answer::unreachable;
use challenge::Challenge;

/// How long a registry may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(30);
/// The largest manifest, as the specification has it.
pub const LONGEST_MANIFEST: u64 = 4 << 20;

/// Kinds of documents that stand for an image.
const DOCUMENTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.docker.distribution.manifest.v2+json";

/// What is to be done in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: only whether the credentials are good is asked.
    None,
    /// To read.
    Pull,
    /// To read and write.
    Push,
}

/// A connection to a registry, for one repository.
#[derive(Debug)]
pub struct Registry {
    agent: Agent,
    /// `https://HOST[:PORT]`.
    base: String,
    name: String,
    repository: String,
    access: Access,
    credentials: Option<Credentials>,
    challenge: Option<Challenge>,
    /// The value of the header that proves who we are.
    authorization: Mutex<Option<String>>,
}

/// An index or a manifest as it came.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// All of it.
    pub content: Vec<u8>,
    /// What kind it is by what the registry says.
    pub media_type: String,
}

/// The rest of a blob.
pub struct Part {
    /// Where it begins: where it was asked to, or at the beginning.
    pub from: u64,
    /// What comes.
    pub reader: Box<dyn Read + Send>,
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part").field("from", &self.from).finish_non_exhaustive()
    }
}

/// What is sent along.
enum Sent<'a> {
    Nothing,
    Content(&'a [u8], &'a str),
    /// So many bytes of a stream, which comes only once.
    Stream(&'a mut dyn Read, u64),
}

impl Registry {
    /// Reaches the registry of an image, with the credentials that there are for it.
    ///
    /// # Errors
    /// When it cannot be reached, its certificate is not valid, or credentials cannot be read.
    pub fn connect(reference: &Reference, access: Access) -> Result<Self> {
        let (registry, repository) = (reference.registry(), reference.repository());
        let credentials = auth::find(registry, repository)?;
        Self::with(registry, repository, access, credentials)
    }

    /// Looks whether a registry takes a name and a password.
    ///
    /// # Errors
    /// When it does not, or cannot be reached.
    pub fn check(registry: &str, credentials: Credentials) -> Result<()> {
        let found = Self::with(registry, "", Access::None, Some(credentials))?;
        let answer = found.call(Method::GET, &found.url("/v2/"), &[], Sent::Nothing)?;
        if answer.status().is_success() { Ok(()) } else { Err(found.refused(answer)) }
    }

    fn with(registry: &str, repository: &str, access: Access, credentials: Option<Credentials>) -> Result<Self> {
        // Docker's own is not where its name says.
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let cannot = || format!("cannot reach the registry {registry}");
        let configured = is_configured_plain(registry);
        let schemes: &[&str] = match (configured, is_loopback(host)) {
            (true, _) => &["http"],
            (false, true) => &["https", "http"],
            (false, false) => &["https"],
        };
        let mut failed = None;
        for scheme in schemes {
            let agent = agent(registry, host, scheme).with_context(cannot)?;
            let base = format!("{scheme}://{host}");
            match agent.get(format!("{base}/v2/")).call() {
                Ok(answer) => {
                    let challenge = (answer.status() == StatusCode::UNAUTHORIZED)
                        .then(|| Challenge::of(answer.headers()))
                        .flatten();
                    let (name, repository) = (registry.to_owned(), repository.to_owned());
                    let authorization = Mutex::default();
                    return Ok(Self { agent, base, name, repository, access, credentials, challenge, authorization });
                }
                Err(error) if answer::is_no_tls(&error) => failed = failed.or(Some(error)),
                Err(error) => return Err(unreachable(error, registry).context(cannot())),
            }
        }
        Err(failed.map_or_else(|| Error::new(cannot()), |error| unreachable(error, registry).context(cannot())))
    }

    /// Fetches an index or a manifest by its tag or `sha256:HEX`. What its content is, is for the caller to check.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is none.
    pub fn manifest(&self, version: &str) -> Result<Manifest> {
        let url = self.url(&format!("/v2/{}/manifests/{version}", self.repository));
        let mut answer = self.call(Method::GET, &url, &[(header::ACCEPT, DOCUMENTS.to_owned())], Sent::Nothing)?;
        if !answer.status().is_success() {
            return Err(self.refused(answer));
        }
        let media_type = text(answer.headers(), header::CONTENT_TYPE).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        let mut content = Vec::new();
        let read = answer.body_mut().as_reader().take(LONGEST_MANIFEST + 1).read_to_end(&mut content);
        read.map_err(|e| unreachable(e.into(), &self.name))?;
        if content.len() as u64 > LONGEST_MANIFEST {
            return Err(Error::new(format!("it has more than {LONGEST_MANIFEST} bytes")));
        }
        Ok(Manifest { content, media_type })
    }

    /// Fetches a blob, from a byte on. `None` when there is nothing from there on.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is no such blob.
    pub fn blob(&self, digest: Digest, from: u64) -> Result<Option<Part>> {
        let url = self.url(&format!("/v2/{}/blobs/sha256:{digest}", self.repository));
        let range = (from > 0).then(|| (header::RANGE, format!("bytes={from}-")));
        let answer = self.call(Method::GET, &url, range.as_slice(), Sent::Nothing)?;
        let from = match answer.status() {
            StatusCode::PARTIAL_CONTENT => {
                let said = text(answer.headers(), header::CONTENT_RANGE);
                let begins =
                    said.as_deref().and_then(|said| said.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
                begins.filter(|begins| *begins == from).ok_or_else(|| {
                    Error::new(format!("it sent another part than was asked for: {}", said.unwrap_or_default()))
                })?
            }
            StatusCode::RANGE_NOT_SATISFIABLE => return Ok(None),
            status if status.is_success() => 0,
            _ => return Err(self.refused(answer)),
        };
        Ok(Some(Part { from, reader: Box::new(answer.into_body().into_reader()) }))
    }

    /// Whether the registry has a blob.
    ///
    /// # Errors
    /// When it does not say.
    pub fn has_blob(&self, digest: Digest) -> Result<bool> {
        let url = self.url(&format!("/v2/{}/blobs/sha256:{digest}", self.repository));
        let answer = self.call(Method::HEAD, &url, &[], Sent::Nothing)?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            _ => Err(self.refused(answer)),
        }
    }

    /// Gives the registry a blob.
    ///
    /// # Errors
    /// When it does not take it.
    pub fn put_blob(&self, digest: Digest, size: u64, content: &mut dyn Read) -> Result<()> {
        let url = self.url(&format!("/v2/{}/blobs/uploads/", self.repository));
        let answer = self.call(Method::POST, &url, &[], Sent::Content(b"", ""))?;
        if answer.status() != StatusCode::ACCEPTED {
            return Err(self.refused(answer));
        }
        let place = text(answer.headers(), header::LOCATION);
        let place = place.ok_or_else(|| Error::new("it does not say where an upload goes"))?;
        let place = if place.starts_with('/') { self.url(&place) } else { place };
        self.check_place(&place)?;
        let joint = if place.contains('?') { '&' } else { '?' };
        let url = format!("{place}{joint}digest=sha256:{digest}");
        let answer = self.call(Method::PUT, &url, &[], Sent::Stream(content, size))?;
        if answer.status().is_success() { Ok(()) } else { Err(self.refused(answer)) }
    }

    /// Gives the registry an index or a manifest, under a tag or its digest.
    ///
    /// # Errors
    /// When it does not take it.
    pub fn put_manifest(&self, version: &str, manifest: &Manifest) -> Result<()> {
        let url = self.url(&format!("/v2/{}/manifests/{version}", self.repository));
        let sent = Sent::Content(&manifest.content, &manifest.media_type);
        let answer = self.call(Method::PUT, &url, &[], sent)?;
        if answer.status().is_success() { Ok(()) } else { Err(self.refused(answer)) }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// What is ours goes to no place that is less safe than the registry.
    fn check_place(&self, url: &str) -> Result<()> {
        if url.starts_with("https://") || (self.base.starts_with("http://") && url.starts_with("http://")) {
            return Ok(());
        }
        Err(Error::new(format!("it wants an upload to go to {}, which is not safe", url.escape_debug())))
    }

    /// One request, and once more when the registry asks who we are.
    fn call(
        &self,
        method: Method,
        url: &str,
        headers: &[(header::HeaderName, String)],
        mut sent: Sent<'_>,
    ) -> Result<Response<Body>> {
        let mut authorization = self.authorize(None)?;
        // It may want a proof at first, and another for this; a third would be no better.
        let mut renewals = 2;
        loop {
            let mut request = Request::builder().method(method.clone()).uri(url);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            if let Some(authorization) = authorization.as_ref().filter(|_| url.starts_with(&self.base)) {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let repeatable = !matches!(sent, Sent::Stream(..));
            let answer = match &mut sent {
                Sent::Nothing => run(&self.agent, request, SendBody::none()),
                Sent::Content(content, media_type) => {
                    if !media_type.is_empty() {
                        request = request.header(header::CONTENT_TYPE, *media_type);
                    }
                    let length = content.len().to_string();
                    let mut content = *content;
                    let request = request.header(header::CONTENT_LENGTH, length);
                    run(&self.agent, request, SendBody::from_reader(&mut content))
                }
                Sent::Stream(content, size) => {
                    let request = request
                        .header(header::CONTENT_LENGTH, size.to_string())
                        .header(header::CONTENT_TYPE, "application/octet-stream");
                    run(&self.agent, request, SendBody::from_reader(*content))
                }
            };
            let answer = answer.map_err(|error| unreachable(error, &self.name))?;
            let again = answer.status() == StatusCode::UNAUTHORIZED
                && repeatable
                && renewals > 0
                && url.starts_with(&self.base);
            // A token may be too old by now, or for less than this.
            let renewed =
                if again { self.authorize(Some((Challenge::of(answer.headers()), &authorization)))? } else { None };
            match renewed {
                Some(renewed) if Some(&renewed) != authorization.as_ref() => {
                    authorization = Some(renewed);
                    renewals -= 1;
                }
                _ => return Ok(answer),
            }
        }
    }

    /// The header that proves who we are. With what was refused, another one, if there is any.
    fn authorize(&self, refused: Option<(Option<Challenge>, &Option<String>)>) -> Result<Option<String>> {
        // Of many threads one asks for a token; the others take it from there.
        let mut known = self.authorization.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let challenge = match refused {
            None if known.is_some() => return Ok(known.clone()),
            None => self.challenge.clone(),
            Some((_, before)) if *before != *known => return Ok(known.clone()),
            Some((challenge, before)) => {
                if before.as_ref().is_some_and(|before| before.starts_with("Basic ")) {
                    return Ok(None);
                }
                challenge
            }
        };
        let Some(challenge) = challenge else { return Ok(None) };
        let value = token::answer(self, &challenge).map_err(|error| self.denied(error))?;
        known.clone_from(&value);
        Ok(value)
    }

    /// Why the registry did not do it.
    fn refused(&self, mut answer: Response<Body>) -> Error {
        let (status, said) = (answer.status(), answer::said(&mut answer));
        let why = if said.is_empty() { status.to_string() } else { format!("{said} ({})", status.as_u16()) };
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.denied(Error::new(why)),
            StatusCode::NOT_FOUND => Error::of(Kind::NotFound, why),
            StatusCode::TOO_MANY_REQUESTS => Error::new(why).with_hint("the registry wants to be asked less often"),
            _ => Error::new(why),
        }
    }

    fn denied(&self, error: Error) -> Error {
        let hint = match self.credentials {
            Some(_) => "the credentials are wrong or not enough: `kraft pkg login` gives others for",
            None => "nobody is logged in: `kraft pkg login` does so to",
        };
        error.with_hint(format!("{hint} {}", self.name))
    }
}

fn run(
    agent: &Agent,
    request: ureq::http::request::Builder,
    body: SendBody<'_>,
) -> Result<Response<Body>, ureq::Error> {
    agent.run(request.body(body)?)
}

fn agent(registry: &str, host: &str, scheme: &str) -> Result<Agent> {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("kraft/", env!("CARGO_PKG_VERSION")))
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .https_only(scheme == "https")
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .timeout_per_write(Some(SILENCE))
        .max_idle_connections_per_host(8)
        .max_idle_connections(16)
        .input_buffer_size(1 << 17)
        .output_buffer_size(1 << 17);
    if scheme == "https" {
        config = config.tls_config(tls::config(registry)?);
    }
    if is_loopback(host) {
        config = config.proxy(None);
    }
    Ok(config.build().new_agent())
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// Whether a registry is on this host.
fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => registry.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether somebody said that a registry is spoken to in plain HTTP.
fn is_configured_plain(registry: &str) -> bool {
    let names = paths::environment_variable("KRAFT_PLAIN_HTTP").unwrap_or_default();
    names.to_string_lossy().split([',', ' ']).any(|name| name == registry)
}

#[cfg(test)]
mod tests;
