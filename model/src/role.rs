//! Roles: who resources are shared among.

use std::fmt;
use std::sync::Arc;

/// A role; `*` is the default one. Levels of a hierarchy are separated by `/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role(Arc<str>);

/// Why a role name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Role '{0}' {1}")]
pub struct BadRole(String, &'static str);

impl Role {
    /// The default role `*`.
    pub fn any() -> Role {
        Role(Arc::from("*"))
    }

    /// Checks a role name.
    ///
    /// # Errors
    /// Mesos: not empty, no leading, trailing or double slash, no component `.`, `..` or `*` (other than the role
    /// `*` itself), none that starts with `-`, no white space or backspace.
    pub fn new(name: &str) -> Result<Role, BadRole> {
        let bad = |why| Err(BadRole(name.escape_default().to_string(), why));
        if name == "*" {
            return Ok(Role::any());
        }
        if name.is_empty() {
            return bad("must not be empty");
        }
        if name.len() > 4096 {
            return bad("is longer than 4096 characters");
        }
        if name.chars().any(|c| c.is_whitespace() || c == '\u{8}') {
            return bad("contains white space or a backspace");
        }
        for component in name.split('/') {
            match component {
                "" => return bad("has a leading, trailing or double slash"),
                "." | ".." | "*" => return bad("has a component '.', '..' or '*'"),
                _ if component.starts_with('-') => return bad("has a component that starts with '-'"),
                _ => {}
            }
        }
        Ok(Role(Arc::from(name)))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this role lies strictly below `ancestor` in the hierarchy.
    pub fn is_below(&self, ancestor: &Role) -> bool {
        self.0.strip_prefix(ancestor.as_str()).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_names_are_checked() {
        for good in ["*", "web", "a/b/c", "a.b", "a-", "...", "é"] {
            assert!(Role::new(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", ".", "a/..", "a/*", "-a", "a/-b", "a b", "a\t", "a\u{8}", "**/*"]
        {
            assert!(Role::new(bad).is_err(), "{bad:?}");
        }
        assert!(Role::new("a/b").unwrap().is_below(&Role::new("a").unwrap()));
        assert!(!Role::new("ab").unwrap().is_below(&Role::new("a").unwrap()));
    }
}
