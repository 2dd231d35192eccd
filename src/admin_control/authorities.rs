//! Whose certificates are accepted: the authorities that the certificate of an Admin Control with `https` must come from.
//!
//! Found as most programs find them: in what `SSL_CERT_FILE` and `SSL_CERT_DIR` name, and nowhere else where one of them is set;
//! else in the machine's own list; and on a machine without one, in Mozilla's, which is in the binary.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};

use crate::files;

/// A list of authorities; clones are the same list.
#[derive(Debug, Clone)]
pub struct Authorities {
    roots: Arc<RootCertStore>,
    /// What was named, as it was read; nothing where nobody named anything.
    named: Vec<CertificateDer<'static>>,
    found_in: &'static str,
}

/// A place that was named, and that gives no authority.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {what}")]
pub struct BadAuthorities {
    /// The variable that names it.
    pub place: &'static str,
    /// What is wrong with it.
    pub what: String,
}

impl Authorities {
    /// The variable that names a file of certificates.
    pub const FILE: &'static str = "SSL_CERT_FILE";
    /// The variable that names folders of such files, with colons between.
    pub const FOLDERS: &'static str = "SSL_CERT_DIR";

    /// Mozilla's list, which is in the binary.
    #[must_use]
    pub fn built_in() -> Self {
        let roots = Arc::new(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect());
        Self { roots, named: Vec::new(), found_in: "the list in the binary" }
    }

    /// The machine's own list, or the one in the binary if it has none.
    #[must_use]
    pub fn of_the_machine() -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(load_native_certs().certs);
        if roots.is_empty() {
            return Self::built_in();
        }
        Self { roots: Arc::new(roots), named: Vec::new(), found_in: "this machine's list" }
    }

    /// What is in the file and in the folders that the two variables name.
    ///
    /// # Errors
    ///
    /// If one of them is given and no authority is there, or the file can't be read to its end.
    pub fn named(file: Option<&str>, folders: Option<&str>) -> Result<Self, BadAuthorities> {
        let (mut roots, mut named) = (RootCertStore::empty(), Vec::new());
        if let Some(file) = file {
            files::require_regular(Path::new(file))
                .map_err(|error| BadAuthorities { place: Self::FILE, what: error.to_string() })?;
            let found = load_certs_from_paths(Some(Path::new(file)), None);
            // A file that breaks off may have lost the very one that it was named for.
            if let Some(error) = found.errors.first() {
                return Err(BadAuthorities { place: Self::FILE, what: error.to_string() });
            }
            add(&mut roots, Self::FILE, &found)?;
            named.extend(found.certs);
        }
        if let Some(folders) = folders {
            let mut found = CertificateResult::default();
            for folder in std::env::split_paths(folders) {
                let CertificateResult { certs, errors, .. } = load_certs_from_paths(None, Some(&folder));
                found.certs.extend(certs);
                found.errors.extend(errors);
            }
            add(&mut roots, Self::FOLDERS, &found)?;
            named.extend(found.certs);
        }
        Ok(Self { roots: Arc::new(roots), named, found_in: "what SSL_CERT_FILE and SSL_CERT_DIR name" })
    }

    /// Where they were found, for those who run the server.
    #[must_use]
    pub fn found_in(&self) -> &'static str {
        self.found_in
    }

    /// The certificates that the two variables name, in DER; none where neither is set.
    pub fn in_der(&self) -> impl Iterator<Item = &[u8]> {
        self.named.iter().map(AsRef::as_ref)
    }

    pub(super) fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.roots)
    }
}

/// Adds what can be used; a list that others made may hold what this library can't read.
fn add(roots: &mut RootCertStore, place: &'static str, found: &CertificateResult) -> Result<(), BadAuthorities> {
    match roots.add_parsable_certificates(found.certs.iter().cloned()) {
        (0, _) => {
            let why = found.errors.first().map_or("no certificate is in it".to_owned(), ToString::to_string);
            Err(BadAuthorities { place, what: why })
        }
        _ => Ok(()),
    }
}
