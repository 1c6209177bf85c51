//! A certificate authority for one run, the server's certificate and a client's.

use std::{net::IpAddr, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};

use crate::{
    auth::User,
    server::{Error, Result},
};

/// A certificate and its key.
#[derive(Debug)]
pub struct Identity {
    /// PEM of the certificate.
    pub certificate: String,
    /// PEM of the private key.
    pub key: String,
    certificate_der: rustls::pki_types::CertificateDer<'static>,
    key_der: Vec<u8>,
}

/// Everything that a server with TLS and its clients need. Keys exist in memory only.
#[derive(Debug)]
pub struct Certificates {
    /// PEM of the authority's certificate, for `certificate-authority-data`.
    pub authority: String,
    /// The server's identity.
    pub server: Identity,
    /// A client's identity: user `system:admin` in group `system:masters`.
    pub client: Identity,
    authority_der: rustls::pki_types::CertificateDer<'static>,
}

impl Certificates {
    /// Generates an authority and signs a server certificate for `localhost`, the usual in-cluster names and
    /// `addresses`.
    ///
    /// # Errors
    /// When key generation fails.
    pub fn generate(addresses: &[IpAddr]) -> Result<Self> {
        let key = KeyPair::generate().map_err(Error::Certificate)?;
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "steersman-sandbox-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let authority = params.self_signed(&key).map_err(Error::Certificate)?;
        let issuer = Issuer::new(params, key);
        let mut names: Vec<String> = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "127.0.0.1",
            "::1",
        ]
        .map(str::to_owned)
        .to_vec();
        names.extend(addresses.iter().map(IpAddr::to_string));
        let mut server = CertificateParams::new(names).map_err(Error::Certificate)?;
        server
            .distinguished_name
            .push(DnType::CommonName, "steersman-sandbox");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let mut client = CertificateParams::default();
        client.distinguished_name.push(DnType::CommonName, "system:admin");
        client
            .distinguished_name
            .push(DnType::OrganizationName, "system:masters");
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(Self {
            authority: authority.pem(),
            server: sign(&server, &issuer)?,
            client: sign(&client, &issuer)?,
            authority_der: authority.der().clone(),
        })
    }

    /// TLS for a listener: client certificates are accepted and not required, `h2` and `http/1.1` are offered.
    ///
    /// # Errors
    /// When the certificates do not fit together.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.authority_der.clone()).map_err(Error::Tls)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(|error| Error::Tls(rustls::Error::General(error.to_string())))?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.server.key_der.clone()));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Error::Tls)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.server.certificate_der.clone()], key)
            .map_err(Error::Tls)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// The user that a client certificate names, if it is one of ours: its common name, in the groups of its
/// organisations (API-17).
pub(crate) fn user_of(certificate: &[u8]) -> Option<User> {
    const SEQUENCE: u8 = 0x30;
    const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
    const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];
    // Certificate ::= SEQUENCE { SEQUENCE { [0] version, serial, algorithm, issuer, validity, subject, … }, … }
    let (_, certificate, _) = element(certificate)?;
    let (_, mut rest, _) = element(certificate)?;
    if rest.first() == Some(&0xa0) {
        rest = element(rest)?.2;
    }
    for _ in 0..4 {
        rest = element(rest)?.2;
    }
    let (SEQUENCE, mut subject, _) = element(rest)? else {
        return None;
    };
    let mut user = User::default();
    while !subject.is_empty() {
        let (_, mut set, more) = element(subject)?;
        subject = more;
        while !set.is_empty() {
            let (_, attribute, more) = element(set)?;
            set = more;
            let (_, kind, value) = element(attribute)?;
            let (_, value, _) = element(value)?;
            let value = String::from_utf8_lossy(value).into_owned();
            match kind {
                COMMON_NAME => user.name = value,
                ORGANIZATION => user.groups.push(value),
                _ => {}
            }
        }
    }
    (!user.name.is_empty()).then(|| user.authenticated())
}

/// Tag and content of the first DER element, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        length = 0;
        let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        for digit in digits {
            length = length.checked_mul(256)?.checked_add(usize::from(*digit))?;
        }
        rest = after;
    }
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

fn sign(params: &CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Result<Identity> {
    let key = KeyPair::generate().map_err(Error::Certificate)?;
    let certificate = params.signed_by(&key, issuer).map_err(Error::Certificate)?;
    Ok(Identity {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
        certificate_der: certificate.der().clone(),
        key_der: key.serialize_der(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_17_a_certificate_names_user_and_groups() {
        let certificates = Certificates::generate(&[]).unwrap();
        let der = certificates.client.certificate_der.as_ref();
        assert_eq!(user_of(der), Some(User::admin()));
        for end in 0..der.len() {
            // Whatever is cut off, nothing panics.
            let _ = user_of(der.get(..end).unwrap());
        }
    }
}
