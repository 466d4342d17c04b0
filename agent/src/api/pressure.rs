//! Pressure stall information of containers: how long their tasks stood still for want of CPU, memory or block devices.
//!
//! Mesos has no fields for it, so it stands beside what Mesos tells, under a key of our own.

use runtime::{Pressure, PressureLine, Statistics};
use serde_json::{Map, Value, json};
use serving::metrics::{Kind, Snapshot};

use crate::logic::Task;

/// The key beside `statistics`.
pub(super) const KEY: &str = "tepui_pressure";

/// The family of Prometheus' text.
const FAMILY: &str = "container/pressure_seconds_total";

/// By what is wanted; nothing of what the kernel doesn't tell.
fn told(measured: &Statistics) -> impl Iterator<Item = (&'static str, Pressure)> {
    let all = [("cpu", measured.psi_cpu), ("memory", measured.psi_memory), ("io", measured.psi_io)];
    all.into_iter().filter_map(|(name, pressure)| Some((name, pressure?)))
}

/// For the JSON of a container; `None` where the kernel tells nothing.
pub(super) fn json(measured: &Statistics) -> Option<Value> {
    let all: Map<String, Value> = told(measured)
        .map(|(name, pressure)| {
            let mut lines = json!({ "some": line(pressure.some) });
            if let Some(full) = pressure.full {
                lines["full"] = line(full);
            }
            (name.to_owned(), lines)
        })
        .collect();
    (!all.is_empty()).then_some(Value::Object(all))
}

/// Shares of time in percent, as the kernel writes them, and time in seconds, as Mesos does.
fn line(line: PressureLine) -> Value {
    let percent = |hundredths: u32| f64::from(hundredths) / 100.0;
    json!({
        "avg10": percent(line.avg10_centi),
        "avg60": percent(line.avg60_centi),
        "avg300": percent(line.avg300_centi),
        "total_secs": seconds(line),
    })
}

#[allow(clippy::cast_precision_loss)]
fn seconds(line: PressureLine) -> f64 {
    line.total_us as f64 / 1e6
}

/// For Prometheus.
pub(super) fn add(all: &mut Snapshot, task: &Task, measured: &Statistics) {
    let run = &task.run;
    for (name, pressure) in told(measured) {
        let full = pressure.full.map(|line| ("full", line));
        for (kind, line) in [("some", pressure.some)].into_iter().chain(full) {
            let key = format!("containers/{}/pressure/{name}/{kind}", run.container);
            let labels = [
                ("container_id", run.container.as_str()),
                ("executor_id", run.executor.as_str()),
                ("framework_id", run.framework.as_str()),
                ("kind", kind),
                ("resource", name),
            ];
            all.labelled(key, (Kind::Counter, seconds(line)), FAMILY, &labels);
        }
    }
}
