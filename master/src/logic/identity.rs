//! Who is behind an agent's link. An agent's id belongs to whoever registered it: others that may come in as well have no
//! right to it, and can't take its address either while it is known there (threats M5).

/// Who registered an agent, as far as it was proved.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Identity {
    /// The principal of a login.
    #[prost(string, optional, tag = "1")]
    pub principal: Option<String>,
    /// What a certificate stands for, sorted.
    #[prost(string, repeated, tag = "2")]
    pub names: Vec<String>,
}

/// What a link proves. A master that takes no logins, or no certificates, can't hold it against anybody that he has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Who is behind it.
    pub identity: Identity,
    /// This master takes logins.
    pub by_login: bool,
    /// This master takes certificates.
    pub by_certificate: bool,
}

impl Proof {
    /// Why it doesn't speak for an agent that was registered by another one. A renewed certificate may stand for more or for
    /// less than before; one name in common is enough.
    pub(super) fn contradicts(&self, known: &Identity) -> Option<String> {
        let own = &self.identity;
        if let Some(principal) = known.principal.as_ref().filter(|_| self.by_login)
            && own.principal.as_ref() != Some(principal)
        {
            let says = own.principal.as_ref().map_or("has no login".to_owned(), |own| format!("is '{own}'"));
            return Some(format!("it was registered by principal '{principal}', this link {says}"));
        }
        let shared = own.names.iter().any(|name| known.names.contains(name));
        if self.by_certificate && !known.names.is_empty() && !shared {
            let names = known.names.join(", ");
            let says = match &own.names[..] {
                [] => "none".to_owned(),
                own => format!("one for {}", own.join(", ")),
            };
            return Some(format!("it was registered with a certificate for {names}, this link has {says}"));
        }
        None
    }

    /// Who is to be written down, when that is news.
    pub(super) fn news(&self, known: Option<&Identity>) -> Option<Identity> {
        let mut new = known.cloned().unwrap_or_default();
        if self.identity.principal.is_some() {
            new.principal.clone_from(&self.identity.principal);
        }
        if !self.identity.names.is_empty() {
            new.names.clone_from(&self.identity.names);
        }
        (new != known.cloned().unwrap_or_default()).then_some(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(principal: Option<&str>, names: &[&str]) -> Identity {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Identity { principal: principal.map(str::to_owned), names }
    }

    fn proof(principal: Option<&str>, names: &[&str]) -> Proof {
        Proof { identity: who(principal, names), by_login: true, by_certificate: true }
    }

    #[test]
    fn an_id_is_its_owners() {
        let known = who(Some("agents"), &["a.example", "b.example"]);
        for (other, right) in [
            (proof(Some("agents"), &["b.example", "c.example"]), true),
            (proof(Some("agents"), &["c.example"]), false),
            (proof(Some("agents"), &[]), false),
            (proof(Some("web"), &["a.example"]), false),
            (proof(None, &["a.example"]), false),
        ] {
            assert_eq!(other.contradicts(&known).is_none(), right, "{other:?}");
        }
        // Whoever can't be asked is believed, and what was written before authentication was on.
        assert_eq!(Proof::default().contradicts(&known), None);
        assert_eq!(proof(Some("web"), &["x"]).contradicts(&Identity::default()), None);
    }

    #[test]
    fn what_is_proved_is_written_once_and_never_forgotten() {
        let known = who(Some("agents"), &["a"]);
        assert_eq!(proof(Some("agents"), &["a"]).news(None), Some(known.clone()));
        assert_eq!(proof(Some("agents"), &["a"]).news(Some(&known)), None);
        assert_eq!(proof(None, &[]).news(Some(&known)), None);
        assert_eq!(proof(None, &[]).news(None), None);
        assert_eq!(proof(None, &["a", "b"]).news(Some(&known)), Some(who(Some("agents"), &["a", "b"])));
    }
}
