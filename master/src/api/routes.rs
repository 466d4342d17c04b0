//! The routing table, and how Mesos finds a route in it.

use http::StatusCode;

use super::{Refusal, empty, text};
use wire::query::decode;

/// Where a request goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// `/api/v1`
    Operator,
    /// `/api/v1/scheduler`
    Scheduler,
    /// `/teardown`
    Teardown,
    /// `/health`
    Health,
    /// `/redirect`
    Redirect,
    /// One of the older JSON pages.
    Page(Page),
}

/// The older JSON pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Page {
    /// `/state`
    State,
    /// `/state-summary`
    StateSummary,
    /// `/slaves`
    Slaves,
    /// `/frameworks`
    Frameworks,
    /// `/tasks`
    Tasks,
    /// `/roles`
    Roles,
    /// `/flags`
    Flags,
    /// `/version`
    Version,
}

/// Why there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoRoute {
    /// The path is not well encoded.
    Malformed,
    /// Nothing is there.
    Unknown,
}

impl NoRoute {
    /// The answer. Mesos: 404 with an empty body.
    pub fn answer(self) -> Refusal {
        Box::new(match self {
            NoRoute::Malformed => text(StatusCode::BAD_REQUEST, "The path is not well encoded"),
            NoRoute::Unknown => empty(StatusCode::NOT_FOUND),
        })
    }
}

const ROUTES: &[(&str, Route)] = &[
    ("api/v1", Route::Operator),
    ("api/v1/scheduler", Route::Scheduler),
    ("flags", Route::Page(Page::Flags)),
    ("frameworks", Route::Page(Page::Frameworks)),
    ("health", Route::Health),
    ("redirect", Route::Redirect),
    ("roles", Route::Page(Page::Roles)),
    ("slaves", Route::Page(Page::Slaves)),
    ("state", Route::Page(Page::State)),
    ("state-summary", Route::Page(Page::StateSummary)),
    ("tasks", Route::Page(Page::Tasks)),
    ("teardown", Route::Teardown),
    ("version", Route::Page(Page::Version)),
];

/// Finds the route of a path as it stands in the request.
///
/// Mesos: the first segment names a process, `master` here; when it names none, the whole path is the master's. The
/// longest route that the path begins with is taken.
pub fn find(path: &str) -> Result<Route, NoRoute> {
    let path = decode(path, false).ok_or(NoRoute::Malformed)?;
    if !path.starts_with('/') || path.contains("/..") {
        return Err(NoRoute::Unknown);
    }
    let mut segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    if segments.first() == Some(&"master") {
        segments.remove(0);
    }
    // No route is longer; a hostile path may be.
    let longest = segments.len().min(3);
    for length in (1..=longest).rev() {
        let whole = length == segments.len();
        let mut prefix = segments[..length].join("/");
        if whole && let Some(name) = prefix.strip_suffix(".json") {
            prefix.truncate(name.len());
        }
        if let Some((_, route)) = ROUTES.iter().find(|(name, _)| *name == prefix) {
            // Mesos: 404 for `/redirect/anything`.
            let found = *route != Route::Redirect || whole;
            return found.then_some(*route).ok_or(NoRoute::Unknown);
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
                format!("/master/{name}"),
                format!("/master/{name}/"),
                format!("/{name}.json"),
                format!("/master/{name}.json"),
                format!("//{name}//"),
            ] {
                assert_eq!(find(&path), Ok(*route), "{path}");
            }
        }
        assert_eq!(find("/%6daster/st%61te"), Ok(Route::Page(Page::State)));
    }

    #[test]
    fn the_longest_route_that_a_path_begins_with_is_taken() {
        assert_eq!(find("/api/v1/scheduler/x"), Ok(Route::Scheduler));
        assert_eq!(find("/api/v1/x"), Ok(Route::Operator));
        assert_eq!(find("/state/a/b/c/d"), Ok(Route::Page(Page::State)));
        assert_eq!(find("/redirect/x"), Err(NoRoute::Unknown));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for path in
            ["/", "/master", "/master/master/state", "/slave(1)/state", "/agent/state", "/state.jso", "/api"]
        {
            assert_eq!(find(path), Err(NoRoute::Unknown), "{path}");
        }
        for path in ["/state/..", "/../state", "/master/%2e%2e/state", "/%2e./x", "*", ""] {
            assert_eq!(find(path), Err(NoRoute::Unknown), "{path}");
        }
        for path in ["/%", "/%4", "/%zz", "/%ff"] {
            assert_eq!(find(path), Err(NoRoute::Malformed), "{path}");
        }
        assert_eq!(find(&"/x".repeat(30_000)), Err(NoRoute::Unknown));
    }
}
