//! `WWW-Authenticate`: what a registry asks for, and whether its token service may be asked.

use std::collections::BTreeMap;

use reqwest::Url;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

use super::http::Peer;

/// Registries whose token service is on a host of another name; the operator can list more.
const KNOWN_REALMS: [(&str, &str); 2] =
    [("registry-1.docker.io", "auth.docker.io"), ("registry.gitlab.com", "gitlab.com")];

/// How a registry wants to be convinced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Bearer { realm: String, service: Option<String> },
    Basic,
}

/// The strongest challenge that we can answer: a token before a password.
pub(super) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let lines = headers.get_all(WWW_AUTHENTICATE).iter().take(8).filter_map(|value| value.to_str().ok());
    let all: Vec<_> = lines.filter(|line| line.len() <= 4096).flat_map(parse).collect();
    let bearer = all.iter().find_map(|(scheme, parameters)| {
        let realm = parameters.get("realm").filter(|_| scheme == "bearer")?;
        Some(Challenge::Bearer { realm: realm.clone(), service: parameters.get("service").cloned() })
    });
    bearer.or_else(|| all.iter().any(|(scheme, _)| scheme == "basic").then_some(Challenge::Basic))
}

/// How many challenges one header line has, however odd it is; the door for fuzzing.
pub(crate) fn challenges(line: &str) -> usize {
    parse(line).len()
}

type Parameters = BTreeMap<String, String>;

/// `scheme key=value, key="quoted \" value", scheme …`
fn parse(line: &str) -> Vec<(String, Parameters)> {
    let mut found: Vec<(String, Parameters)> = Vec::new();
    let mut rest = line.trim_start_matches([' ', ',']);
    while !rest.is_empty() {
        let word = rest.find([' ', '=', ',']).unwrap_or(rest.len());
        let (name, after) = (rest[..word].to_ascii_lowercase(), &rest[word..]);
        match after.strip_prefix('=') {
            Some(value) => {
                let (value, next) = take_value(value);
                if let Some((_, parameters)) = found.last_mut() {
                    parameters.entry(name).or_insert(value);
                }
                rest = next;
            }
            None => {
                found.push((name, Parameters::new()));
                rest = after;
            }
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    found
}

fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

/// Refuses a token service that is not the registry's own (CVE-2020-15157 and its kin): it would get the login.
pub(super) fn check_realm(peer: &Peer, realm: &str) -> Result<Url, &'static str> {
    let url = Url::parse(realm).map_err(|_| "it is no URL")?;
    let (own, host) = (peer.base.host_str(), url.host_str());
    let known = |pair: &(&str, &str)| own == Some(pair.0) && host == Some(pair.1);
    let listed = || peer.token_services.iter().any(|service| host == Some(service.as_str()));
    if host.is_none() || (own != host && !KNOWN_REALMS.iter().any(known) && !listed()) {
        return Err(
            "its token service is on another host than the registry; if it is to be trusted with the login, \
             list it in --registry_token_services as registry=host",
        );
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if peer.plain => Ok(url),
        _ => Err("its token service does not use HTTPS"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::http::Trust;
    use super::*;

    fn of(lines: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        lines.iter().for_each(|line| {
            headers.append(WWW_AUTHENTICATE, line.parse().unwrap());
        });
        challenge(&headers)
    }

    #[test]
    fn challenges_are_read() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.into(), service: service.map(str::to_owned) })
        };
        assert_eq!(
            of(&[r#"Bearer realm="https://a/t",service="s, x",scope="repository:b:pull""#]),
            bearer("https://a/t", Some("s, x"))
        );
        assert_eq!(of(&[r#"bearer realm=https://a/t"#]), bearer("https://a/t", None));
        assert_eq!(of(&["Basic realm=\"r\"", r#"Bearer realm="u\"v""#]), bearer("u\"v", None));
        assert_eq!(of(&[r#"Basic realm="r", Bearer realm="x", service="y""#]), bearer("x", Some("y")));
        assert_eq!(of(&["Basic"]), Some(Challenge::Basic));
        assert_eq!(of(&["Bearer"]), None);
        assert_eq!(of(&["Negotiate abc=="]), None);
        for odd in ["", "=", "==", ",,,", "a=\"", "Bearer realm=\"", "Bearer realm=\"x\\", " = , ="] {
            of(&[odd]);
        }
    }

    #[test]
    fn realms_stay_at_home() {
        let hub = Peer::new("registry-1.docker.io", &Trust::default()).unwrap();
        let own = Peer::new("r.example:5000", &Trust::default()).unwrap();
        let plain = Peer::new("127.0.0.1:5000", &Trust::default()).unwrap();
        assert!(check_realm(&hub, "https://auth.docker.io/token").is_ok());
        assert!(check_realm(&own, "https://r.example/token").is_ok());
        assert!(check_realm(&plain, "http://127.0.0.1:5001/token").is_ok());
        let gitlab = Peer::new("registry.gitlab.com", &Trust::default()).unwrap();
        assert!(check_realm(&gitlab, "https://gitlab.com/jwt/auth").is_ok());
        let token_services = vec![("registry.own.example".to_owned(), "gitlab.own.example".to_owned())];
        let trust = Trust { token_services, ..Trust::default() };
        let listed = Peer::new("registry.own.example", &trust).unwrap();
        assert!(check_realm(&listed, "https://gitlab.own.example/jwt/auth").is_ok());
        assert!(check_realm(&listed, "http://gitlab.own.example/jwt/auth").is_err(), "without TLS");
        let other = Peer::new("other.example", &trust).unwrap();
        assert!(check_realm(&other, "https://gitlab.own.example/jwt/auth").is_err(), "another registry's");
        for (peer, bad) in [
            (&hub, "http://auth.docker.io/token"),
            (&hub, "https://auth.docker.io.evil.example/token"),
            (&own, "https://auth.docker.io/token"),
            (&own, "http://r.example:5000/token"),
            (&own, "https://evil.example/token"),
            (&own, "https://r.example@evil.example/"),
            (&own, "ftp://r.example/"),
            (&own, "/token"),
            (&plain, "http://127.0.0.2:5000/token"),
            (&plain, "http://169.254.169.254/latest"),
        ] {
            assert!(check_realm(peer, bad).is_err(), "{bad} was taken");
        }
    }
}
