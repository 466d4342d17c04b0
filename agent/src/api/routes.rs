//! The routing table.

use crate::config::{READONLY, READWRITE};

/// Where a request goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route {
    /// `/api/v1`
    Operator,
    /// A route of Mesos that is not there yet, below one that is.
    Absent,
    /// `/health`
    Health,
    /// `/files/download`
    Download,
    /// `/logging/toggle`
    Logging,
    /// `/metrics`, for Prometheus.
    Prometheus,
    /// A page of JSON.
    Page(Page),
}

/// The older pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Page {
    /// `/state`
    State,
    /// `/version`
    Version,
    /// `/flags`
    Flags,
    /// `/containers`
    Containers,
    /// `/containerizer/debug`
    Containerizer,
    /// `/monitor/statistics`
    Statistics,
    /// `/metrics/snapshot`
    Metrics,
    /// `/system/stats.json`
    System,
    /// `/files/browse`
    Browse,
    /// `/files/read`
    Read,
    /// `/files/debug`
    Debug,
}

impl Route {
    /// The realm in which who asks may have to be known. Mesos: what says nothing of the tasks is never protected.
    pub(super) fn realm(self) -> Option<&'static str> {
        match self {
            Route::Health | Route::Absent | Route::Page(Page::Version | Page::System) => None,
            Route::Operator | Route::Logging => Some(READWRITE),
            Route::Download | Route::Prometheus | Route::Page(_) => Some(READONLY),
        }
    }
}

/// The name of the agent's process, by which its own routes may begin.
pub(super) const PROCESS: &str = "slave(1)";

pub(super) const ROUTES: &[(&str, Route)] = &[
    ("api/v1", Route::Operator),
    ("api/v1/executor", Route::Absent),
    ("api/v1/resource_provider", Route::Absent),
    ("containerizer/debug", Route::Page(Page::Containerizer)),
    ("containers", Route::Page(Page::Containers)),
    ("files/browse", Route::Page(Page::Browse)),
    ("files/debug", Route::Page(Page::Debug)),
    ("files/download", Route::Download),
    ("files/read", Route::Page(Page::Read)),
    ("flags", Route::Page(Page::Flags)),
    ("health", Route::Health),
    ("logging/toggle", Route::Logging),
    ("metrics", Route::Prometheus),
    ("metrics/snapshot", Route::Page(Page::Metrics)),
    ("monitor/statistics", Route::Page(Page::Statistics)),
    ("state", Route::Page(Page::State)),
    ("system/stats.json", Route::Page(Page::System)),
    ("version", Route::Page(Page::Version)),
];
