//! TLS: what is asked for by flags, the two roles, and why it can't be had.

mod configs;
pub mod flags;
mod live;
mod names;
mod pem;
mod roles;
mod stream;

use std::path::{Path, PathBuf};

use model::flags::{BadFlag, Values, bad};

use crate::file::BadFile;

pub use roles::{ClientTls, ServerTls};
pub use stream::{Guest, Stream};

/// What the flags ask for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TlsSettings {
    /// Own certificate, with what signed it behind.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Who signs the certificates of others: a file, and a folder of files.
    pub ca_file: Option<PathBuf>,
    /// The folder.
    pub ca_dir: Option<PathBuf>,
    /// Nobody comes without a certificate.
    pub require_client_cert: bool,
    /// No agent comes without a certificate.
    pub require_agent_cert: bool,
    /// Who speaks in plain text is heard, too.
    pub downgrade: bool,
}

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be used.
    #[error(transparent)]
    File(#[from] BadFile),
    /// Certificate and key don't belong together, or can't be used.
    #[error("--ssl_cert_file={} with --ssl_key_file={}: {why}", .cert.display(), .key.display())]
    Pair {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A flag is missing.
    #[error("{0}")]
    Missing(&'static str),
}

impl TlsSettings {
    /// Reads the flags of [`flags::TLS`]; none when TLS is off.
    ///
    /// # Errors
    /// Names the flag that can't be used.
    pub fn from_flags(values: &Values) -> Result<Option<TlsSettings>, BadFlag> {
        let asked = |name: &str| values.text(name).map(|_| values.bool(name)).transpose();
        if !values.bool("ssl_enabled")? {
            // What protects must not be dropped in silence.
            for name in ["ssl_require_client_cert", "ssl_require_agent_cert"] {
                if asked(name)? == Some(true) {
                    return Err(bad(name, "true", "needs --ssl_enabled, too"));
                }
            }
            return Ok(None);
        }
        if asked("ssl_verify_server_cert")? == Some(false) {
            let why = "who is spoken to is always verified; leave the flag out and give --ssl_ca_file";
            return Err(bad("ssl_verify_server_cert", "false", why));
        }
        let path = |name: &str| values.path(name).filter(|path| !path.as_os_str().is_empty());
        let mut settings = TlsSettings {
            cert: path("ssl_cert_file"),
            key: path("ssl_key_file"),
            ca_file: path("ssl_ca_file"),
            ca_dir: path("ssl_ca_dir"),
            require_client_cert: asked("ssl_require_client_cert")?.unwrap_or(false),
            require_agent_cert: false,
            downgrade: asked("ssl_support_downgrade")?.unwrap_or(false),
        };
        settings.require_agent_cert = asked("ssl_require_agent_cert")?.unwrap_or(settings.has_ca());
        if settings.cert.is_some() != settings.key.is_some() {
            let (there, missing) = match settings.cert {
                Some(_) => ("ssl_cert_file", "--ssl_key_file"),
                None => ("ssl_key_file", "--ssl_cert_file"),
            };
            let value = values.text(there).unwrap_or_default();
            return Err(bad(there, value, &format!("needs {missing}, too")));
        }
        Ok(Some(settings))
    }

    /// Whether everybody who connects must have a certificate, with no way around it.
    pub fn everybody_is_certified(&self) -> bool {
        self.require_client_cert && !self.downgrade
    }

    /// Whether whatever is sent to this port is encrypted.
    pub fn everything_is_encrypted(&self) -> bool {
        !self.downgrade
    }

    fn pair(&self) -> Option<(&Path, &Path)> {
        self.cert.as_deref().zip(self.key.as_deref())
    }

    /// Whether certificates of others can be verified, so that they are asked for.
    pub fn has_ca(&self) -> bool {
        self.ca_file.is_some() || self.ca_dir.is_some()
    }
}

/// An error with everything that it comes from, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<Option<TlsSettings>, BadFlag> {
        let mut values = Values::defaults(flags::TLS);
        pairs.iter().for_each(|(name, value)| values.set(name, *value));
        TlsSettings::from_flags(&values)
    }

    #[test]
    fn flags_are_read() {
        assert_eq!(with(&[("ssl_cert_file", "/c")]).unwrap(), None);
        assert!(with(&[("ssl_require_client_cert", "true")]).is_err());
        let plain = with(&[("ssl_enabled", "1")]).unwrap().unwrap();
        assert_eq!(plain, TlsSettings::default());
        let with_ca = with(&[("ssl_enabled", "true"), ("ssl_ca_dir", "/d")]).unwrap().unwrap();
        assert!(with_ca.require_agent_cert && !with_ca.require_client_cert);
        let all = [
            ("ssl_enabled", "true"),
            ("ssl_cert_file", "/c"),
            ("ssl_key_file", "/k"),
            ("ssl_ca_file", "/ca"),
            ("ssl_require_client_cert", "true"),
            ("ssl_require_agent_cert", "false"),
            ("ssl_support_downgrade", "true"),
        ];
        let settings = with(&all).unwrap().unwrap();
        assert_eq!(settings.pair(), Some((Path::new("/c"), Path::new("/k"))));
        assert!(settings.has_ca() && settings.downgrade && !settings.require_agent_cert);
        assert!(settings.require_client_cert && !settings.everybody_is_certified());
    }

    #[test]
    fn refusals_name_the_flag() {
        for (name, value) in [
            ("ssl_enabled", "perhaps"),
            ("ssl_verify_server_cert", "false"),
            ("ssl_cert_file", "/c"),
            ("ssl_key_file", "/k"),
            ("ssl_support_downgrade", "x"),
        ] {
            let bad = with(&[("ssl_enabled", "true"), (name, value)]).unwrap_err();
            assert_eq!(bad.flag, name);
        }
    }
}
