//! The keys of `/metrics/snapshot`, in both directions, against the table of Mesos' metrics.

use std::collections::BTreeSet;

use integration::client::get;
use integration::facts::fact;
use integration::{Cluster, needs};
use serde_json::Value;

/// What the table has and is not there yet, or not wanted: the beginning of the keys, and why.
const NOT_YET: &[(&str, &str)] = &[
    ("frameworks/<principal>/", "frameworks of drivers of v0 only"),
    ("allocator/mesos/quota/", "quotas"),
    ("registrar/log/", "the replicated log"),
    ("log_storage/", "the replicated log"),
    ("containerizer/fetcher/", "the fetcher"),
    ("containerizer/docker/", "Docker's containerizer, which is not wanted"),
    ("containerizer/mesos/provisioner/bind/", "another backend, which is not wanted"),
    ("containerizer/mesos/disk/", "the isolator disk/xfs"),
    ("volume_gid_manager/", "volumes"),
    ("resource_provider_manager/", "resource providers"),
    ("resource_providers/", "resource providers"),
    ("port_mapping/", "the isolator network/port_mapping"),
];
/// What a timer tells beside its last measurement.
const OF_TIMERS: [&str; 9] = ["count", "max", "min", "p50", "p90", "p95", "p99", "p999", "p9999"];

#[derive(Debug)]
struct Key {
    /// `C`, `G` or `T`.
    kind: char,
    /// With `<…>` for what varies.
    pattern: String,
}

/// The keys of one daemon in the table.
fn keys(table: &str, daemon: &str) -> Vec<Key> {
    let (mut ours, mut prefix) = (false, "");
    let mut found = Vec::new();
    for line in table.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            ours = heading.starts_with(daemon) || heading.starts_with("both");
            prefix = if heading.contains("P = ") { "master/frameworks/<name>/<id>/" } else { "" };
        }
        let Some((kind, key)) = line.split_once('\t').filter(|(kind, _)| ours && kind.len() == 1) else {
            continue;
        };
        let key = if prefix.is_empty() { key } else { key.strip_prefix('P').unwrap_or(key) };
        found.extend(kind.chars().next().map(|kind| Key { kind, pattern: format!("{prefix}{key}") }));
    }
    assert!(found.len() > 50, "only {} keys of {daemon} in the table", found.len());
    found
}

fn fits(pattern: &str, key: &str) -> bool {
    let (mut parts, mut names) = (pattern.split('/'), key.split('/'));
    loop {
        match (parts.next(), names.next()) {
            (None, None) => return true,
            (Some(part), Some(name)) if part == name || (part.contains('<') && !name.is_empty()) => {}
            _ => return false,
        }
    }
}

fn of_timer<'a>(key: &'a str, timers: &[&Key]) -> Option<&'a str> {
    let (timer, part) = key.rsplit_once('/')?;
    (OF_TIMERS.contains(&part) && timers.iter().any(|known| fits(&known.pattern, timer))).then_some(timer)
}

/// What differs, in words.
fn differences(table: &str, daemon: &str, page: &Value, prometheus: &str) -> Vec<String> {
    let known = keys(table, daemon);
    let have: BTreeSet<&str> =
        page.as_object().into_iter().flat_map(|page| page.keys()).map(String::as_str).collect();
    let mut wrong = Vec::new();
    for key in &known {
        let later = NOT_YET.iter().find(|(beginning, _)| key.pattern.starts_with(beginning));
        let there = have.iter().find(|have| fits(&key.pattern, have));
        match (later, there) {
            (None, None) => wrong.push(format!("{daemon} doesn't tell {}", key.pattern)),
            (Some((beginning, _)), Some(there)) => {
                wrong.push(format!("{there} is there: NOT_YET names {beginning}"));
            }
            _ => {}
        }
        if there.is_some() && !key.pattern.contains('<') {
            let name = key.pattern.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
            let kind = if key.kind == 'C' { "counter" } else { "gauge" };
            if !prometheus.contains(&format!("# TYPE mesos_{name} {kind}\n")) {
                wrong.push(format!("{} is no {kind} to Prometheus", key.pattern));
            }
        }
    }
    let timers: Vec<&Key> = known.iter().filter(|key| key.kind == 'T').collect();
    for key in have {
        let own = key.starts_with("tepui/");
        if !own && of_timer(key, &timers).is_none() && !known.iter().any(|known| fits(&known.pattern, key)) {
            wrong.push(format!("{daemon} tells {key}, which Mesos doesn't"));
        }
    }
    wrong
}

#[test]
fn metrics_are_those_of_mesos() {
    needs!();
    let Some(table) = fact("metrics.txt") else { return };
    let cluster = Cluster::start();
    // Keys that come with their first occurrence: of an end with a reason, and of a pull.
    cluster.run(&["--image=oci:/no/such/folder", "--", "true"]).expect(1);
    let mut scheduler = cluster.scheduler();
    scheduler.offer();
    let mut wrong = Vec::new();
    for (daemon, at) in [("master", cluster.master()), ("agent", cluster.agent())] {
        let page = get(at, "/metrics/snapshot").expect(200).json();
        let prometheus = get(at, "/metrics").expect(200).text();
        wrong.extend(differences(&table, daemon, &page, &prometheus));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
