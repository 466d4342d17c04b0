//! The routing table, and how Mesos finds a route in it.

use http::StatusCode;

use super::{Refusal, empty, text};
use crate::config::{READONLY, READWRITE, SCHEDULER};
use serving::routes::NoRoute;

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
    /// What every process of Mesos' has.
    Process(Process),
}

/// What every process of Mesos' has, whoever leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Process {
    /// `/metrics/snapshot`
    Snapshot,
    /// `/metrics`, for Prometheus.
    Prometheus,
    /// `/logging/toggle`
    Logging,
    /// `/system/stats.json`
    System,
    /// `/files/browse`
    Browse,
    /// `/files/read`
    Read,
    /// `/files/download`
    Download,
    /// `/files/debug`
    Debug,
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

impl Route {
    /// The realm in which who asks may have to be known. Mesos: what says nothing of the cluster is never protected.
    pub fn realm(self) -> Option<&'static str> {
        match self {
            Route::Health
            | Route::Redirect
            | Route::Page(Page::Version)
            | Route::Process(Process::System) => None,
            Route::Operator | Route::Teardown | Route::Process(Process::Logging) => Some(READWRITE),
            Route::Scheduler => Some(SCHEDULER),
            Route::Page(_) | Route::Process(_) => Some(READONLY),
        }
    }
}

/// All of them.
pub const ROUTES: &[(&str, Route)] = &[
    ("api/v1", Route::Operator),
    ("api/v1/scheduler", Route::Scheduler),
    ("files/browse", Route::Process(Process::Browse)),
    ("files/debug", Route::Process(Process::Debug)),
    ("files/download", Route::Process(Process::Download)),
    ("files/read", Route::Process(Process::Read)),
    ("flags", Route::Page(Page::Flags)),
    ("frameworks", Route::Page(Page::Frameworks)),
    ("health", Route::Health),
    ("logging/toggle", Route::Process(Process::Logging)),
    ("metrics", Route::Process(Process::Prometheus)),
    ("metrics/snapshot", Route::Process(Process::Snapshot)),
    ("redirect", Route::Redirect),
    ("roles", Route::Page(Page::Roles)),
    ("slaves", Route::Page(Page::Slaves)),
    ("state", Route::Page(Page::State)),
    ("state-summary", Route::Page(Page::StateSummary)),
    ("system/stats.json", Route::Process(Process::System)),
    ("tasks", Route::Page(Page::Tasks)),
    ("teardown", Route::Teardown),
    ("version", Route::Page(Page::Version)),
];

/// Finds the route of a path as it stands in the request, under `/master` or plain.
pub fn find(path: &str) -> Result<Route, NoRoute> {
    let found = serving::routes::find(ROUTES, "master", path)?;
    // Mesos: 404 for `/redirect/anything`. What is below its metrics but the snapshot isn't ours.
    match found.route {
        Route::Redirect | Route::Process(Process::Prometheus) if !found.rest.is_empty() => {
            Err(NoRoute::Unknown)
        }
        route => Ok(route),
    }
}

/// The answer where there is no route. Mesos: 404 with an empty body.
pub fn answer(none: NoRoute) -> Refusal {
    Box::new(match none {
        NoRoute::Malformed => text(StatusCode::BAD_REQUEST, "The path is not well encoded"),
        NoRoute::Unknown => empty(StatusCode::NOT_FOUND),
    })
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
                format!("/{}.json", name.trim_end_matches(".json")),
                format!("/master/{}.json", name.trim_end_matches(".json")),
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
        for path in ["/redirect/x", "/metrics/x", "/master/metrics/x"] {
            assert_eq!(find(path), Err(NoRoute::Unknown), "{path}");
        }
        assert_eq!(find("/metrics/snapshot/x"), Ok(Route::Process(Process::Snapshot)));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for path in [
            "/",
            "/master",
            "/master/master/state",
            "/slave(1)/state",
            "/agent/state",
            "/state.jso",
            "/api",
            "/files",
            "/system",
        ] {
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
