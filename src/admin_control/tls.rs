//! Root certificates, for `https` connections to Admin Control and to the summary store.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::{load_certs_from_paths, load_native_certs};

/// Trusted root certificates; clones share one list.
#[derive(Debug, Clone)]
pub struct RootCertificates {
    roots: Arc<RootCertStore>,
    configured: Arc<[CertificateDer<'static>]>,
    source: &'static str,
}

impl RootCertificates {
    /// The variable that names a file of certificates.
    pub const FILE: &'static str = "SSL_CERT_FILE";
    /// The variable that names directories of such files, separated by colons.
    pub const DIRECTORIES: &'static str = "SSL_CERT_DIR";

    /// Loads the operating system's list, or Mozilla's, which is compiled in, if there is none.
    #[must_use]
    pub fn system() -> Self {
        let (mut roots, mut source) = (RootCertStore::empty(), "this machine's list");
        roots.add_parsable_certificates(load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            source = "the list in the binary";
        }
        Self { roots: Arc::new(roots), configured: Arc::default(), source }
    }

    /// Loads a file and directories (separated by colons) of certificates in PEM format.
    ///
    /// # Errors
    ///
    /// If there is no certificate at all, or if `file` is set and any certificate is unreadable.
    pub fn load(file: Option<&str>, directories: Option<&str>) -> Result<Self, String> {
        let mut loaded = load_certs_from_paths(file.map(Path::new), None);
        for directory in directories.iter().flat_map(std::env::split_paths) {
            let more = load_certs_from_paths(None, Some(&directory));
            loaded.certs.extend(more.certs);
            loaded.errors.extend(more.errors);
        }
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(loaded.certs.iter().cloned());
        match loaded.errors.first() {
            Some(error) if added == 0 || file.is_some() => Err(error.to_string()),
            None if added == 0 => Err("no certificate is in it".to_owned()),
            _ => Ok(Self {
                roots: Arc::new(roots),
                configured: loaded.certs.into(),
                source: "what SSL_CERT_FILE and SSL_CERT_DIR name",
            }),
        }
    }

    /// Returns the origin of the list, for the operator.
    #[must_use]
    pub fn source(&self) -> &'static str {
        self.source
    }

    /// Returns the certificates that the two variables lead to, in DER.
    pub fn configured(&self) -> impl Iterator<Item = &[u8]> {
        self.configured.iter().map(AsRef::as_ref)
    }

    /// Configures a TLS client; `None` if the cryptography library supports no default protocol version.
    pub(super) fn client_config(&self) -> Option<Arc<ClientConfig>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
        Some(Arc::new(config.with_root_certificates(Arc::clone(&self.roots)).with_no_client_auth()))
    }
}
