//! The routes of master and agent, out of the tables that they are served by: a new one can't be forgotten by a test.

use std::fs;
use std::path::Path;

use crate::OrFail;

/// Paths of all routes of `master` or `agent`.
#[track_caller]
pub fn of(server: &str) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(server).join("src/api/routes.rs");
    let text = fs::read_to_string(&file).or_fail(file.display());
    let table = text.split_once("const ROUTES").and_then(|(_, rest)| rest.split_once("];"));
    let (table, _) = table.or_fail(format!("the table in {}", file.display()));
    let paths: Vec<String> = table
        .lines()
        .filter_map(|line| line.trim().strip_prefix("(\"")?.split_once('"'))
        .map(|(path, _)| format!("/{path}"))
        .collect();
    let rows = table.matches("Route::").count();
    assert!(
        rows > 10 && paths.len() == rows,
        "{} of {rows} rows of {} are read",
        paths.len(),
        file.display()
    );
    paths
}
