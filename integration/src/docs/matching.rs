//! Compares output with what a page shows, where `...` stands for whatever differs from run to run.

/// Whether the lines fit. Blanks count as one however many there are: columns are as wide as what is in them.
pub fn matches(expected: &[String], got: &str) -> bool {
    let expected: Vec<String> = expected.iter().map(|line| plain(line)).collect();
    let got: Vec<String> = got.lines().map(plain).collect();
    lines(trimmed(&expected), trimmed(&got))
}

fn plain(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Without the empty lines at the end.
fn trimmed(lines: &[String]) -> &[String] {
    let end = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    &lines[..end]
}

fn lines(expected: &[String], got: &[String]) -> bool {
    match expected.split_first() {
        None => got.is_empty(),
        Some((first, rest)) if first == "..." => (0..=got.len()).any(|skip| lines(rest, &got[skip..])),
        Some((first, rest)) => {
            got.split_first().is_some_and(|(line, left)| glob(first, line) && lines(rest, left))
        }
    }
}

fn glob(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once("...") else { return pattern == text };
    let Some(mut left) = text.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split("...").collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(expected: &str, got: &str) -> bool {
        matches(&expected.lines().map(str::to_owned).collect::<Vec<_>>(), got)
    }

    #[test]
    fn wildcards_stand_for_anything() {
        assert!(
            fit("a\nb", "a\nb\n\n") && fit("", "") && fit("ID  NAME", "ID NAME  ") && fit("a\n\n", "a\n")
        );
        assert!(fit("a...c", "abbc") && fit("a...", "a") && fit("...a...b...", "xaybz"));
        assert!(fit("...\nlast", "x\ny\nlast") && fit("...\nlast", "last") && fit("a\n...", "a\nb\nc"));
    }

    #[test]
    fn what_differs_does_not_fit() {
        assert!(!fit("a", "b") && !fit("a", "a\nb") && !fit("a\nb", "a") && !fit("", "a"));
        assert!(!fit("a...c", "abbd") && !fit("a...b...c", "acb") && !fit("aXa...aXa", "aXa"));
    }
}
