//! The routing table, and how Mesos finds a route in it.

use wire::query::decode;

/// Where a request goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route {
    /// `/api/v1`
    Operator,
    /// `/health`
    Health,
    /// `/state`
    State,
    /// `/version`
    Version,
    /// `/flags`
    Flags,
    /// `/containers`
    Containers,
    /// `/files/browse`
    Browse,
    /// `/files/read`
    Read,
    /// `/files/download`
    Download,
    /// `/files/debug`
    Debug,
}

/// Why there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoRoute {
    /// The path is not well encoded.
    Malformed,
    /// Nothing is there. Mesos: 404 with an empty body.
    Unknown,
}

const ROUTES: &[(&str, Route)] = &[
    ("api/v1", Route::Operator),
    ("containers", Route::Containers),
    ("files/browse", Route::Browse),
    ("files/debug", Route::Debug),
    ("files/download", Route::Download),
    ("files/read", Route::Read),
    ("flags", Route::Flags),
    ("health", Route::Health),
    ("state", Route::State),
    ("version", Route::Version),
];

/// Paths below a route that are routes of Mesos of their own and not there yet.
const ABSENT: &[&str] = &["api/v1/executor", "api/v1/resource_provider"];

/// Finds the route of a path as it stands in the request.
///
/// Mesos: the first segment names a process, `slave(1)` here, perhaps with encoded parentheses; when it names none, the
/// whole path is the agent's. The longest route that the path begins with is taken.
pub(super) fn find(path: &str) -> Result<Route, NoRoute> {
    let path = decode(path, false).ok_or(NoRoute::Malformed)?;
    if !path.starts_with('/') || path.contains("/..") {
        return Err(NoRoute::Unknown);
    }
    let mut segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    if segments.first() == Some(&"slave(1)") {
        segments.remove(0);
    }
    // No route is longer; a hostile path may be.
    for length in (1..=segments.len().min(3)).rev() {
        let mut prefix = segments[..length].join("/");
        if length == segments.len()
            && let Some(name) = prefix.strip_suffix(".json")
        {
            prefix.truncate(name.len());
        }
        if ABSENT.contains(&prefix.as_str()) {
            break;
        }
        if let Some((_, route)) = ROUTES.iter().find(|(name, _)| *name == prefix) {
            return Ok(*route);
        }
    }
    Err(NoRoute::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_route_is_found() {
        for (name, route) in ROUTES {
            for path in [
                format!("/{name}"),
                format!("/slave(1)/{name}"),
                format!("/slave%281%29/{name}"),
                format!("/slave(1)/{name}/"),
                format!("/{name}.json"),
                format!("//{name}//"),
            ] {
                assert_eq!(find(&path), Ok(*route), "{path}");
            }
        }
        assert_eq!(find("/state/a/b/c/d"), Ok(Route::State));
        assert_eq!(find("/api/v1/x"), Ok(Route::Operator));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for path in [
            "/",
            "/slave(1)",
            "/slave(2)/state",
            "/master/state",
            "/api",
            "/files",
            "/api/v1/executor",
            "/state/..",
            "/../state",
            "/%2e%2e/state",
            "*",
            "",
        ] {
            assert_eq!(find(path), Err(NoRoute::Unknown), "{path}");
        }
        for path in ["/%", "/%4", "/%zz", "/%ff"] {
            assert_eq!(find(path), Err(NoRoute::Malformed), "{path}");
        }
        assert_eq!(find(&"/x".repeat(30_000)), Err(NoRoute::Unknown));
    }
}
