//! What stands before the routes of a server: closed endpoints (403), then who asks (401), then whether he has a name
//! (403).

use std::path::PathBuf;

use http::HeaderMap;
use model::flags::{BadFlag, Values, bad};

use crate::authenticator::{Authenticator, Principal, Unauthorized};
use crate::credentials::{Logins, SecretError, read_list};
use crate::file::BadFile;
use crate::firewall::Firewall;
use crate::jwt::Key;

/// What the flags ask for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct GateSettings {
    /// The flag that names the file of logins, and the file.
    credentials: Option<(&'static str, PathBuf)>,
    /// The file with the key of tokens.
    key: Option<PathBuf>,
    /// Realms in which nobody is answered who is not known.
    realms: Vec<&'static str>,
    /// `--firewall_rules`, if any.
    rules: Option<String>,
}

/// Why a gate can't be built.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// Logins can't be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A file can't be used.
    #[error(transparent)]
    File(#[from] BadFile),
    /// Rules that are none.
    #[error("--firewall_rules: {0}")]
    Rules(String),
}

impl GateSettings {
    /// Reads the flags: `credentials` names the one with the file of logins, `realms` the switches and what each
    /// protects. Files are not read yet.
    ///
    /// # Errors
    /// Names the flag that can't be used.
    pub fn from_flags(
        values: &Values,
        credentials: &'static str,
        realms: &[(&str, &'static str)],
    ) -> Result<GateSettings, BadFlag> {
        let path = |name: &str| values.path(name).filter(|path| !path.as_os_str().is_empty());
        let mut settings = GateSettings {
            credentials: path(credentials).map(|path| (credentials, path)),
            key: path("jwt_secret_key"),
            realms: Vec::new(),
            rules: values.text("firewall_rules").filter(|text| !text.is_empty()).map(str::to_owned),
        };
        for (switch, realm) in realms {
            if values.bool(switch)? {
                settings.realms.push(*realm);
            }
        }
        if let Some(rules) = settings.rules.as_deref().filter(|rules| !rules.starts_with('/')) {
            Firewall::parse(rules).map_err(|why| bad("firewall_rules", rules, &why))?;
        }
        if let Some(switch) =
            realms.iter().find(|(_, realm)| settings.protects(realm)).map(|(switch, _)| switch)
            && settings.credentials.is_none()
            && settings.key.is_none()
        {
            let why = format!("nobody could be authenticated; give --{credentials} or --jwt_secret_key, too");
            return Err(bad(switch, "true", &why));
        }
        Ok(settings)
    }

    /// Whether nobody is answered in a realm who is not known.
    pub fn protects(&self, realm: &str) -> bool {
        self.realms.contains(&realm)
    }

    /// Whether there is a file of logins.
    pub fn has_logins(&self) -> bool {
        self.credentials.is_some()
    }
}

/// What stands before the routes.
#[derive(Debug, Default)]
pub struct Gate {
    firewall: Firewall,
    authenticator: Authenticator,
    realms: Vec<&'static str>,
}

/// Whom a gate doesn't let through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// 403.
    Forbidden(String),
    /// 401.
    Unauthorized(Unauthorized),
}

impl Gate {
    /// Reads the files.
    ///
    /// # Errors
    /// Names the flag that can't be used.
    pub fn load(settings: &GateSettings) -> Result<Gate, GateError> {
        let logins = settings.credentials.as_ref().map(|(flag, path)| Logins::new(read_list(flag, path)?));
        let key = settings.key.as_ref().map(|path| Key::read("jwt_secret_key", path));
        let authenticator = Authenticator::new(logins.transpose()?, key.transpose()?);
        let firewall =
            settings.rules.as_deref().map(Firewall::of_flag).transpose().map_err(GateError::Rules)?;
        let firewall = firewall.unwrap_or_default();
        Ok(Gate { firewall, authenticator, realms: settings.realms.clone() })
    }

    /// Who it is that believes logins and tokens.
    pub fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Who asks, in a realm that is protected; none where nobody is asked who he is. `same` tells whether another path is
    /// the same endpoint.
    ///
    /// # Errors
    /// He may not.
    pub fn admit(
        &self,
        path: &str,
        realm: Option<&str>,
        headers: &HeaderMap,
        same: impl Fn(&str) -> bool,
    ) -> Result<Option<Principal>, Stop> {
        if let Some(why) = self.firewall.refuses(path, same) {
            return Err(Stop::Forbidden(why));
        }
        let Some(realm) = realm.filter(|realm| self.realms.contains(realm)) else { return Ok(None) };
        self.authenticator.authenticate(realm, headers).map(Some).map_err(Stop::Unauthorized)
    }
}

impl Principal {
    /// His name, where he must have one.
    ///
    /// # Errors
    /// Mesos: 403 with this text.
    pub fn named(self) -> Result<String, Stop> {
        self.value.ok_or_else(|| {
            Stop::Forbidden(
                "The request's authenticated principal contains claims, but no value string. The master currently \
                 requires that principals have a value"
                    .to_owned(),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REALMS: &[(&str, &str)] = &[("authenticate_a", "a"), ("authenticate_b", "b")];

    fn with(pairs: &[(&str, &str)]) -> Result<GateSettings, BadFlag> {
        let mut values = Values::default();
        pairs.iter().for_each(|(name, value)| values.set(name, *value));
        GateSettings::from_flags(&values, "credentials", REALMS)
    }

    #[test]
    fn flags_are_read() {
        assert_eq!(with(&[]).unwrap(), GateSettings::default());
        let settings = with(&[("authenticate_b", "true"), ("credentials", "/c")]).unwrap();
        assert!(settings.protects("b") && !settings.protects("a") && settings.has_logins());
        for (name, value) in [("authenticate_a", "true"), ("authenticate_a", "x"), ("firewall_rules", "x")] {
            assert_eq!(with(&[(name, value)]).unwrap_err().flag, name, "{name}={value}");
        }
        assert!(with(&[("authenticate_a", "true"), ("jwt_secret_key", "/k")]).is_ok());
        let told = Gate::load(&with(&[("credentials", "/nowhere")]).unwrap()).unwrap_err().to_string();
        assert_eq!(told, "--credentials=/nowhere: can't be read");
        assert!(Gate::load(&with(&[("firewall_rules", "/nowhere")]).unwrap()).is_err());
    }

    #[test]
    fn closed_endpoints_come_before_logins() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "me secret").unwrap();
        let rules = r#"{"disabled_endpoints": {"paths": ["/x"]}}"#;
        let credentials = file.path().to_str().unwrap();
        let flags = [("authenticate_a", "true"), ("credentials", credentials), ("firewall_rules", rules)];
        let gate = Gate::load(&with(&flags).unwrap()).unwrap();
        let admit = |path: &str, realm| gate.admit(path, realm, &HeaderMap::new(), |_| false);
        assert_eq!(admit("/x", Some("a")), Err(Stop::Forbidden("Endpoint '/x' is disabled".to_owned())));
        assert!(matches!(admit("/y", Some("a")), Err(Stop::Unauthorized(_))));
        assert_eq!(admit("/y", Some("b")), Ok(None));
        assert_eq!(admit("/y", None), Ok(None));
        assert!(Principal { value: None }.named().is_err());
    }
}
