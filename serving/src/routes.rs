//! How Mesos finds a route: the first segment may name a process, and the longest route that a path begins with counts.

use wire::query::decode;

/// Most segments of a route; a hostile path may have more.
const LONGEST: usize = 4;

/// Why there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoRoute {
    /// The path is not well encoded.
    Malformed,
    /// Nothing is there. Mesos: 404 with an empty body.
    Unknown,
}

/// A route that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found<R> {
    /// Which.
    pub route: R,
    /// Decoded segments of the path behind it.
    pub rest: Vec<String>,
}

/// Finds the route of a path as it stands in the request.
///
/// Mesos: `process` is the first segment of the server's own routes, such as `master`; when the first segment names no
/// process, the whole path is the server's. Both spellings work, with a `.json` at the end and with slashes too many.
///
/// # Errors
/// There is none. Mesos: so it is for each path with `/..` in it.
pub fn find<R: Copy>(routes: &[(&str, R)], process: &str, path: &str) -> Result<Found<R>, NoRoute> {
    let path = decode(path, false).ok_or(NoRoute::Malformed)?;
    if !path.starts_with('/') || path.contains("/..") {
        return Err(NoRoute::Unknown);
    }
    let mut segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    if segments.first() == Some(&process) {
        segments.remove(0);
    }
    for length in (1..=segments.len().min(LONGEST)).rev() {
        let mut prefix = segments[..length].join("/");
        if length == segments.len()
            && let Some(name) = prefix.strip_suffix(".json")
            && !routes.iter().any(|(route, _)| *route == prefix)
        {
            prefix.truncate(name.len());
        }
        if let Some((_, route)) = routes.iter().find(|(name, _)| *name == prefix) {
            let rest = segments[length..].iter().map(|&segment| segment.to_owned()).collect();
            return Ok(Found { route: *route, rest });
        }
    }
    Err(NoRoute::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &[(&str, u8)] =
        &[("api/v1", 1), ("api/v1/scheduler", 2), ("state", 3), ("system/stats.json", 4)];

    fn route(path: &str) -> Result<u8, NoRoute> {
        find(ROUTES, "slave(1)", path).map(|found| found.route)
    }

    #[test]
    fn every_spelling_of_a_route_is_found() {
        for path in [
            "/state",
            "/slave(1)/state",
            "/slave%281%29/state/",
            "/state.json",
            "/slave(1)/state.json",
            "//state//",
            "/st%61te",
        ] {
            assert_eq!(route(path), Ok(3), "{path}");
        }
        assert_eq!(route("/system/stats.json"), Ok(4));
    }

    #[test]
    fn the_longest_route_that_a_path_begins_with_is_taken() {
        assert_eq!(route("/api/v1/scheduler/x"), Ok(2));
        assert_eq!(route("/api/v1/x"), Ok(1));
        assert_eq!(route("/state/a/b/c/d/e/f"), Ok(3));
        assert_eq!(find(ROUTES, "master", "/state/a%2Fb/c").unwrap().rest, ["a", "b", "c"]);
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for path in [
            "/",
            "/slave(1)",
            "/slave(1)/slave(1)/state",
            "/slave(2)/state",
            "/master/state",
            "/state.jso",
            "/api",
            "/system/stats",
            "/state/..",
            "/../state",
            "/%2e%2e/state",
            "*",
            "",
        ] {
            assert_eq!(route(path), Err(NoRoute::Unknown), "{path}");
        }
        for path in ["/%", "/%4", "/%zz", "/%ff"] {
            assert_eq!(route(path), Err(NoRoute::Malformed), "{path}");
        }
        assert_eq!(route(&"/x".repeat(30_000)), Err(NoRoute::Unknown));
    }
}
