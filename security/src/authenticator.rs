//! Who asks: logins and tokens in the header `Authorization`, and the answer 401.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::credentials::Logins;
use crate::jwt::Key;

/// Who has proved to be who he says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal {
    /// His name. Mesos: a token may have claims without one.
    pub value: Option<String>,
}

/// The answer 401.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unauthorized {
    /// For the header `WWW-Authenticate`. Mesos: several are joined with a comma.
    pub challenges: String,
    /// For people.
    pub message: &'static str,
}

/// Tells who asks.
#[derive(Debug, Default)]
pub struct Authenticator {
    logins: Option<Logins>,
    key: Option<Key>,
}

/// What a header came to.
enum Said {
    Nothing,
    Right(Principal),
    Wrong { token: bool, why: String },
}

impl Authenticator {
    /// One that believes these logins, and tokens of this key.
    pub fn new(logins: Option<Logins>, key: Option<Key>) -> Authenticator {
        Authenticator { logins, key }
    }

    /// Whether there is anything that it could believe.
    pub fn believes_nobody(&self) -> bool {
        self.logins.is_none() && self.key.is_none()
    }

    /// Whether it believes logins.
    pub fn takes_logins(&self) -> bool {
        self.logins.is_some()
    }

    /// Who asks.
    ///
    /// # Errors
    /// Nobody who is known.
    pub fn authenticate(&self, realm: &str, headers: &HeaderMap) -> Result<Principal, Unauthorized> {
        let mut all = headers.get_all(AUTHORIZATION).iter();
        let said = match (all.next(), all.next()) {
            (None, _) => Said::Nothing,
            (Some(one), None) => self.hear(one.to_str().unwrap_or_default()),
            (Some(_), Some(_)) => Said::Wrong { token: false, why: String::new() },
        };
        let (message, bad_token) = match said {
            Said::Right(principal) => return Ok(principal),
            Said::Nothing => ("Authentication is required", None),
            Said::Wrong { token, why } => ("The credentials are not valid", token.then_some(why)),
        };
        Err(Unauthorized { challenges: self.challenges(realm, bad_token), message })
    }

    /// RFC 6750: who brought no token is told nothing of what was wrong with it.
    fn challenges(&self, realm: &str, bad_token: Option<String>) -> String {
        let basic = self.logins.as_ref().map(|_| format!("Basic realm=\"{realm}\""));
        let bearer = self.key.as_ref().map(|_| match bad_token {
            None => format!("Bearer realm=\"{realm}\""),
            Some(why) => {
                format!("Bearer realm=\"{realm}\", error=\"invalid_token\", error_description=\"{why}\"")
            }
        });
        let all: Vec<String> = basic.into_iter().chain(bearer).collect();
        all.join(",")
    }

    /// Whether the value of a header is right; of a login alone, no token.
    pub fn login(&self, header: &str) -> Option<String> {
        match scheme(header) {
            Some(("basic", login)) => self.basic(login),
            _ => None,
        }
    }

    fn hear(&self, header: &str) -> Said {
        let wrong = |token, why: &str| Said::Wrong { token, why: why.to_owned() };
        match scheme(header) {
            Some(("basic", login)) => match self.basic(login) {
                Some(principal) => Said::Right(Principal { value: Some(principal) }),
                None => wrong(false, ""),
            },
            Some(("bearer", token)) => match &self.key {
                None => wrong(false, ""),
                Some(key) => match key.verify(token, now()) {
                    Ok(value) => Said::Right(Principal { value }),
                    Err(why) => wrong(true, &why.to_string()),
                },
            },
            _ => wrong(false, ""),
        }
    }

    fn basic(&self, login: &str) -> Option<String> {
        let (principal, secret) = split_login(login)?;
        self.logins.as_ref()?.are_right(&principal, &secret).then_some(principal)
    }
}

/// The scheme, which is one whatever its letters' case, and what it says.
fn scheme(header: &str) -> Option<(&'static str, &str)> {
    let (scheme, said) = header.trim().split_once(' ')?;
    let known = ["basic", "bearer"].into_iter().find(|known| scheme.eq_ignore_ascii_case(known))?;
    Some((known, said.trim_start()))
}

/// Principal and secret of a login. RFC 7617: the first colon parts them.
pub fn split_login(login: &str) -> Option<(String, String)> {
    let plain = String::from_utf8(STANDARD.decode(login).ok()?).ok()?;
    let (principal, secret) = plain.split_once(':')?;
    Some((principal.to_owned(), secret.to_owned()))
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::credentials::parse_list;

    fn with(header: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(header).unwrap())])
    }

    fn both() -> Authenticator {
        let logins = Logins::new(parse_list("me s:e:c").unwrap()).unwrap();
        Authenticator::new(Some(logins), Key::new(&[7; 32]))
    }

    #[test]
    fn logins_are_heard_in_their_spellings() {
        let basic = parse_list("me s:e:c").unwrap()[0].basic();
        let code = basic.strip_prefix("Basic ").unwrap().to_owned();
        for header in [basic.clone(), format!("basic  {code}"), format!("BASIC {code}")] {
            let principal = both().authenticate("r", &with(&header)).unwrap();
            assert_eq!(principal.value.as_deref(), Some("me"), "{header}");
        }
        assert_eq!(both().login(&basic).as_deref(), Some("me"));
        assert_eq!(both().login("Bearer x"), None);
    }

    #[test]
    fn refusals_name_the_realm_and_what_would_do() {
        let refused = |authenticator: &Authenticator, headers: &HeaderMap| {
            authenticator.authenticate("mesos-master-readonly", headers).unwrap_err().challenges
        };
        let (both, basic) = (both(), Authenticator::new(both().logins, None));
        let nothing = HeaderMap::new();
        assert_eq!(refused(&basic, &nothing), r#"Basic realm="mesos-master-readonly""#);
        let plain = r#"Basic realm="mesos-master-readonly",Bearer realm="mesos-master-readonly""#;
        assert_eq!(refused(&both, &nothing), plain);
        for bad in ["Basic bWU6eA==", "Basic !", "Basic", "Digest x", "", "Basic bWU="] {
            assert_eq!(refused(&both, &with(bad)), plain, "{bad}");
        }
        let told = refused(&both, &with("Bearer a.b.c"));
        let error = r#", error="invalid_token", error_description="Invalid JWT: a part is no "#;
        assert!(told.starts_with(&format!("{plain}{error}")), "{told}");
        assert_eq!(refused(&basic, &with("Bearer a.b.c")), r#"Basic realm="mesos-master-readonly""#);
        let mut twice = with("Basic bWU6czplOmM=");
        twice.append(AUTHORIZATION, HeaderValue::from_static("Basic bWU6czplOmM="));
        assert_eq!(refused(&both, &twice), plain);
    }
}
