//! The architecture's rules, each a test: arrows between crates, purity of logic, places of unsafe, sizes, links.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Our crates and which of ours each may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("images", &[]),
    ("runtime", &[]),
    ("coordination", &[]),
    ("model", &["wire"]),
    ("serving", &["wire", "model"]),
    ("security", &["wire", "model"]),
    ("sdk", &["wire", "model", "coordination", "security"]),
    ("master", &["wire", "model", "coordination", "serving", "security"]),
    ("agent", &["wire", "model", "coordination", "serving", "security", "images", "runtime"]),
    (
        "tepui",
        &[
            "wire",
            "model",
            "coordination",
            "serving",
            "security",
            "images",
            "runtime",
            "agent",
            "master",
            "sdk",
        ],
    ),
    ("simulation", &["wire", "model", "coordination", "agent", "master"]),
    ("integration", &["wire", "model"]),
    (
        "fuzz",
        &["wire", "model", "coordination", "serving", "security", "images", "runtime", "agent", "master"],
    ),
    ("bench", &["wire", "model", "coordination", "sdk", "runtime"]),
];

/// Folders in which nothing touches the outside.
const PURE: &[&str] = &[
    "master/src/logic",
    "master/src/allocator",
    "agent/src/logic",
    "model/src",
    "frameworks/sdk/src/session",
];

/// What would make logic impure, and why.
const IMPURE: &[(&str, &str)] = &[
    ("tokio", "logic doesn't wait"),
    ("std::fs", "logic does no I/O"),
    ("std::net", "logic does no I/O"),
    ("std::process", "logic does no I/O"),
    ("std::thread", "logic has no threads"),
    ("std::env", "logic has no environment"),
    ("Instant::now", "time is an argument"),
    ("SystemTime", "time is an argument"),
    ("HashMap", "its order depends on a random seed"),
    ("HashSet", "its order depends on a random seed"),
    ("getrandom", "randomness is seeded"),
];

/// Where unsafe code may stand.
const UNSAFE: &[&str] = &["runtime/src/kernel", "runtime/src/init", "fuzz/engine"];

const MOST_LINES: usize = 600;
const MOST_FUNCTION_LINES: usize = 100;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("integration lies in the workspace").to_owned()
}

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap()
}

/// All our source files, with paths relative to the root.
fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = metadata()
        .workspace_packages()
        .iter()
        .map(|p| p.manifest_path.parent().expect("a manifest lies in a folder").as_std_path().to_owned())
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|n| n != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found.dedup();
    assert!(found.len() > 50, "the rules must see the sources");
    found
}

/// The part of a file before its tests.
fn product(text: &str) -> &str {
    text.split("\n#[cfg(test)]").next().unwrap_or(text)
}

fn is_test(name: &str) -> bool {
    name.contains("/tests/")
        || name.ends_with("/tests.rs")
        || name.starts_with("tests/")
        || name.starts_with("integration/")
}

fn fail_if_any(what: &str, offenders: &[String]) {
    assert!(offenders.is_empty(), "{what}:\n  {}", offenders.join("\n  "));
}

#[test]
fn arrows_point_downward() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        ARROWS.iter().map(|(name, uses)| (*name, uses.iter().copied().collect())).collect();
    let mut offenders = Vec::new();
    for package in metadata().workspace_packages() {
        let name = package.name.as_str();
        let Some(may) = allowed.get(name) else {
            offenders.push(format!("{name} has no row in the table of arrows"));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development) {
            if allowed.contains_key(dependency.name.as_str()) && !may.contains(dependency.name.as_str()) {
                offenders.push(format!("{name} uses {}", dependency.name));
            }
        }
    }
    fail_if_any("arrows that point the wrong way", &offenders);
}

#[test]
fn the_keepers_crate_has_no_async_runtime() {
    let packages = metadata();
    let runtime = packages.workspace_packages().into_iter().find(|p| p.name.as_str() == "runtime").unwrap();
    let names: Vec<&str> = runtime.dependencies.iter().map(|d| d.name.as_str()).collect();
    for banned in ["tokio", "hyper", "tonic", "axum", "reqwest"] {
        assert!(!names.contains(&banned), "runtime uses {banned}: a keeper must stay small");
    }
}

