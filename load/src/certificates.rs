//! An authority of the run's own, and a certificate for loopback.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// PEM files.
pub(crate) struct Certificates {
    pub(crate) authority: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificates {
    pub(crate) fn make(directory: &Path) -> anyhow::Result<Self> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        let leaf = leaf.signed_by(&key, &authority)?;
        let files = Self {
            authority: directory.join("ca.pem"),
            certificate: directory.join("leaf.pem"),
            key: directory.join("leaf.key"),
        };
        fs::write(&files.authority, authority.pem())?;
        fs::write(&files.certificate, leaf.pem())?;
        fs::write(&files.key, key.serialize_pem())?;
        Ok(files)
    }

    /// For a server under test: whom it trusts, and that it may connect to loopback.
    pub(crate) fn environment(&self) -> Vec<(String, PathBuf)> {
        let list = |value: &str| PathBuf::from(format!("[\"{value}\"]"));
        let authority = self.authority.display().to_string();
        vec![
            ("MERIDIAN_FEDERATION__CERTIFICATE_AUTHORITIES".to_owned(), list(&authority)),
            ("MERIDIAN_FEDERATION__ALLOWED_ADDRESSES".to_owned(), list("127.0.0.0/8")),
        ]
    }
}
