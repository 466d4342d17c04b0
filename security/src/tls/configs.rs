//! What rustls is told: its two configurations, made of the files.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{CertificateError, ClientConfig, Error, ServerConfig};

use super::{TlsError, TlsSettings, pem};

/// One provider for everything.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Of a server.
pub(super) fn server(settings: &TlsSettings) -> Result<Arc<ServerConfig>, TlsError> {
    let Some((cert, key)) = settings.pair() else {
        return Err(TlsError::Missing("--ssl_enabled needs --ssl_cert_file and --ssl_key_file"));
    };
    let (chain, secret) = pem::pair(cert, key)?;
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(unusable)?;
    let verifier = visitors(settings)?;
    if settings.has_ca() {
        warn_of_own(&*verifier, settings, &chain);
    }
    let builder = builder.with_client_cert_verifier(verifier);
    let mut config = builder.with_single_cert(chain, secret).map_err(|why| TlsError::Pair {
        cert: cert.to_owned(),
        key: key.to_owned(),
        why: why.to_string(),
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A session that is taken up again would not be verified again, and each costs memory.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Who may come: with a certificate that verifies, and without one unless all need it.
fn visitors(settings: &TlsSettings) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if !settings.has_ca() {
        if settings.require_client_cert {
            return Err(TlsError::Missing("--ssl_require_client_cert needs --ssl_ca_file or --ssl_ca_dir"));
        }
        if settings.require_agent_cert {
            return Err(TlsError::Missing("--ssl_require_agent_cert needs --ssl_ca_file or --ssl_ca_dir"));
        }
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let authorities = Arc::new(pem::authorities(settings)?);
    let builder = WebPkiClientVerifier::builder_with_provider(authorities, provider());
    let builder = if settings.require_client_cert { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|_| TlsError::Missing("--ssl_ca_file holds no authority that can be used"))
}

/// Others that trust the same authorities will not believe us: better said here, too.
fn warn_of_own(
    verifier: &dyn ClientCertVerifier,
    settings: &TlsSettings,
    chain: &[rustls::pki_types::CertificateDer<'_>],
) {
    let Some((own, behind)) = chain.split_first() else { return };
    let verified = verifier.verify_client_cert(own, behind, UnixTime::now());
    // One that is for servers only is right for a master.
    let purpose = |error: &Error| {
        use CertificateError::{InvalidPurpose, InvalidPurposeContext};
        matches!(error, Error::InvalidCertificate(InvalidPurpose | InvalidPurposeContext { .. }))
    };
    if let Err(error) = verified
        && !purpose(&error)
    {
        let cert = settings.cert.as_deref().unwrap_or(std::path::Path::new("")).display();
        tracing::warn!(%error, "--ssl_cert_file={cert}: who trusts --ssl_ca_file will refuse this certificate");
    }
}

/// Of a client.
pub(super) fn client(settings: &TlsSettings) -> Result<Arc<ClientConfig>, TlsError> {
    if !settings.has_ca() {
        return Err(TlsError::Missing(
            "--ssl_enabled needs --ssl_ca_file or --ssl_ca_dir: who signs the certificates of those who are spoken to",
        ));
    }
    let authorities = Arc::new(pem::authorities(settings)?);
    let verifier = WebPkiServerVerifier::builder_with_provider(authorities, provider()).build();
    let verifier =
        verifier.map_err(|_| TlsError::Missing("--ssl_ca_file holds no authority that can be used"))?;
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(unusable)?;
    let builder = builder.with_webpki_verifier(verifier);
    let mut config = match settings.pair() {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let (chain, secret) = pem::pair(cert, key)?;
            builder.with_client_auth_cert(chain, secret).map_err(|why| TlsError::Pair {
                cert: cert.to_owned(),
                key: key.to_owned(),
                why: why.to_string(),
            })?
        }
    };
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

fn unusable(_: Error) -> TlsError {
    TlsError::Missing("the TLS library knows no version of the protocol that can be used")
}
