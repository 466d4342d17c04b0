//! The log's verbosity, as operators change it while the process runs: `/logging/toggle`, GET_ and SET_LOGGING_LEVEL.
//!
//! The log belongs to the process, so there is one verbosity of it: the program installs what applies a level.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use model::time::parse_duration;
use wire::query::Query;

/// The level a process starts with. Mesos' (glog's) levels count from here: 1 tells more, 2 and above everything.
pub const START: u32 = 0;

/// Applies a level; the texts of errors say why it can't.
type Apply = Box<dyn Fn(u32) -> Result<(), String> + Send>;

struct Log {
    level: u32,
    /// Counts changes: a level that was set for a while ends only if nothing was set since.
    changes: u64,
    apply: Option<Apply>,
}

static LOG: Mutex<Log> = Mutex::new(Log { level: START, changes: 0, apply: None });

/// Why a level is not set.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LevelError {
    /// The request makes no sense; 400.
    #[error("{0}")]
    Bad(String),
    /// The log can't do it; 500.
    #[error("the log's level can't be changed: {0}")]
    Failed(String),
}

impl LevelError {
    /// 400 or 500.
    pub fn status(&self) -> StatusCode {
        match self {
            LevelError::Bad(_) => StatusCode::BAD_REQUEST,
            LevelError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A panic elsewhere leaves the level as it was.
fn log() -> MutexGuard<'static, Log> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says how levels are applied in this process.
pub fn install(apply: impl Fn(u32) -> Result<(), String> + Send + 'static) {
    log().apply = Some(Box::new(apply));
}

/// The level now.
pub fn level() -> u32 {
    log().level
}

/// Sets a level; it falls back to [`START`] after `duration`, unless another is set before. Needs a tokio runtime.
///
/// # Errors
/// The log can't be changed in this process.
pub fn set(level: u32, duration: Duration) -> Result<(), LevelError> {
    let change = change_to(level)?;
    tracing::info!(level, ?duration, "the log's level was changed");
    tokio::spawn(async move {
        tokio::time::sleep(duration).await;
        let still = log().changes == change;
        if still && change_to(START).is_ok() {
            tracing::info!("the log's level is back to {START}");
        }
    });
    Ok(())
}

fn change_to(level: u32) -> Result<u64, LevelError> {
    let mut log = log();
    let Some(apply) = &log.apply else {
        return Err(LevelError::Failed("this process' log has a fixed level".to_owned()));
    };
    apply(level).map_err(LevelError::Failed)?;
    log.level = level;
    log.changes += 1;
    Ok(log.changes)
}

/// `/logging/toggle?level=N&duration=D`: the answer's text, the level when nothing is to change.
///
/// # Errors
/// Mesos: 400 when only one of both is given, for a level that is none or below the one at the start, and for a bad
/// duration.
pub fn toggle(query: &Query) -> Result<String, LevelError> {
    let bad = |why: String| Err(LevelError::Bad(why));
    let (level, duration) = match (query.get("level"), query.get("duration")) {
        (None, None) => return Ok(format!("{}\n", self::level())),
        (Some(_), None) => return bad("Expecting 'duration=value' in query.\n".to_owned()),
        (None, Some(_)) => return bad("Expecting 'level=value' in query.\n".to_owned()),
        (Some(level), Some(duration)) => (level, duration),
    };
    let Ok(wanted) = level.parse::<i64>() else {
        return bad(format!("Invalid level '{}': expected a whole number.\n", level.escape_default()));
    };
    let Ok(wanted) = u32::try_from(wanted) else {
        return bad(format!("Invalid level '{wanted}': can't be below the original level {START}.\n"));
    };
    match parse_duration(duration) {
        Err(why) => bad(format!("{why}.\n")),
        Ok(duration) => set(wanted, duration).map(|()| String::new()),
    }
}

/// SET_LOGGING_LEVEL: the parts of the call, which master and agent have in messages of their own.
///
/// # Errors
/// A negative duration (400), or a log that can't be changed.
pub fn set_by_call(level: u32, nanoseconds: i64) -> Result<(), LevelError> {
    let Ok(nanoseconds) = u64::try_from(nanoseconds) else {
        return Err(LevelError::Bad("'set_logging_level.duration' must not be negative".to_owned()));
    };
    set(level, Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The log is the process' own, so this is one test.
    #[tokio::test]
    async fn levels_are_set_for_a_while() {
        let toggle = |query: &str| toggle(&Query::parse(query));
        // http.md section 5: without both, the current verbosity.
        assert_eq!(toggle(""), Ok("0\n".to_owned()));
        assert!(matches!(toggle("level=1&duration=1secs"), Err(LevelError::Failed(_))), "nothing installed");
        let (tell, told) = std::sync::mpsc::channel();
        install(move |level| tell.send(level).map_err(|gone| gone.to_string()));
        for bad in [
            "level=1",
            "duration=1secs",
            "level=-1&duration=1secs",
            "level=x&duration=1secs",
            "level=1&duration=soon",
        ] {
            assert_eq!(toggle(bad).unwrap_err().status(), StatusCode::BAD_REQUEST, "{bad}");
        }
        assert_eq!(toggle("level=2&duration=1hrs"), Ok(String::new()));
        assert_eq!((level(), told.recv().unwrap()), (2, 2));
        // The one set later counts, and the one before doesn't end it.
        set_by_call(1, 1_000_000).unwrap();
        assert_eq!(told.recv().unwrap(), 1);
        assert!(set_by_call(1, -1).is_err());
        let back = tokio::task::spawn_blocking(move || told.recv_timeout(Duration::from_secs(20)));
        assert_eq!((back.await.unwrap(), level()), (Ok(START), START));
    }
}
