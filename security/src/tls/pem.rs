//! Certificates and keys as they lie in files, and how it shows that a file is another one now.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{TlsError, TlsSettings};
use crate::file::{BadFile, read, read_secret};

/// What a file should be.
const PEM: &str = "a file in PEM";
/// Files of a folder of authorities that are looked at.
const MOST_FILES: usize = 1000;

fn certificates(flag: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, BadFile> {
    let (pem, _) = read(flag, path, PEM)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|why| BadFile::content(flag, path, format!("no certificate in PEM: {why}")))?;
    if all.is_empty() {
        return Err(BadFile::content(flag, path, "there is no certificate in it"));
    }
    Ok(all)
}

/// A process' own certificate, with those behind it, and its key.
pub(super) type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Reads certificate and key.
pub(super) fn pair(cert: &Path, key: &Path) -> Result<Pair, TlsError> {
    const KEY: &str = "ssl_key_file";
    let chain = certificates("ssl_cert_file", cert)?;
    // Whoever reads the key is the server.
    let pem = read_secret(KEY, key, PEM)?;
    let secret = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| BadFile::content(KEY, key, "there is no key in PEM in it"))?;
    Ok((chain, secret))
}

/// Reads who signs the certificates of others.
pub(super) fn authorities(settings: &TlsSettings) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for (flag, path) in authority_files(settings)? {
        let whole = flag == "ssl_ca_file";
        match certificates(flag, &path) {
            Ok(all) => {
                for certificate in all {
                    let added = store.add(certificate);
                    added.map_err(|why| {
                        BadFile::content(flag, &path, format!("no certificate of an authority: {why}"))
                    })?;
                }
            }
            // A folder may hold other things.
            Err(BadFile::Content { .. }) if !whole => {}
            Err(error) => return Err(error.into()),
        }
    }
    if store.is_empty() {
        let dir = settings.ca_dir.clone().unwrap_or_default();
        return Err(BadFile::content("ssl_ca_dir", &dir, "there is no certificate in it").into());
    }
    Ok(store)
}

fn authority_files(settings: &TlsSettings) -> Result<Vec<(&'static str, PathBuf)>, BadFile> {
    let mut all: Vec<_> = settings.ca_file.iter().map(|file| ("ssl_ca_file", file.clone())).collect();
    if let Some(dir) = &settings.ca_dir {
        let failed = |source| BadFile::unread("ssl_ca_dir", dir, source);
        let entries = fs::read_dir(dir).map_err(failed)?.take(MOST_FILES);
        let mut files: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
        files.sort();
        all.extend(files.into_iter().map(|path| ("ssl_ca_dir", path)));
    }
    Ok(all)
}

/// What distinguishes a file from the one that had its name before: none of it is of the content.
pub(super) type Looks = Vec<Option<(u64, u64, u64, i64, i64)>>;

/// How all files look now.
pub(super) fn looks(settings: &TlsSettings) -> Looks {
    let own = [&settings.cert, &settings.key, &settings.ca_file].into_iter().flatten().cloned();
    let folder =
        settings.ca_dir.iter().flat_map(|_| authority_files(settings)).flatten().map(|(_, path)| path);
    own.chain(folder)
        .map(|path| {
            let found = fs::metadata(path).ok()?;
            Some((found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
        })
        .collect()
}
