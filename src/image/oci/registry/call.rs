//! One request to a registry: sent on by whoever answers, and asked again with a proof of who we are where the registry
//! itself wants one. The proof goes to the registry alone, wherever it sends us.

use std::io::Read;
use std::time::Duration;

use ureq::http::{Method, Request, Response, StatusCode, header, request};
use ureq::{Agent, Body, SendBody};

use super::answer::unreachable;
use super::challenge::Challenge;
use super::place::{self, Origin};
use super::tls::{self, Peer};
use super::{Registry, is_loopback, text};
use crate::error::{Error, Result};

/// How long a registry may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(30);
/// So often a request is sent on.
pub(super) const HOPS: u32 = 10;

/// What is sent along.
pub(super) enum Sent<'a> {
    Nothing,
    Content(&'a [u8], &'a str),
    /// So many bytes of a stream, which comes only once.
    Stream(&'a mut dyn Read, u64),
}

impl Registry {
    /// One request, and once more when the registry asks who we are.
    pub(super) fn call(
        &self,
        method: Method,
        url: &str,
        headers: &[(header::HeaderName, String)],
        mut sent: Sent<'_>,
    ) -> Result<Response<Body>> {
        let mut url = url.to_owned();
        let mut authorization = self.authorize(None)?;
        // It may want a proof at first, and another for this; a third would be no better.
        let (mut renewals, mut hops) = (2, 0);
        loop {
            // What another says, who was sent to, is no question of the registry's.
            let is_ours = Origin::of(&url).is_some_and(|origin| origin == self.origin);
            let mut request = Request::builder().method(method.clone()).uri(&url);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            if let Some(authorization) = authorization.as_ref().filter(|_| is_ours) {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let agent = if is_ours { self.agent.clone() } else { self.elsewhere()? };
            let answer = send(&agent, request, &mut sent).map_err(|error| unreachable(error, &self.name))?;
            if let Some(next) = sent_on(&method, &url, &answer, &sent)? {
                hops += 1;
                if hops > HOPS {
                    return Err(Error::new(format!("it sends us on more than {HOPS} times")));
                }
                url = next;
                continue;
            }
            let repeatable = !matches!(sent, Sent::Stream(..));
            let again = answer.status() == StatusCode::UNAUTHORIZED && repeatable && renewals > 0 && is_ours;
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

    /// What speaks to those to whom the registry sends us.
    fn elsewhere(&self) -> Result<Agent> {
        if let Some(agent) = self.elsewhere.get() {
            return Ok(agent.clone());
        }
        let agent = agent(&self.name, self.origin.host(), Peer::Other)?;
        Ok(self.elsewhere.get_or_init(|| agent).clone())
    }
}

/// Where an answer sends us, if what was asked can be asked there.
pub(super) fn sent_on(method: &Method, url: &str, answer: &Response<Body>, sent: &Sent<'_>) -> Result<Option<String>> {
    let same = match answer.status() {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => {
            matches!(*method, Method::GET | Method::HEAD)
        }
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => !matches!(sent, Sent::Stream(..)),
        _ => false,
    };
    let location = text(answer.headers(), header::LOCATION).filter(|_| same);
    location.map(|location| place::lead(url, &location)).transpose()
}

fn send(agent: &Agent, request: request::Builder, sent: &mut Sent<'_>) -> Result<Response<Body>, ureq::Error> {
    let (length, kind) = match sent {
        Sent::Nothing => return agent.run(request.body(SendBody::none())?),
        Sent::Content(content, media_type) => (content.len() as u64, *media_type),
        Sent::Stream(_, size) => (*size, "application/octet-stream"),
    };
    let mut request = request.header(header::CONTENT_LENGTH, length.to_string());
    if !kind.is_empty() {
        request = request.header(header::CONTENT_TYPE, kind);
    }
    match sent {
        Sent::Nothing => agent.run(request.body(SendBody::none())?),
        Sent::Content(content, _) => {
            let mut content = *content;
            agent.run(request.body(SendBody::from_reader(&mut content))?)
        }
        Sent::Stream(content, _) => agent.run(request.body(SendBody::from_reader(*content))?),
    }
}

/// What speaks to a host, trusting who vouches for this registry. Where it may be sent is not its matter.
pub(super) fn agent(registry: &str, host: &str, peer: Peer) -> Result<Agent> {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("kraft/", env!("CARGO_PKG_VERSION")))
        // We look where it leads to: another port is another host.
        .max_redirects(0)
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .timeout_per_write(Some(SILENCE))
        .max_idle_connections_per_host(8)
        .max_idle_connections(16)
        .input_buffer_size(1 << 17)
        .output_buffer_size(1 << 17)
        .tls_config(tls::config(registry, peer)?);
    if is_loopback(host) {
        config = config.proxy(None);
    }
    Ok(config.build().new_agent())
}