#[test]
fn logic_is_pure() {
    let mut offenders = Vec::new();
    for (name, text) in sources() {
        if !PURE.iter().any(|folder| name.starts_with(folder)) || is_test(&name) {
            continue;
        }
        for (number, line) in product(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or(line);
            for (token, why) in IMPURE {
                if code.contains(token) {
                    offenders.push(format!("{name}:{} has {token}: {why}", number + 1));
                }
            }
        }
    }
    fail_if_any("impure logic", &offenders);
}

#[test]
fn unsafe_stands_only_where_it_may() {
    let mut offenders = Vec::new();
    for (name, text) in sources() {
        let may = UNSAFE.iter().any(|folder| name.starts_with(folder));
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or(line);
            let uses =
                ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"].iter().any(|t| code.contains(t));
            if uses && !may && !name.ends_with("integration/tests/rules.rs") {
                offenders.push(format!("{name}:{}", number + 1));
            }
        }
        let crate_root = name.ends_with("src/lib.rs") || name.ends_with("src/main.rs");
        let forbids = text.contains("#![forbid(unsafe_code)]");
        if crate_root && !forbids && !(name == "runtime/src/lib.rs" && text.contains("#![deny(unsafe_code)]"))
        {
            offenders.push(format!("{name} lacks #![forbid(unsafe_code)]"));
        }
    }
    fail_if_any("unsafe code outside of its places", &offenders);
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| !text.lines().any(|line| line.starts_with("//!")))
        .map(|(name, _)| name)
        .collect();
    fail_if_any("files without a first line that says what they are for", &silent);
}

#[test]
fn files_and_functions_stay_short() {
    let mut offenders = Vec::new();
    for (name, text) in sources() {
        let lines = product(&text).lines().count();
        if lines > MOST_LINES {
            offenders.push(format!("{name}: {lines} lines"));
        }
        for (function, lines) in functions(product(&text)) {
            if lines > MOST_FUNCTION_LINES && !is_test(&name) {
                offenders.push(format!("{name}: fn {function} has {lines} lines"));
            }
        }
    }
    fail_if_any("too long", &offenders);
}

/// Names of functions and the lines from signature to closing brace, found by indentation (rustfmt keeps it true).
fn functions(text: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut open: Option<(String, usize, usize)> = None;
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let code = line.trim_start();
        if let Some((name, start, at)) = &open {
            if indent == *at && code.starts_with('}') {
                found.push((name.clone(), number - start + 1));
                open = None;
            }
            continue;
        }
        let signature = code.split(" fn ").nth(1).or_else(|| code.strip_prefix("fn "));
        if let Some(rest) = signature.filter(|_| !code.starts_with("//")) {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !code.ends_with(';') && !code.ends_with('}') {
                open = Some((name, number, indent));
            }
        }
    }
    found
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    let root = root();
    let mut documents =
        vec!["README.md".to_owned(), "ARCHITECTURE.md".to_owned(), "BENCHMARKS.md".to_owned()];
    for entry in fs::read_dir(root.join("docs")).into_iter().flatten().flatten() {
        documents.push(format!("docs/{}", entry.file_name().to_string_lossy()));
    }
    let mut dead = Vec::new();
    for document in documents.iter().filter(|d| d.ends_with(".md")) {
        let text = fs::read_to_string(root.join(document)).unwrap_or_else(|e| panic!("{document}: {e}"));
        let folder = root.join(document).parent().expect("a file has a folder").to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or(target);
            if !path.is_empty() && !path.contains("://") && !folder.join(path).exists() {
                dead.push(format!("{document}: {target}"));
            }
        }
    }
    fail_if_any("dead links", &dead);
}

#[test]
fn nothing_is_left_to_do_in_the_sources() {
    let mut offenders = Vec::new();
    for (name, text) in sources() {
        if name == "integration/tests/rules.rs" {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            if ["todo!(", "unimplemented!(", "#[ignore", "FIXME"].iter().any(|t| line.contains(t)) {
                offenders.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    fail_if_any("stubs", &offenders);
}
