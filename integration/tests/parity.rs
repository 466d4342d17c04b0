//! The list of what Mesos' own tests pin, docs/parity.tsv: each test of ours that it names exists, enough of what applies
//! is pinned, and docs/parity.md says the same. `UPDATE=1 cargo nextest run -p integration --test parity` rewrites that.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use integration::facts::fact;

/// Of those that apply, at least so many in a hundred are pinned.
const LEAST: usize = 60;
const HEAD: &str = "file\ttest\tverdict\tassertion\tours, or why not";

/// The parts of the product by the files of Mesos' tests that concern them; the last is the rest.
const AREAS: &[(&str, &[&str])] = &[
    (
        "scheduler HTTP API",
        &[
            "scheduler_http_api_tests",
            "scheduler_tests",
            "http_fault_tolerance_tests",
            "master/update_framework_tests",
            "teardown_tests",
        ],
    ),
    (
        "operator API and pages",
        &[
            "api_tests",
            "agent_container_api_tests",
            "logging_tests",
            "metrics_tests",
            "role_tests",
            "common/http_tests",
            "master_load_tests",
        ],
    ),
    (
        "master",
        &[
            "master_tests",
            "master_validation_tests",
            "fault_tolerance_tests",
            "common_validation_tests",
            "protobuf_utils_tests",
            "upgrade_tests",
        ],
    ),
    (
        "partitions, reconciliation, registry",
        &[
            "partition_tests",
            "reconciliation_tests",
            "master_slave_reconciliation_tests",
            "registrar_tests",
            "operation_reconciliation_tests",
        ],
    ),
    (
        "allocator",
        &["hierarchical_allocator_tests", "master_allocator_tests", "resource_offers_tests", "sorter_tests"],
    ),
    (
        "resources, values, attributes",
        &["resources_tests", "resource_quantities_tests", "values_tests", "attributes_tests"],
    ),
    (
        "agent",
        &[
            "slave_tests",
            "slave_validation_tests",
            "slave_compatibility_tests",
            "paths_tests",
            "gc_tests",
            "disk_quota_tests",
            "container_logger_tests",
            "protobuf_io_tests",
        ],
    ),
    (
        "recovery and status updates",
        &["slave_recovery_tests", "task_status_update_manager_tests", "command_executor_tests"],
    ),
    ("files and RecordIO", &["files_tests", "common/recordio_tests"]),
    (
        "images",
        &[
            "containerizer/provisioner_docker_tests",
            "containerizer/provisioner_backend_tests",
            "containerizer/docker_spec_tests",
            "containerizer/oci_spec_tests",
            "containerizer/runtime_isolator_tests",
        ],
    ),
    ("containers and isolators", &["containerizer/"]),
    (
        "high availability",
        &[
            "group_tests",
            "master_contender_detector_tests",
            "registrar_zookeeper_tests",
            "zookeeper_tests",
            "zookeeper_url_tests",
        ],
    ),
    ("later parts, and what is no part", &[""]),
];

