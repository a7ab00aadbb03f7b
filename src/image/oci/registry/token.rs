//! The answer to what a registry wants as a proof.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use ureq::http::header;

use super::answer::{said, unreachable};
use super::challenge::Challenge;
use super::{Access, Registry, agent, is_configured_plain, is_loopback};
use crate::error::{Error, Result};
use crate::image::oci::auth::Credentials;

/// More than any answer has.
const LONGEST: u64 = 1 << 20;

/// What `Authorization:` is to say; `None` when we have nothing to say.
pub(super) fn answer(registry: &Registry, challenge: &Challenge) -> Result<Option<String>> {
    match (challenge, &registry.credentials) {
        (_, Some(Credentials::Token(token))) => Ok(Some(format!("Bearer {token}"))),
        (Challenge::Basic, Some(Credentials::Password { user, password })) => Ok(Some(basic(user, password))),
        (Challenge::Basic, Some(Credentials::Identity(_)) | None) => Ok(None),
        (Challenge::Bearer { realm, service, scope }, credentials) => {
            let scope = match registry.access {
                Access::None => scope.clone(),
                Access::Pull => Some(format!("repository:{}:pull", registry.repository)),
                Access::Push => Some(format!("repository:{}:pull,push", registry.repository)),
            };
            fetch(registry, realm, service.as_deref(), scope.as_deref(), credentials.as_ref())
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
    scope: Option<&str>,
    credentials: Option<&Credentials>,
) -> Result<String> {
    let (scheme, rest) = realm.split_once("://").unwrap_or(("", realm));
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let is_safe = scheme == "https" || (scheme == "http" && (is_loopback(host) || is_configured_plain(host)));
    if !is_safe {
        return Err(Error::new(format!("it gives tokens at {}, which is not safe", realm.escape_debug())));
    }
    // Another host has its own authorities.
    let own = if registry.base == format!("{scheme}://{host}") { Some(registry.agent.clone()) } else { None };
    let agent = own.map_or_else(|| agent(host, host, scheme), Ok)?;
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    pairs.extend(service.map(|service| ("service", service)));
    pairs.extend(scope.map(|scope| ("scope", scope)));
    let asked = match credentials {
        Some(Credentials::Identity(token)) => {
            pairs.extend([("grant_type", "refresh_token"), ("client_id", "kraft"), ("refresh_token", token.as_str())]);
            agent.post(realm).send_form(pairs)
        }
        Some(Credentials::Password { user, password }) => {
            agent.get(realm).query_pairs(pairs).header(header::AUTHORIZATION, basic(user, password)).call()
        }
        Some(Credentials::Token(_)) | None => agent.get(realm).query_pairs(pairs).call(),
    };
    let mut answer = asked.map_err(|error| unreachable(error, host).context(format!("no token from {host}")))?;
    if !answer.status().is_success() {
        let (status, said) = (answer.status(), said(&mut answer));
        let why = if said.is_empty() { status.to_string() } else { format!("{said} ({})", status.as_u16()) };
        return Err(Error::new(format!("no token from {host}: {why}")));
    }
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let mut text = Vec::new();
    let read = answer.body_mut().as_reader().take(LONGEST).read_to_end(&mut text);
    read.map_err(|e| unreachable(e.into(), host))?;
    let answer: Option<Answer> = serde_json::from_slice(&text).ok();
    let token = answer.and_then(|answer| answer.token.or(answer.access_token)).filter(|token| !token.is_empty());
    token.ok_or_else(|| Error::new(format!("no token from {host}: it answers with something else")))
}
