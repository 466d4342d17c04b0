//! The table of facts at the head of these tests names tests that exist.

use std::path::Path;

const TABLE: &str = include_str!("mod.rs");

#[test]
fn every_fact_names_a_test() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut rows = 0;
    for row in TABLE.lines().filter_map(|line| line.strip_prefix("//! | ")).skip(1) {
        let (fact, test) = row.trim_end_matches(" |").rsplit_once(" | ").unwrap_or_else(|| panic!("{row}"));
        let there = match (test.strip_prefix("story "), test.split_once("::")) {
            (Some(story), _) => here.join(format!("../tests/scenarios/{story}.txt")).is_file(),
            (None, Some((module, name))) => {
                let file = here.join(format!("src/tests/{module}.rs"));
                std::fs::read_to_string(file).is_ok_and(|text| text.contains(&format!("async fn {name}()")))
            }
            (None, None) => false,
        };
        assert!(there, "{fact}: there is no {test}");
        rows += 1;
    }
    assert!(rows >= 50, "only {rows} facts");
}
