//! Whom we trust: the system's authorities, those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name in their place, and those
//! that docker and podman keep for one registry, in a directory of its name: `NAME.crt`. Verification cannot be switched
//! off. `NAME.cert` there, with its key in `NAME.key`, is what we are known by to the registry, and to nobody else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::error::{Context as _, Error, Result};
use crate::paths;

/// Whom a connection is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// The registry.
    Registry,
    /// Somebody to whom the registry sends us.
    Other,
}

/// What a connection on behalf of this registry is verified by.
pub(super) fn config(registry: &str, peer: Peer) -> Result<TlsConfig> {
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        log::warn!("cannot read all of the system's certificates: {error}");
    }
    let mut authorities: Vec<Certificate<'static>> =
        system.certs.iter().map(|found| Certificate::from_der(found.as_ref()).to_owned()).collect();
    let files = files(paths::registry_certificates(registry));
    authorities.extend(own(&files)?);
    let known_by = match peer {
        Peer::Registry => known_by(&files)?,
        Peer::Other => None,
    };
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&authorities))
        .client_cert(known_by)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

/// What is in these directories, sorted in each.
fn files(dirs: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for dir in dirs {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        all.extend(files);
    }
    all
}

fn of_kind<'a>(files: &'a [PathBuf], extension: &'a str) -> impl Iterator<Item = &'a Path> {
    files.iter().map(PathBuf::as_path).filter(move |path| path.extension().is_some_and(|found| found == extension))
}

/// The authorities that are for one registry.
fn own(files: &[PathBuf]) -> Result<Vec<Certificate<'static>>> {
    let mut found = Vec::new();
    for path in of_kind(files, "crt") {
        found.extend(certificates(path)?);
    }
    Ok(found)
}

/// What we are known by to one registry: the first certificate that has its key beside it.
fn known_by(files: &[PathBuf]) -> Result<Option<ClientCert>> {
    let Some(path) = of_kind(files, "cert").next() else { return Ok(None) };
    let chain = certificates(path)?;
    if chain.is_empty() {
        return Err(Error::new("there is no certificate in it").context(cannot_read(path)));
    }
    let key = path.with_extension("key");
    let text = std::fs::read(&key).with_context(|| format!("cannot read the key of {}", path.display()))?;
    let bad = |why: String| Error::new(why).context(format!("cannot read the key {}", key.display()));
    let private = PrivateKeyDer::from_pem_slice(&text).map_err(|error| bad(error.to_string()))?;
    // ureq takes for granted that they belong together.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let der = chain.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect();
    rustls::sign::CertifiedKey::from_der(der, private, &provider)
        .map_err(|error| bad(format!("not the key of {}: {error}", path.display())))?;
    let key = PrivateKey::from_pem(&text).map_err(|error| bad(error.to_string()))?;
    Ok(Some(ClientCert::new_with_certs(&chain, key)))
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let cannot = || cannot_read(path);
    let mut found = Vec::new();
    for item in parse_pem(&std::fs::read(path).with_context(cannot)?) {
        let item = item.map_err(|e| Error::new(e.to_string())).with_context(cannot)?;
        if let PemItem::Certificate(certificate) = item {
            found.push(certificate);
        }
    }
    Ok(found)
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read the certificate {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_without_its_key_is_named() {
        let dir = std::env::temp_dir().join(format!("kraft-certificates-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let at = |name: &str| dir.join(name);
        for name in ["b.cert", "README", "a.crt"] {
            std::fs::write(at(name), "").unwrap();
        }
        let found = files(vec![dir.clone(), dir.join("none")]);
        assert!(own(&found).unwrap().is_empty());
        let error = known_by(&found).unwrap_err().to_string();
        assert!(error.ends_with("b.cert: there is no certificate in it"), "{error}");
        // It is only looked at, not used.
        std::fs::write(at("a.cert"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        let found = files(vec![dir.clone()]);
        let error = known_by(&found).unwrap_err().to_string();
        assert!(error.contains("cannot read the key of") && error.contains("a.cert: No such file"), "{error}");
        std::fs::write(at("a.key"), "no key").unwrap();
        let error = known_by(&found).unwrap_err().to_string();
        assert!(error.contains("cannot read the key ") && error.contains("a.key: "), "{error}");
        assert!(known_by(&[]).unwrap().is_none());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
