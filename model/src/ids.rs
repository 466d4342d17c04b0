//! Typed ids and the rules for those that users choose.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// Why an id is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadId {
    /// Nothing in it.
    #[error("ID must not be empty")]
    Empty,
    /// More than 255 characters.
    #[error("ID must not be greater than 255 characters")]
    TooLong,
    /// `.` or `..`.
    #[error("'{0}' is disallowed")]
    Dots(String),
    /// A control character, `/` or `\`.
    #[error("'{0}' contains invalid characters")]
    Characters(String),
}

/// Checks an id chosen by a user.
///
/// # Errors
/// Mesos: not empty, at most 255 characters, not `.` or `..`, no control characters, no `/` or `\`.
pub fn check(id: &str) -> Result<(), BadId> {
    if id.is_empty() {
        return Err(BadId::Empty);
    }
    if id.len() > 255 {
        return Err(BadId::TooLong);
    }
    if id == "." || id == ".." {
        return Err(BadId::Dots(id.to_owned()));
    }
    if id.chars().any(|c| c.is_control() || c == '/' || c == '\\') {
        return Err(BadId::Characters(id.escape_default().to_string()));
    }
    Ok(())
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash)]
        pub struct $name(Arc<str>);

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                // Keys of a table share the text of their framework: most comparisons end here.
                if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl $name {
            /// Takes a text as it is; what came from outside goes through [`check`] first.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                $name(text.into())
            }

            /// The text of the id.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether the id obeys the rules for ids that users choose.
            ///
            /// # Errors
            /// As [`check`].
            pub fn check(&self) -> Result<(), BadId> {
                check(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                $name::new(text)
            }
        }
    )+};
}

ids! {
    /// One start of a master process.
    MasterId,
    /// An agent: `<master id>-S<n>`.
    AgentId,
    /// A framework: `<master id>-NNNN`, or what a re-subscribing scheduler says.
    FrameworkId,
    /// An offer or inverse offer: `<master id>-O<n>`.
    OfferId,
    /// A task, named by its scheduler, unique among the live and unreachable tasks of its framework.
    TaskId,
    /// An executor; for a command task the same text as the task's id.
    ExecutorId,
    /// A container: a random UUID.
    ContainerId,
}

macro_rules! id_messages {
    ($($name:ident => $message:ident),+ $(,)?) => {$(
        impl From<&$name> for wire::v1::$message {
            fn from(id: &$name) -> Self {
                wire::v1::$message { value: id.as_str().to_owned() }
            }
        }

        impl From<&wire::v1::$message> for $name {
            fn from(message: &wire::v1::$message) -> Self {
                $name::new(message.value.as_str())
            }
        }
    )+};
}

id_messages! {
    AgentId => AgentId,
    FrameworkId => FrameworkId,
    OfferId => OfferId,
    TaskId => TaskId,
    ExecutorId => ExecutorId,
}

impl From<&ContainerId> for wire::v1::ContainerId {
    fn from(id: &ContainerId) -> Self {
        wire::v1::ContainerId { value: id.as_str().to_owned(), parent: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_users_are_checked() {
        for good in ["a", "...", "-", "a b", "é", &"x".repeat(255)] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a\\b", "a\0b", "a\nb", "\u{7f}", &"x".repeat(256)] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
