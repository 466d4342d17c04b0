//! Reads the terminals of a page.

use std::fs;
use std::path::Path;

use crate::OrFail;

/// A page of the documentation.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its file's name.
    pub name: String,
    /// All of its text.
    pub text: String,
    /// Its terminals.
    pub blocks: Vec<Block>,
}

/// A terminal.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// The line that it begins in, from 1.
    pub line: usize,
    /// What stands behind `console`.
    pub words: Vec<String>,
    /// Why it can't run in a test.
    pub reason: Option<String>,
    /// What is typed, in its order.
    pub steps: Vec<Step>,
}

/// A command and what it shows.
#[derive(Clone, Debug)]
pub struct Step {
    /// The line of its prompt, from 1.
    pub line: usize,
    /// The host it is typed on; empty for the page's own.
    pub host: String,
    /// The command.
    pub command: String,
    /// The lines beneath.
    pub expected: Vec<String>,
}

impl Step {
    /// Whether it goes on in the background.
    pub fn background(&self) -> bool {
        self.command.trim_end().ends_with('&')
    }

    /// What it must show: of one in the background, the beginning.
    pub fn expected_lines(&self) -> Vec<String> {
        let more = self.background().then(|| "...".to_owned());
        self.expected.iter().cloned().chain(more).collect()
    }
}

impl Block {
    /// Whether a test runs it.
    pub fn runs(&self) -> bool {
        !self.words.iter().any(|word| word == "norun")
    }

    /// Whether its commands are repeated until they show what they should.
    pub fn retries(&self) -> bool {
        self.words.iter().any(|word| word == "retry")
    }
}

impl Page {
    /// Reads a page.
    #[track_caller]
    pub fn read(path: &Path) -> Page {
        let text = fs::read_to_string(path).or_fail(path.display());
        let name = path.file_name().or_fail("a file's name").to_string_lossy().into_owned();
        Page { blocks: blocks(&name, &text), name, text }
    }
}

fn blocks(page: &str, text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    let mut before = "";
    for (number, line) in (1..).zip(text.lines()) {
        match open.take() {
            Some(block) if line == "```" => found.push(block),
            Some(mut block) => {
                block.add(page, number, line);
                open = Some(block);
            }
            None => open = begin(number, line, before),
        }
        before = line;
    }
    assert!(open.is_none(), "{page}: a block doesn't end");
    found
}

fn begin(number: usize, line: &str, before: &str) -> Option<Block> {
    let words = line.strip_prefix("```console")?.split_whitespace().map(str::to_owned).collect();
    let reason = before.strip_prefix("<!-- norun: ").and_then(|rest| rest.strip_suffix(" -->"));
    Some(Block { line: number, words, reason: reason.map(str::to_owned), steps: Vec::new() })
}

impl Block {
    fn add(&mut self, page: &str, number: usize, line: &str) {
        if let Some((host, command)) = prompt(line) {
            let command = command.to_owned();
            self.steps.push(Step { line: number, host: host.to_owned(), command, expected: Vec::new() });
            return;
        }
        let step = self.steps.last_mut().or_fail(format!("{page}:{number}: a block begins with a command"));
        match line.strip_prefix("> ").or((line == ">").then_some("")) {
            Some(more) if step.expected.is_empty() => step.command.push_str(&format!("\n{more}")),
            _ => step.expected.push(line.to_owned()),
        }
    }
}

fn prompt(line: &str) -> Option<(&str, &str)> {
    let (host, command) = line.split_once("$ ")?;
    host.chars().all(|c| c.is_ascii_alphanumeric()).then_some((host, command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_read() {
        let text = "# A\n```sh\n$ not this\n```\n```console retry\n$ a \\\n> b\nout $ x\n> out\nm1$ c\n```\n\
                    <!-- norun: why -->\n```console norun\n$ d\n```\n";
        let found = blocks("p", text);
        assert_eq!(found.len(), 2);
        assert!(found[0].runs() && found[0].retries() && found[0].line == 5);
        let [first, second] = &found[0].steps[..] else { panic!("{found:?}") };
        assert_eq!((first.line, first.command.as_str(), first.host.as_str()), (6, "a \\\nb", ""));
        assert_eq!(first.expected, ["out $ x", "> out"]);
        assert_eq!((second.command.as_str(), second.host.as_str()), ("c", "m1"));
        assert!(!found[1].runs() && found[1].reason.as_deref() == Some("why"));
    }
}
