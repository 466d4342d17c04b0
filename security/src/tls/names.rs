//! What a client's certificate stands for: what stays the same when it is renewed, and differs from that of others.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use webpki::EndEntityCert;

/// How many names are looked at, and how long one may be.
const MOST: usize = 100;
const LONGEST: usize = 255;

/// The names of a certificate that was verified, sorted: hosts, URIs, and the peer's address if it is valid for that. Where
/// it has none of these, its subject.
pub(super) fn of(certificate: &CertificateDer<'_>, peer: IpAddr) -> Arc<[String]> {
    // It was verified with the same code, so that it can be read.
    let Ok(certificate) = EndEntityCert::try_from(certificate) else { return Arc::from([]) };
    let hosts = certificate.valid_dns_names().filter(|name| !name.eq_ignore_ascii_case("localhost"));
    let hosts = hosts.map(str::to_ascii_lowercase);
    let uris = certificate.valid_uri_names().map(str::to_owned);
    let mut names: Vec<String> = hosts
        .chain(uris)
        .filter(|name| name.len() <= LONGEST && !name.chars().any(char::is_control))
        .collect();
    let address = ServerName::IpAddress(peer.to_canonical().into());
    if !peer.to_canonical().is_loopback() && certificate.verify_is_valid_for_subject_name(&address).is_ok() {
        names.push(peer.to_canonical().to_string());
    }
    if names.is_empty() {
        names.push(subject(certificate.subject()));
    }
    names.sort_unstable();
    names.dedup();
    names.truncate(MOST);
    names.into()
}

/// A subject has no text that is its only one: its hash is.
fn subject(der: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, der);
    let hex: String = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("subject:{hex}")
}