struct Row {
    file: String,
    test: String,
    verdict: Verdict,
    ours: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// A test of ours pins it.
    Pinned,
    /// It applies, and no test of ours pins it.
    Open,
    /// It belongs to a part of the product that is still to come.
    Later,
    /// It is about the inside of Mesos, or about what is not wanted here.
    No,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(root().join("docs/parity.tsv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(HEAD));
    lines.map(row).collect()
}

fn row(line: &str) -> Row {
    let columns: Vec<&str> = line.split('\t').collect();
    let [file, test, verdict, assertion, ours] = columns[..] else { panic!("five columns: {line}") };
    let verdict = match verdict {
        "pinned" => Verdict::Pinned,
        "open" => Verdict::Open,
        "later" => Verdict::Later,
        "no" => Verdict::No,
        _ => panic!("no verdict: {line}"),
    };
    assert!(!assertion.is_empty() && !ours.is_empty(), "{line}");
    Row { file: file.to_owned(), test: test.to_owned(), verdict, ours: ours.to_owned() }
}

/// Where a crate of the list has its files.
fn folder(of: &str) -> PathBuf {
    root().join(match of {
        "sdk" => "frameworks/sdk",
        "simulation" => "tests",
        other => other,
    })
}

#[test]
fn the_list_has_every_test_of_mesos_once_and_in_order() {
    let Some(names) = fact("tests-names.tsv") else { return };
    let rows = rows();
    let ours = rows.iter().map(|row| format!("{}\t{}", row.file, row.test));
    let wrong: Vec<String> = names
        .lines()
        .skip(1)
        .map(str::to_owned)
        .zip(ours)
        .filter(|(theirs, ours)| theirs != ours)
        .map(|(theirs, ours)| format!("{theirs} is {ours} here"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.iter().take(10).cloned().collect::<Vec<_>>().join("\n"));
    assert_eq!(rows.len() + 1, names.lines().count());
}

/// Names of all functions below a folder that stand behind an attribute of a test, and of stories of the agent's own
/// harness.
fn tests_below(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.extend(tests_in(&fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

fn tests_in(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        if let Some((story, _)) = line.strip_prefix("(\"").and_then(|line| line.split_once("\", |world| ")) {
            found.push(story.to_owned());
        }
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if marked && !line.starts_with("#[") && !line.starts_with("//") {
            marked = false;
            let name = line.trim_start_matches("async ").strip_prefix("fn ");
            found.extend(name.and_then(|rest| rest.split('(').next()).map(str::to_owned));
        }
    }
    found
}

#[test]
fn every_test_that_the_list_names_exists() {
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut missing = Vec::new();
    for row in rows().iter().filter(|row| row.verdict == Verdict::Pinned) {
        for name in row.ours.split(' ') {
            let (of, test) = name.split_once("::").unwrap_or_else(|| panic!("crate::test: {name}"));
            let there = match of {
                "scenario" => root().join(format!("tests/scenarios/{test}.txt")).is_file(),
                of => known.entry(of.to_owned()).or_insert_with(|| tests_below(&folder(of))).contains(test),
            };
            if !there {
                missing.push(format!("{} of {}: there is no {name}", row.test, row.file));
            }
        }
    }
    assert!(missing.is_empty(), "name what pins it now, or say `open`:\n  {}", missing.join("\n  "));
}

#[derive(Default, Clone, Copy)]
struct Count {
    pinned: usize,
    open: usize,
    later: usize,
    no: usize,
}

impl Count {
    fn add(&mut self, verdict: Verdict) {
        *match verdict {
            Verdict::Pinned => &mut self.pinned,
            Verdict::Open => &mut self.open,
            Verdict::Later => &mut self.later,
            Verdict::No => &mut self.no,
        } += 1;
    }

    fn applies(self) -> usize {
        self.pinned + self.open
    }

    fn percent(self) -> usize {
        (100 * self.pinned).checked_div(self.applies()).unwrap_or(100)
    }
}

fn count<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Count {
    let mut count = Count::default();
    rows.into_iter().for_each(|row| count.add(row.verdict));
    count
}

fn area(file: &str) -> usize {
    let fits = |names: &[&str]| {
        names.iter().any(|name| {
            file == format!("{name}.cpp")
                || (name.ends_with('/') || name.is_empty()) && file.starts_with(name)
        })
    };
    AREAS.iter().position(|(_, names)| fits(names)).unwrap()
}

#[test]
fn enough_of_what_applies_is_pinned() {
    let rows = rows();
    let all = count(&rows);
    println!(
        "{} of {} tests of Mesos apply, {} are pinned: {} %",
        all.applies(),
        rows.len(),
        all.pinned,
        all.percent()
    );
    assert!(all.percent() >= LEAST, "{} %", all.percent());
}

/// What docs/parity.md has to say.
fn page(rows: &[Row]) -> String {
    let all = count(rows);
    let mut page = format!(
        "# Parity with Mesos' own tests\n\n\
         Mesos has {} tests. [parity.tsv](parity.tsv) lists every one with what it asserts and the test of ours that pins the\n\
         same, or why there is none. This page is made from it (`integration/tests/parity.rs`), which also checks that\n\
         each test it names exists.\n\n\
         **{} apply to what is there today; {} of them are pinned ({} %).** {} belong to parts that are still to come, {} are\n\
         about the inside of Mesos (C++, libprocess, modules, drivers of v0) or about what is not wanted here (Docker, appc, …).\n\n\
         | part | tests | apply | pinned | % | later | no |\n|---|---|---|---|---|---|---|\n",
        rows.len(),
        all.applies(),
        all.pinned,
        all.percent(),
        all.later,
        all.no,
    );
    for (number, (name, _)) in AREAS.iter().enumerate() {
        let own: Vec<&Row> = rows.iter().filter(|row| area(&row.file) == number).collect();
        let count = count(own.iter().copied());
        let percent = if count.applies() == 0 { "-".to_owned() } else { count.percent().to_string() };
        writeln!(
            page,
            "| {name} | {} | {} | {} | {percent} | {} | {} |",
            own.len(),
            count.applies(),
            count.pinned,
            count.later,
            count.no
        )
        .unwrap();
    }
    page += "\n## Not pinned yet\n";
    let mut file = "";
    for row in rows.iter().filter(|row| row.verdict == Verdict::Open) {
        if row.file != file {
            file = &row.file;
            write!(page, "\n**{file}**\n").unwrap();
        }
        writeln!(page, "- {}: {}", row.test, row.ours).unwrap();
    }
    page += "\n## Later\n\n| with | tests |\n|---|---|\n";
    let mut parts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.verdict == Verdict::Later) {
        *parts.entry(&row.ours).or_default() += 1;
    }
    for (part, tests) in parts {
        writeln!(page, "| {part} | {tests} |").unwrap();
    }
    page
}

#[test]
fn the_page_is_what_the_list_says() {
    let path = root().join("docs/parity.md");
    let page = page(&rows());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/parity.md is not what docs/parity.tsv says; UPDATE=1 rewrites it");
}
