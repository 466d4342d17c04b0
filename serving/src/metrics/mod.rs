//! Metrics: the values of one moment by Mesos' keys, as `/metrics/snapshot`, GET_METRICS and Prometheus' text.
//!
//! ```
//! let mut now = serving::metrics::Snapshot::default();
//! now.gauge("master/slaves_active", 2.0);
//! now.counter("master/tasks_failed", 7);
//! assert_eq!(now.json(), br#"{"master/slaves_active":2.0,"master/tasks_failed":7.0}"#);
//! ```

mod pace;
mod timer;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use model::time::parse_duration;
use serde_json::Value;
use wire::query::Query;
use wire::v1;

pub use pace::{Pace, rate};
pub use timer::Timer;

/// Content type of Prometheus' text.
pub const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Before the names of all of Prometheus' families.
const PREFIX: &str = "mesos_";

/// Whether a value only ever grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It does, until the process ends.
    Counter,
    /// It doesn't.
    Gauge,
}

#[derive(Clone, Debug)]
struct Metric {
    kind: Kind,
    value: f64,
    family: Option<Family>,
}

/// What Prometheus calls it, when its key holds ids: one family for all of them.
#[derive(Clone, Debug)]
struct Family {
    name: String,
    labels: String,
}

/// Labels and value of one line of Prometheus' text.
type Sample<'a> = (&'a str, f64);

/// Values of one moment by key, sorted.
#[derive(Clone, Debug, Default)]
pub struct Snapshot(BTreeMap<String, Metric>);

impl Snapshot {
    /// A value that goes up and down.
    pub fn gauge(&mut self, key: impl Into<String>, value: f64) {
        self.put(key.into(), Metric { kind: Kind::Gauge, value, family: None });
    }

    /// How often something happened.
    pub fn counter(&mut self, key: impl Into<String>, count: u64) {
        self.put(key.into(), Metric { kind: Kind::Counter, value: float(count), family: None });
    }

    /// A count of things there are now.
    pub fn count(&mut self, key: impl Into<String>, count: usize) {
        self.gauge(key, float(u64::try_from(count).unwrap_or(u64::MAX)));
    }

    /// A value whose key holds ids. Prometheus gets it under `family` with `labels` instead.
    pub fn labelled(
        &mut self,
        key: impl Into<String>,
        (kind, value): (Kind, f64),
        family: &str,
        labels: &[(&str, &str)],
    ) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", label_value(value))).collect();
        let family = Some(Family { name: family_name(family), labels: labels.join(",") });
        self.put(key.into(), Metric { kind, value, family });
    }

    /// What a timer measured: nothing before its first measurement. Mesos: the unit ends the key (`…_ms`).
    pub fn timer(&mut self, key: &str, timer: &Timer) {
        let Some(told) = timer.told() else { return };
        self.gauge(key, told.last);
        for (name, value) in told.parts() {
            self.gauge(format!("{key}/{name}"), value);
        }
    }

    /// Mesos: what can't be computed is left out.
    fn put(&mut self, key: String, metric: Metric) {
        if metric.value.is_finite() {
            self.0.insert(key, metric);
        }
    }

    /// One value, for tests and for those who need only that.
    pub fn get(&self, key: &str) -> Option<f64> {
        self.0.get(key).map(|metric| metric.value)
    }

    /// All keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// `/metrics/snapshot`: one object, keys sorted.
    pub fn json(&self) -> Vec<u8> {
        let mut out = vec![b'{'];
        for (at, (key, metric)) in self.0.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            let key = Value::from(key.as_str());
            serde_json::to_writer(&mut out, &key).expect("writing to memory doesn't fail");
            out.push(b':');
            serde_json::to_writer(&mut out, &metric.value).expect("writing to memory doesn't fail");
        }
        out.push(b'}');
        out
    }

    /// The metrics of GET_METRICS.
    pub fn messages(&self) -> Vec<v1::Metric> {
        let message =
            |(key, metric): (&String, &Metric)| v1::Metric { name: key.clone(), value: Some(metric.value) };
        self.0.iter().map(message).collect()
    }

    /// Prometheus' text: families sorted by name, keys with their slashes and dots as underscores.
    pub fn prometheus(&self) -> String {
        let mut families: BTreeMap<String, (Kind, Vec<Sample<'_>>)> = BTreeMap::new();
        for (key, metric) in &self.0 {
            let (name, labels) = match &metric.family {
                Some(family) => (family.name.clone(), family.labels.as_str()),
                None => (family_name(key), ""),
            };
            families.entry(name).or_insert_with(|| (metric.kind, Vec::new())).1.push((labels, metric.value));
        }
        let mut text = String::new();
        for (name, (kind, samples)) in families {
            let kind = if kind == Kind::Counter { "counter" } else { "gauge" };
            // Writing to a string doesn't fail.
            let _ = writeln!(text, "# TYPE {name} {kind}");
            for (labels, value) in samples {
                let _ = match labels {
                    "" => writeln!(text, "{name} {value}"),
                    labels => writeln!(text, "{name}{{{labels}}} {value}"),
                };
            }
        }
        text
    }
}

