//! Single stories as golden text: `scenarios/*.txt`. `UPDATE=1 cargo nextest run -p simulation` rewrites what is seen.

use std::fs;
use std::path::Path;

use crate::stage::Stage;

/// Plays a story; answers its text with what was seen.
fn play(story: &str) -> String {
    let mut stage = Stage::new();
    stage.take_lines();
    let mut text = String::new();
    for line in story.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            text += line;
            text.push('\n');
            stage.command(command.trim());
            for seen in stage.take_lines() {
                text += &seen;
                text.push('\n');
            }
        } else if line.starts_with('#') || line.is_empty() {
            text += line;
            text.push('\n');
        }
    }
    text
}

#[test]
fn stories_go_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let update = std::env::var_os("UPDATE").is_some();
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "only {} stories in {}", files.len(), folder.display());
    let mut wrong = Vec::new();
    for path in &files {
        let written = fs::read_to_string(path).unwrap();
        let seen = play(&written);
        if update && written != seen {
            fs::write(path, &seen).unwrap();
        } else if written != seen {
            wrong.push(format!("{}\n{}", path.display(), difference(&written, &seen)));
        }
    }
    assert!(wrong.is_empty(), "{}\nUPDATE=1 rewrites them", wrong.join("\n\n"));
}

fn difference(written: &str, seen: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (written.lines().collect(), seen.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let part = |lines: &[&str], sign: &str| {
        lines.iter().skip(same).take(8).map(|line| format!("{sign} {line}")).collect::<Vec<_>>().join("\n")
    };
    format!("line {}:\n{}\n{}", same + 1, part(&old, "-"), part(&new, "+"))
}
