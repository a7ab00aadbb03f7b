//! A registry, spoken to as the distribution specification has it, for one repository.
//!
//! By HTTPS, verified by the system's authorities (`tls`) and those that docker and podman keep for one registry. Plain
//! HTTP is for registries on this host alone, and for those that `KRAFT_PLAIN_HTTP` or `registries.conf` names. Who we are is proved when the
//! registry asks for it (`token`).

mod answer;
mod call;
mod challenge;
mod pace;
mod place;
mod tls;
mod token;

use std::io::Read;
use std::sync::{Mutex, OnceLock};

use ureq::http::{HeaderMap, Method, Response, StatusCode, header};
use ureq::{Agent, Body};

use super::auth::{self, Credentials};
use super::choose::DOCUMENTS_OF;
use super::registries::Source;
use super::sources;
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::Digest;
use crate::paths;

use answer::unreachable;
use call::{Sent, agent};
use challenge::Challenge;
use pace::Paced;
use place::Origin;
use tls::Peer;

/// The largest manifest, as the specification has it.
pub const LONGEST_MANIFEST: u64 = 4 << 20;

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

/// Whether plain HTTP will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plain {
    Never,
    /// Where there is no TLS.
    WithoutTls,
    Always,
}

impl Plain {
    /// What will do for a registry; `insecure` is what is said of it by who has configured registries.
    fn of(registry: &str, insecure: bool) -> Self {
        match is_configured_plain(registry) {
            true => Self::Always,
            false if insecure || is_loopback(registry) => Self::WithoutTls,
            false => Self::Never,
        }
    }
}

/// A connection to a registry, for one repository.
#[derive(Debug)]
pub struct Registry {
    agent: Agent,
    /// What speaks to others, as soon as it is needed.
    elsewhere: OnceLock<Agent>,
    /// `https://HOST[:PORT]`.
    base: String,
    /// Who answers there: nobody else is told who we are.
    origin: Origin,
    name: String,
    repository: String,
    access: Access,
    /// Another repository of the registry that may have what is pushed.
    like: Option<String>,
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

impl Registry {
    /// Reaches the registry of an image, with the credentials that there are for it.
    ///
    /// # Errors
    /// When it cannot be reached, its certificate is not valid, or credentials cannot be read.
    pub(super) fn connect(source: &Source, access: Access) -> Result<Self> {
        let (registry, repository) = (source.reference.registry(), source.reference.repository());
        let credentials = auth::find(registry, repository)?;
        Self::with(registry, repository, access, credentials, Plain::of(registry, source.insecure))
    }

    /// Looks whether a registry takes a name and a password.
    ///
    /// # Errors
    /// When it does not, or cannot be reached.
    pub fn check(registry: &str, credentials: Credentials) -> Result<()> {
        let plain = Plain::of(registry, sources::is_insecure(registry)?);
        let found = Self::with(registry, "", Access::None, Some(credentials), plain)?;
        let answer = found.call(Method::GET, &found.url("/v2/"), &[], Sent::Nothing)?;
        if answer.status().is_success() { Ok(()) } else { Err(found.refused(answer)) }
    }

    fn with(
        registry: &str,
        repository: &str,
        access: Access,
        credentials: Option<Credentials>,
        plain: Plain,
    ) -> Result<Self> {
        // Docker's own is not where its name says.
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let cannot = || format!("cannot reach the registry {registry}");
        let schemes: &[&str] = match plain {
            Plain::Always => &["http"],
            Plain::WithoutTls => &["https", "http"],
            Plain::Never => &["https"],
        };
        let agent = agent(registry, host, Peer::Registry).with_context(cannot)?;
        let mut failed = None;
        for scheme in schemes {
            let base = format!("{scheme}://{host}");
            let origin = Origin::of(&base).ok_or_else(|| Error::new(cannot()))?;
            match agent.get(format!("{base}/v2/")).call() {
                // It does speak TLS, only not to us.
                Ok(answer) if failed.is_some() && answer.status() == StatusCode::BAD_REQUEST => break,
                Ok(answer) => {
                    let asked = answer.status() == StatusCode::UNAUTHORIZED;
                    let challenge = asked.then(|| Challenge::of(answer.headers())).flatten();
                    let (name, repository) = (registry.to_owned(), repository.to_owned());
                    return Ok(Self {
                        agent,
                        elsewhere: OnceLock::new(),
                        base,
                        origin,
                        name,
                        repository,
                        access,
                        like: None,
                        credentials,
                        challenge,
                        authorization: Mutex::default(),
                    });
                }
                // By another port, if at all.
                Err(error) if answer::is_no_tls(&error) || answer::is_nobody(&error) => {
                    failed = failed.or(Some(error));
                }
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
        let mut answer = self.call(Method::GET, &url, &[(header::ACCEPT, DOCUMENTS_OF.join(", "))], Sent::Nothing)?;
        if !answer.status().is_success() {
            return Err(self.refused(answer));
        }
        let media_type = text(answer.headers(), header::CONTENT_TYPE).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        let mut content = Vec::new();
        let body = Paced::new(answer.body_mut().as_reader());
        let read = body.take(LONGEST_MANIFEST + 1).read_to_end(&mut content);
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
        Ok(Some(Part { from, reader: Box::new(Paced::new(answer.into_body().into_reader())) }))
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

    /// Names another repository of the same registry: a blob that it has need not be sent.
    #[must_use]
    pub(super) fn like(self, repository: &str) -> Self {
        Self { like: Some(repository.to_owned()), ..self }
    }

    /// Gives the registry a blob. Says whether it was sent, as it may have it elsewhere.
    ///
    /// # Errors
    /// When it does not take it.
    pub fn put_blob(&self, digest: Digest, size: u64, content: &mut dyn Read) -> Result<bool> {
        let mut url = self.url(&format!("/v2/{}/blobs/uploads/", self.repository));
        if let Some(like) = &self.like {
            url += &format!("?mount=sha256:{digest}&from={like}");
        }
        let answer = self.call(Method::POST, &url, &[], Sent::Content(b"", ""))?;
        match answer.status() {
            StatusCode::CREATED if self.like.is_some() => return Ok(false),
            StatusCode::ACCEPTED => {}
            _ => return Err(self.refused(answer)),
        }
        let place = text(answer.headers(), header::LOCATION);
        let place = place.ok_or_else(|| Error::new("it does not say where an upload goes"))?;
        let place = place::lead(&url, &place)?;
        let joint = if place.contains('?') { '&' } else { '?' };
        let url = format!("{place}{joint}digest=sha256:{digest}");
        let answer = self.call(Method::PUT, &url, &[], Sent::Stream(content, size))?;
        if answer.status().is_success() { Ok(true) } else { Err(self.refused(answer)) }
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
pub(super) mod tests;
