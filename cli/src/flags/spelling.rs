//! Spellings of flags: dashes and underscores are the same, and a wrong name gets the nearest right one.

use std::ffi::OsString;

/// Rewrites `--work-dir=x` to `--work_dir=x` in everything before a lone `--`.
pub fn normalise(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut after = false;
    let rewrite = |argument: OsString| {
        after |= argument == "--";
        match argument.to_str() {
            Some(text) if !after && text.starts_with("--") => flag(text).into(),
            _ => argument,
        }
    };
    arguments.into_iter().map(rewrite).collect()
}

fn flag(text: &str) -> String {
    let (name, value) = text.split_at(text.find('=').unwrap_or(text.len()));
    format!("--{}{value}", underscored(&name[2..]))
}

/// A flag's name as the tables have it.
pub fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

/// The name that needs the fewest changes, if that is less than half of them.
pub fn nearest<'a>(name: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = among.map(|candidate| (distance(name, candidate), candidate)).min()?;
    (near.0 * 2 <= name.chars().count()).then_some(near.1)
}

/// Letters to insert, remove or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = corner + usize::from(from != *to);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_become_underscores_in_names_only() {
        let given = ["agent", "--work-dir=/a-b", "--no-strict", "-x", "a-b", "--", "--k-v=1"];
        let read = normalise(given.into_iter().map(OsString::from));
        assert_eq!(read, ["agent", "--work_dir=/a-b", "--no_strict", "-x", "a-b", "--", "--k-v=1"]);
    }

    #[test]
    fn the_nearest_name_is_found() {
        let names = ["work_dir", "port", "ip", "hostname"];
        assert_eq!(nearest("wrok_dir", names.into_iter()), Some("work_dir"));
        assert_eq!(nearest("hostnam", names.into_iter()), Some("hostname"));
        assert_eq!(nearest("zzzzzz", names.into_iter()), None);
    }
}
