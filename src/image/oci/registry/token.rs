//! The answer to what a registry wants as a proof.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use ureq::http::{Method, Response, header};
use ureq::{Agent, Body};

use super::answer::{said, unreachable};
use super::call::{HOPS, Sent, agent, sent_on};
use super::challenge::Challenge;
use super::pace::Paced;
use super::place::Origin;
use super::tls::Peer;
use super::{Access, Registry, is_configured_plain, is_loopback};
use crate::error::{Context as _, Error, Result};
use crate::image::oci::auth::Credentials;

/// More than any answer has.
const LONGEST: u64 = 1 << 20;

/// What `Authorization:` is to say; `None` when we have nothing to say.
pub(super) fn answer(registry: &Registry, challenge: &Challenge) -> Result<Option<String>> {
    match (challenge, &registry.credentials) {
        (_, Some(Credentials::Token(token))) => Ok(Some(format!("Bearer {token}"))),
        (Challenge::Basic, Some(Credentials::Password { user, password })) => Ok(Some(basic(user, password))),
        (Challenge::Basic, Some(Credentials::Identity(_)) | None) => Ok(None),
        (Challenge::Bearer { realm, service, .. }, credentials) => {
            let of = |repository: &str, what: &str| format!("repository:{repository}:{what}");
            let mut scopes = match registry.access {
                // What it names there may be an example, which nobody may have.
                Access::None => Vec::new(),
                Access::Pull => vec![of(&registry.repository, "pull")],
                Access::Push => vec![of(&registry.repository, "pull,push")],
            };
            scopes.extend(registry.like.as_ref().map(|like| of(like, "pull")));
            fetch(registry, realm, service.as_deref(), &scopes, credentials.as_ref())
                .map(|token| Some(format!("Bearer {token}")))
        }
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn fetch(
    registry: &Registry,
    realm: &str,
    service: Option<&str>,
    scopes: &[String],
    credentials: Option<&Credentials>,
) -> Result<String> {
    let origin = Origin::of(realm).filter(|origin| is_safe(registry, origin));
    let origin =
        origin.ok_or_else(|| Error::new(format!("it gives tokens at {}, which is not safe", realm.escape_debug())))?;
    let host = origin.name();
    // Another host has its own authorities.
    let agent = match origin == registry.origin {
        true => registry.agent.clone(),
        false => agent(&host, origin.host(), Peer::Registry)?,
    };
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    pairs.extend(service.map(|service| ("service", service)));
    let joined = scopes.join(" ");
    let asked = match credentials {
        Some(Credentials::Identity(token)) => {
            // A form has it in one field, an address in several.
            pairs.extend((!joined.is_empty()).then_some(("scope", joined.as_str())));
            pairs.extend([("grant_type", "refresh_token"), ("client_id", "kraft"), ("refresh_token", token.as_str())]);
            agent.post(realm).send_form(pairs).map_err(|error| unreachable(error, &host))
        }
        Some(Credentials::Password { user, password }) => {
            pairs.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
            pairs.push(("account", user));
            get(&agent, realm, &origin, &pairs, Some(&basic(user, password)))
        }
        Some(Credentials::Token(_)) | None => {
            pairs.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
            get(&agent, realm, &origin, &pairs, None)
        }
    };
    let no_token = || format!("no token from {host}");
    let mut answer = asked.with_context(no_token)?;
    if !answer.status().is_success() {
        let (status, said) = (answer.status(), said(&mut answer));
        let why = if said.is_empty() { status.to_string() } else { format!("{said} ({})", status.as_u16()) };
        return Err(Error::new(why).context(no_token()));
    }
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let mut text = Vec::new();
    let read = Paced::new(answer.body_mut().as_reader()).take(LONGEST).read_to_end(&mut text);
    read.map_err(|e| unreachable(e.into(), &host))?;
    let answer: Option<Answer> = serde_json::from_slice(&text).ok();
    let token =
        answer.and_then(|answer| [answer.token, answer.access_token].into_iter().flatten().find(|token| is_one(token)));
    token.ok_or_else(|| Error::new("it answers with something else").context(no_token()))
}

/// By TLS, or where nothing goes over a network that the registry itself is not reached by.
fn is_safe(registry: &Registry, realm: &Origin) -> bool {
    let here = |origin: &Origin| is_loopback(origin.host());
    realm.is_https()
        || *realm == registry.origin
        || (here(realm) && here(&registry.origin))
        || is_configured_plain(&realm.name())
}

/// Asks for a token, and where this sends us. The password goes to no other than the first.
fn get(
    agent: &Agent,
    realm: &str,
    origin: &Origin,
    pairs: &[(&str, &str)],
    proof: Option<&str>,
) -> Result<Response<Body>> {
    let (mut url, mut pairs) = (realm.to_owned(), pairs);
    for _ in 0..=HOPS {
        let mut request = agent.get(&url).query_pairs(pairs.iter().copied());
        if let Some(proof) = proof.filter(|_| Origin::of(&url).as_ref() == Some(origin)) {
            request = request.header(header::AUTHORIZATION, proof);
        }
        let answer = request.call().map_err(|error| unreachable(error, origin.host()))?;
        match sent_on(&Method::GET, &url, &answer, &Sent::Nothing)? {
            // What is asked for stands there by then.
            Some(next) => (url, pairs) = (next, &[]),
            None => return Ok(answer),
        }
    }
    Err(Error::new(format!("it sends us on more than {HOPS} times")))
}

/// What a header can have.
fn is_one(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}
