//! Root certificates, for all TLS connections of this server.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::{load_certs_from_paths, load_native_certs};

/// Trusted root certificates; clones share one list.
#[derive(Debug, Clone)]
pub struct RootCertificates {
    roots: Arc<RootCertStore>,
    /// The same in PEM; empty for the list in the binary.
    pem: Arc<str>,
    source: &'static str,
}

impl RootCertificates {
    /// The variable that names a file of certificates.
    pub(crate) const FILE: &'static str = "SSL_CERT_FILE";
    /// The variable that names directories of such files, separated by colons.
    pub(crate) const DIRECTORIES: &'static str = "SSL_CERT_DIR";

    /// Loads the operating system's list, or Mozilla's, which is compiled in, if there is none.
    #[must_use]
    pub fn system() -> Self {
        let roots = Self::new(load_native_certs().certs, "this machine's list");
        if !roots.roots.is_empty() {
            return roots;
        }
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        Self { roots: Arc::new(roots), pem: Arc::default(), source: "the list in the binary" }
    }

    /// Skips certificates that can't be used.
    fn new(certificates: Vec<CertificateDer<'static>>, source: &'static str) -> Self {
        let mut roots = RootCertStore::empty();
        let usable = certificates.into_iter().filter(|certificate| roots.add(certificate.clone()).is_ok());
        let pem = |certificate| {
            format!(
                "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
                STANDARD.encode::<CertificateDer<'_>>(certificate)
            )
        };
        let pem: String = usable.map(pem).collect();
        Self { roots: Arc::new(roots), pem: pem.into(), source }
    }

    /// Loads a file and directories (separated by colons) of certificates in PEM format.
    ///
    /// # Errors
    ///
    /// If there is no certificate at all, or if `file` is set and any certificate is unreadable.
    pub(crate) fn load(file: Option<&str>, directories: Option<&str>) -> Result<Self, String> {
        let mut loaded = load_certs_from_paths(file.map(Path::new), None);
        for directory in directories.iter().flat_map(std::env::split_paths) {
            let more = load_certs_from_paths(None, Some(&directory));
            loaded.certs.extend(more.certs);
            loaded.errors.extend(more.errors);
        }
        let roots = Self::new(loaded.certs, "what SSL_CERT_FILE and SSL_CERT_DIR name");
        match loaded.errors.first() {
            Some(error) if roots.roots.is_empty() || file.is_some() => Err(error.to_string()),
            None if roots.roots.is_empty() => Err("no certificate is in it".to_owned()),
            _ => Ok(roots),
        }
    }

    /// Returns the origin of the list, for the operator.
    pub(crate) fn source(&self) -> &'static str {
        self.source
    }

    /// Returns the certificates in PEM; nothing if they are the list in the binary.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// Configures a TLS client; `None` if the cryptography library supports no default protocol version.
    pub(crate) fn client_config(&self) -> Option<Arc<ClientConfig>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
        Some(Arc::new(config.with_root_certificates(Arc::clone(&self.roots)).with_no_client_auth()))
    }
}