/// `?timeout=10secs`, by which Mesos bounds the wait for slow gauges. There are none here, so that nothing is ever left
/// out for it; a text that is no duration is refused all the same.
///
/// # Errors
/// The text for 400.
pub fn timeout(query: &Query) -> Result<Option<Duration>, String> {
    let timeout = query.get("timeout").map(parse_duration).transpose();
    timeout.map_err(|why| format!("Failed to parse timeout: {why}.\n"))
}

#[allow(clippy::cast_precision_loss)]
fn float(count: u64) -> f64 {
    count as f64
}

fn family_name(key: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    PREFIX.chars().chain(key.chars().map(plain)).collect()
}

fn label_value(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_moment_in_three_forms() {
        let mut now = Snapshot::default();
        now.gauge("master/uptime_secs", 1.25);
        now.gauge("never/told", f64::NAN);
        now.counter("master/slave_removals", 3);
        now.counter("master/slave_removals/reason_unhealthy", 2);
        for (id, calls) in [("a", 1.0), ("b\"\\\n", 2.0)] {
            let key = format!("master/frameworks/n/{id}/calls");
            now.labelled(key, (Kind::Counter, calls), "master/framework/calls", &[("framework_id", id)]);
        }
        assert_eq!(
            String::from_utf8(now.json()).unwrap(),
            r#"{"master/frameworks/n/a/calls":1.0,"master/frameworks/n/b\"\\\n/calls":2.0,"master/slave_removals":3.0,"master/slave_removals/reason_unhealthy":2.0,"master/uptime_secs":1.25}"#
        );
        assert_eq!(
            now.prometheus(),
            "# TYPE mesos_master_framework_calls counter\n\
             mesos_master_framework_calls{framework_id=\"a\"} 1\n\
             mesos_master_framework_calls{framework_id=\"b\\\"\\\\\\n\"} 2\n\
             # TYPE mesos_master_slave_removals counter\n\
             mesos_master_slave_removals 3\n\
             # TYPE mesos_master_slave_removals_reason_unhealthy counter\n\
             mesos_master_slave_removals_reason_unhealthy 2\n\
             # TYPE mesos_master_uptime_secs gauge\n\
             mesos_master_uptime_secs 1.25\n"
        );
        assert_eq!(now.messages().len(), 5);
        assert_eq!(now.get("master/uptime_secs"), Some(1.25));
    }

    #[test]
    fn a_bad_timeout_is_refused() {
        assert_eq!(timeout(&Query::parse("timeout=2secs")), Ok(Some(Duration::from_secs(2))));
        assert_eq!(timeout(&Query::parse("")), Ok(None));
        assert!(timeout(&Query::parse("timeout=long")).is_err());
    }
}
