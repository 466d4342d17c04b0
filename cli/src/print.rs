//! Results on standard output: tables for people, JSON for programs.

use std::io::{self, Write as _};

use serde_json::Value;

/// Rows under a heading, each column as wide as its widest cell.
#[derive(Debug)]
pub struct TextTable {
    rows: Vec<Vec<String>>,
}

impl TextTable {
    /// A table with this heading.
    pub fn new(heading: &[&str]) -> TextTable {
        TextTable { rows: vec![heading.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    /// Adds a row. Control characters are shown as escapes: names come from anywhere.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        let visible = |cell: String| cell.chars().flat_map(escaped).collect();
        self.rows.push(cells.into_iter().map(visible).collect());
    }

    /// Writes it to standard output.
    ///
    /// # Errors
    /// The output can't be written to.
    pub fn print(&self) -> io::Result<()> {
        io::stdout().write_all(self.text().as_bytes())
    }

    fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |i: usize| {
            self.rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn escaped(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}

/// Writes a text.
///
/// # Errors
/// The output can't be written to.
pub fn text(text: &str) -> io::Result<()> {
    io::stdout().write_all(text.as_bytes())
}

/// Writes a value as indented JSON.
///
/// # Errors
/// The output can't be written to.
pub fn json(value: &Value) -> io::Result<()> {
    writeln!(io::stdout(), "{value:#}")
}

/// Writes one line.
///
/// # Errors
/// The output can't be written to.
pub fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

/// Whether a failure only says that nobody reads our output any more, as in `tepui task list | head -1`.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let pipe = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
    error.chain().filter_map(|cause| cause.downcast_ref()).any(pipe)
}

/// Bytes as people read them.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut whole, mut rest, mut unit) = (count, 0, 0);
    while whole >= 1000 && unit + 1 < UNITS.len() {
        rest = whole % 1000 / 100;
        whole /= 1000;
        unit += 1;
    }
    if unit == 0 { format!("{whole} B") } else { format!("{whole}.{rest} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_steers_the_terminal() {
        let mut table = TextTable::new(&["ID", "NAME"]);
        table.row(["long-id".to_owned(), "a\x1b[2Jb".to_owned()]);
        assert_eq!(table.text(), "ID       NAME\nlong-id  a\\u{1b}[2Jb\n");
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1234), "1.2 kB");
        assert_eq!(bytes(68_300_000), "68.3 MB");
    }
}
