//! Linux capabilities by name, and which of them a container gets by default.
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A capability, checked against the names this build knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Capability(caps::Capability);

impl Capability {
    /// Docker's fourteen less `NET_RAW` (packet spoofing) and `MKNOD` (device nodes).
    #[must_use]
    pub fn defaults() -> BTreeSet<Self> {
        use caps::Capability as C;
        [
            C::CAP_CHOWN,
            C::CAP_DAC_OVERRIDE,
            C::CAP_FSETID,
            C::CAP_FOWNER,
            C::CAP_SETGID,
            C::CAP_SETUID,
            C::CAP_SETFCAP,
            C::CAP_SETPCAP,
            C::CAP_NET_BIND_SERVICE,
            C::CAP_SYS_CHROOT,
            C::CAP_KILL,
            C::CAP_AUDIT_WRITE,
        ]
        .into_iter()
        .map(Self)
        .collect()
    }

    /// The number the kernel uses.
    #[must_use]
    pub fn index(self) -> u8 {
        self.0.index()
    }
}

impl PartialOrd for Capability {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Capability {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.index().cmp(&other.index())
    }
}

impl FromStr for Capability {
    type Err = String;

    /// Takes `CAP_CHOWN`, `chown` and any case between.
    fn from_str(name: &str) -> Result<Self, String> {
        let upper = name.to_ascii_uppercase();
        let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        caps::Capability::from_str(&full)
            .map(Self)
            .map_err(|_| format!("{name:?} is not a capability of Linux"))
    }
}

impl TryFrom<String> for Capability {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl From<Capability> for String {
    fn from(capability: Capability) -> Self {
        capability.to_string()
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_leave_out_raw_sockets_and_device_nodes() {
        let names: Vec<String> = Capability::defaults().iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), 12);
        assert!(!names.contains(&"CAP_NET_RAW".to_owned()));
        assert!(!names.contains(&"CAP_MKNOD".to_owned()));
    }

    #[test]
    fn names_are_taken_with_and_without_prefix() {
        assert_eq!("chown".parse::<Capability>(), "CAP_CHOWN".parse());
        assert!("CAP_EVERYTHING".parse::<Capability>().is_err());
    }
}
