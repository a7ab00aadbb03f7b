//! Whom we trust: the system's authorities, those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name in their place, and those
//! that docker and podman keep for one registry. Verification cannot be switched off.

use std::sync::Arc;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::error::{Context as _, Error, Result};
use crate::paths;

/// What a connection to this registry is verified by.
pub(super) fn config(registry: &str) -> Result<TlsConfig> {
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        log::warn!("cannot read all of the system's certificates: {error}");
    }
    let mut certificates: Vec<Certificate<'static>> =
        system.certs.iter().map(|found| Certificate::from_der(found.as_ref()).to_owned()).collect();
    certificates.extend(own(registry)?);
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&certificates))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

/// The authorities that are for one registry: all `*.crt` in its directories.
fn own(registry: &str) -> Result<Vec<Certificate<'static>>> {
    let mut found = Vec::new();
    for dir in paths::registry_certificates(registry) {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_none_or(|extension| extension != "crt") {
                continue;
            }
            let cannot = || format!("cannot read the certificate {}", path.display());
            for item in parse_pem(&std::fs::read(&path).with_context(cannot)?) {
                let item = item.map_err(|e| Error::new(e.to_string())).with_context(cannot)?;
                if let PemItem::Certificate(certificate) = item {
                    found.push(certificate);
                }
            }
        }
    }
    Ok(found)
}
