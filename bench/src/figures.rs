//! What was measured, printed as it comes and judged at the end.

use std::time::Duration;

use anyhow::{Result, bail};

/// All figures of a run.
#[derive(Default)]
pub struct Figures {
    broken: Vec<String>,
}

impl Figures {
    /// One figure without a bound.
    pub fn note(&self, what: &str, value: &str) {
        println!("{what:<58} {value}");
    }

    /// A figure that must be at most `bound`.
    pub fn at_most(&mut self, what: &str, value: f64, unit: &str, bound: f64) {
        let verdict = if value <= bound { "ok" } else { "TOO MUCH" };
        println!("{what:<58} {value:.2}{unit} (at most {bound}{unit}: {verdict})");
        self.judge(what, value <= bound);
    }

    /// A figure that must be at least `bound`.
    pub fn at_least(&mut self, what: &str, value: f64, unit: &str, bound: f64) {
        let verdict = if value >= bound { "ok" } else { "TOO LITTLE" };
        println!("{what:<58} {value:.2}{unit} (at least {bound}{unit}: {verdict})");
        self.judge(what, value >= bound);
    }

    fn judge(&mut self, what: &str, fine: bool) {
        if !fine {
            self.broken.push(what.to_owned());
        }
    }

    /// Fails when a bound didn't hold.
    pub fn finish(self) -> Result<()> {
        if self.broken.is_empty() {
            return Ok(());
        }
        bail!("these figures are beyond their bounds: {}", self.broken.join("; "))
    }
}

/// The value below which `percent` of the samples lie.
pub fn percentile(samples: &[Duration], percent: usize) -> Duration {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

/// Milliseconds with two decimals.
pub fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
