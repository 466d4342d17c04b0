//! What can go wrong with a registry, in words that say what to do.

use std::error::Error;
use std::io;
use std::sync::Arc;

use super::guard::NoAddress;

/// A failed conversation with a registry. Each message names the registry and what was asked of it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    /// No connection, or it broke and retries did not help.
    #[error(
        "cannot reach registry {registry} for {what}; check its address, that it runs, and (for one without TLS) \
         that it is listed in --insecure_registries"
    )]
    Unreachable {
        /// Host and port.
        registry: String,
        /// The request.
        what: String,
        /// The transport's error.
        #[source]
        source: Arc<reqwest::Error>,
    },
    /// 404 for a manifest.
    #[error("registry {registry} has no image {repository}:{target}; check the name and the tag")]
    UnknownImage {
        /// Host and port.
        registry: String,
        /// Repository.
        repository: String,
        /// Tag or digest.
        target: String,
    },
    /// 404 for a blob that a manifest names.
    #[error("registry {registry} has a manifest in {repository} but not its {what}; push the image again")]
    MissingBlob {
        /// Host and port.
        registry: String,
        /// Repository.
        repository: String,
        /// Digest of the blob.
        what: String,
    },
    /// 401 or 403 after all that could be tried.
    #[error("registry {registry} refuses access to {repository} ({status}): {hint}")]
    Unauthorized {
        /// Host and port.
        registry: String,
        /// Repository.
        repository: String,
        /// HTTP status.
        status: u16,
        /// What was tried and what may help.
        hint: String,
    },
    /// Any other status.
    #[error("registry {registry} answers {status} for {what}{detail}")]
    Status {
        /// Host and port.
        registry: String,
        /// The request.
        what: String,
        /// HTTP status.
        status: u16,
        /// The registry's own words, shortened; empty or beginning with a colon.
        detail: String,
    },
    /// Bytes come too slowly or not at all.
    #[error(
        "registry {registry} stalls: {got} of {total} bytes of {what}, then fewer than {least} in {seconds} s"
    )]
    Stalled {
        /// Host and port.
        registry: String,
        /// The blob.
        what: String,
        /// Bytes that came.
        got: u64,
        /// Bytes expected.
        total: u64,
        /// Bytes wanted in the time.
        least: u64,
        /// The time in seconds.
        seconds: u64,
    },
    /// The connection ended inside a body, and retries did not help.
    #[error("the connection to registry {registry} broke after {got} of {total} bytes of {what}")]
    Broken {
        /// Host and port.
        registry: String,
        /// The blob.
        what: String,
        /// Bytes that came.
        got: u64,
        /// Bytes expected.
        total: u64,
        /// The transport's error.
        #[source]
        source: Arc<reqwest::Error>,
    },
    /// The body is shorter or longer than the descriptor, or its length header lies.
    #[error("registry {registry} sends {got} bytes of {what}, its manifest says {expected}")]
    WrongLength {
        /// Host and port.
        registry: String,
        /// The blob.
        what: String,
        /// Bytes sent or announced.
        got: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// The body ended too early without saying so, as often as it was asked for the rest.
    #[error("registry {registry} sends {got} bytes of {what} and no more, its manifest says {expected}")]
    Short {
        /// Host and port.
        registry: String,
        /// The blob.
        what: String,
        /// Bytes that came.
        got: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// A document beyond its bound.
    #[error("registry {registry} sends more than {limit} bytes for {what}")]
    TooLarge {
        /// Host and port.
        registry: String,
        /// The document.
        what: String,
        /// The bound in bytes.
        limit: u64,
    },
    /// `Docker-Content-Digest` does not fit the body.
    #[error("registry {registry} sends {what} with digest {actual} but calls it {stated}")]
    WrongDigestHeader {
        /// Host and port.
        registry: String,
        /// The document.
        what: String,
        /// What the header says.
        stated: String,
        /// What the bytes are.
        actual: String,
    },
    /// A redirect, token service or address that we do not follow.
    #[error("registry {registry} leads to {to}, which is refused: {why}")]
    Refused {
        /// Host and port.
        registry: String,
        /// Where it leads, without query and credentials.
        to: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// The token service answered something else than a token.
    #[error("the token service {realm} of registry {registry} gives no token: {why}")]
    Token {
        /// Host and port.
        registry: String,
        /// Host of the token service.
        realm: String,
        /// What it did.
        why: String,
    },
    /// A credential helper of the Docker configuration.
    #[error("the credential helper {program} gives no login for registry {registry}: {why}")]
    Helper {
        /// Host and port.
        registry: String,
        /// Name of the program.
        program: String,
        /// What it did; nothing of what it said.
        why: String,
    },
    /// Neither the mirrors nor the registry.
    #[error("no mirror of registry {registry} could help ({mirrors}), so it was asked itself")]
    Mirrors {
        /// Host and port of the registry.
        registry: String,
        /// Each mirror with what it did.
        mirrors: String,
        /// What the registry itself did.
        #[source]
        source: Box<RegistryError>,
    },
    /// No HTTP client could be made.
    #[error("cannot set up HTTP for registry {registry}")]
    Client {
        /// Host and port.
        registry: String,
        /// The client's error.
        #[source]
        source: Arc<reqwest::Error>,
    },
    /// The registry's host and the repository make no URL.
    #[error("registry {registry} and path {path:?} make no URL")]
    Url {
        /// Host and port.
        registry: String,
        /// Path and query.
        path: String,
    },
}

impl RegistryError {
    /// Whether the network or the server failed, rather than what was asked of it.
    pub(super) fn is_transport(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Stalled { .. } | Self::Broken { .. } | Self::Short { .. } => {
                true
            }
            Self::Status { status, .. } => *status >= 500,
            _ => false,
        }
    }

    /// How many tries the failure counts for; none when it would be the same the next time.
    pub(super) fn cost(&self) -> Option<u32> {
        match self {
            Self::Broken { .. } | Self::Short { .. } => Some(1),
            Self::Stalled { .. } => Some(DEAR),
            Self::Unreachable { source, .. } => cost_of(source),
            _ => None,
        }
    }

    /// For whoever waits while it is tried again.
    pub(super) fn in_short(&self) -> String {
        match self {
            Self::Unreachable { registry, source, .. } => {
                format!("registry {registry} can't be reached ({})", root(source.as_ref()))
            }
            Self::Stalled { registry, .. } => format!("registry {registry} stalls"),
            Self::Broken { registry, .. } | Self::Short { registry, .. } => {
                format!("the connection to registry {registry} broke")
            }
            other => other.to_string(),
        }
    }
}

/// What took long has cost its time already, and what will hardly pass is not worth much of it.
const DEAR: u32 = 3;

/// A registry that is just being started refuses connections and ends them. A host that has no name or no answer is
/// rather one that isn't there, and one whose certificate is not to be trusted stays so.
fn cost_of(error: &reqwest::Error) -> Option<u32> {
    let name = causes(error).find_map(|cause| cause.downcast_ref::<NoAddress>());
    match (name, handshake(error)) {
        _ if error.is_builder() => None,
        (Some(NoAddress::Forbidden(_)), _) => None,
        (Some(NoAddress::Unknown(_)), _) => Some(DEAR),
        // The other side may be in the midst of something.
        (None, Some(rustls::Error::AlertReceived(_))) => Some(DEAR),
        (None, Some(_)) => None,
        (None, None) if error.is_timeout() => Some(DEAR),
        (None, None) => Some(1),
    }
}

/// What is wrong with the TLS of a connection that did not come about.
fn handshake(error: &reqwest::Error) -> Option<&rustls::Error> {
    causes(error).filter(|_| error.is_connect()).find_map(|cause| cause.downcast_ref())
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| below(*error))
}

/// An error of I/O that was made of another one passes over it by itself.
fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

fn root(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
