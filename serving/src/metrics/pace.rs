//! The pace at which `/metrics/snapshot` is answered. Mesos: two a second; those who come sooner wait.

use std::time::Duration;

use model::time::parse_duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Mesos' variable for another rate: `N/duration`, or empty for none.
pub const VARIABLE: &str = "LIBPROCESS_METRICS_SNAPSHOT_ENDPOINT_RATE_LIMIT";

/// Lets requests through one after another.
#[derive(Debug)]
pub struct Pace {
    between: Duration,
    next: Mutex<Option<Instant>>,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace::every(Duration::from_millis(500))
    }
}

impl Pace {
    /// One request each `between`; zero lets all through.
    pub fn every(between: Duration) -> Pace {
        Pace { between, next: Mutex::new(None) }
    }

    /// Reads Mesos' variable from the environment; two a second without it.
    ///
    /// # Errors
    /// Names the variable and what was expected.
    pub fn from_environment() -> Result<Pace, String> {
        match std::env::var(VARIABLE) {
            Ok(text) => Pace::parse(&text),
            Err(_) => Ok(Pace::default()),
        }
    }

    /// Reads `N/duration`.
    ///
    /// # Errors
    /// Names the variable and what was expected.
    pub fn parse(text: &str) -> Result<Pace, String> {
        if text.is_empty() {
            return Ok(Pace::every(Duration::ZERO));
        }
        rate(text)
            .map(|(count, per)| Pace::every(per / count))
            .map_err(|why| format!("{VARIABLE}={text}: {why}"))
    }

    /// Waits for one's turn. Who leaves while waiting takes no turn.
    pub async fn turn(&self) {
        let mut next = self.next.lock().await;
        if let Some(due) = *next {
            tokio::time::sleep_until(due).await;
        }
        *next = Some(Instant::now() + self.between);
    }
}

/// Reads a rate as Mesos' flags write it: `N/duration`, such as `1/10mins`.
///
/// # Errors
/// What was expected.
pub fn rate(text: &str) -> Result<(u32, Duration), String> {
    let bad = || "expected N/duration such as 1/10mins".to_owned();
    let (count, per) = text.split_once('/').ok_or_else(bad)?;
    let count = count.trim().parse::<u32>().ok().filter(|count| *count > 0).ok_or_else(bad)?;
    let per = parse_duration(per).map_err(|_| bad())?;
    if per.is_zero() { Err(bad()) } else { Ok((count, per)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        assert_eq!(rate("1/10mins"), Ok((1, Duration::from_secs(600))));
        assert_eq!(rate("2/1secs"), Ok((2, Duration::from_secs(1))));
        for bad in ["", "1", "0/1secs", "1/0secs", "x/1secs", "1/soon", "-1/1secs"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        assert!(Pace::parse("").unwrap().between.is_zero());
        assert!(Pace::parse("nonsense").unwrap_err().contains(VARIABLE));
    }

    #[tokio::test]
    async fn those_who_come_sooner_wait() {
        let pace = Pace::every(Duration::from_millis(40));
        let began = Instant::now();
        for _ in 0..4 {
            pace.turn().await;
        }
        assert!(began.elapsed() >= Duration::from_millis(120), "{:?}", began.elapsed());
    }
}
