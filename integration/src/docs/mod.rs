//! The documentation as tests: pages are read, their commands run for real on hosts of their own, and what comes out is
//! compared with what the page shows.
//!
//! A block that begins with "```console" is a terminal. A line `$ command` is typed into the shell of the page's own
//! host, `name$ command` into that of another host; a line `> …` goes on with a command; other lines are its output.
//! `...` stands for anything within a line, a line of only `...` for any lines. Words behind `console`:
//!
//! - `retry`: the commands only look; each is repeated until it shows what the page says (30 seconds at most);
//! - `norun`: can't run in a test; the line before the block says why, as `<!-- norun: why -->`.
//!
//! A command that ends with `&` goes on in the background; the page shows how its output begins.
//!
//! What the reader doesn't see: every page has namespaces of its own, so that ports, host names, /etc, /var/lib and
//! /run are as on a fresh machine; 10.0.0.1 to 10.0.0.4 are addresses of it; images without a registry in their name
//! come from a registry in there instead of Docker Hub; and the cgroups of `tepui dev` have another name.

mod matching;
mod page;
mod shell;
mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use matching::matches;
pub use page::{Block, Page, Step};

use crate::OrFail;
use crate::eventually::{PATIENCE, pause};
use shell::Shell;
use world::World;

/// Longest time for one command.
const COMMAND: Duration = Duration::from_secs(60);

/// The folder that holds the workspace.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().or_fail("the workspace's folder").to_owned()
}

/// Runs every command of a page, and fails with all that show something else than the page.
#[track_caller]
pub fn run(page: &str) {
    let page = Page::read(&repository().join(page));
    let mut world = World::new();
    let mut shells = BTreeMap::new();
    let mut wrong = Vec::new();
    let blocks = page.blocks.iter().filter(|block| block.runs());
    for (block, step) in blocks.flat_map(|block| block.steps.iter().map(move |step| (block, step))) {
        let shell = shells.entry(step.host.clone()).or_insert_with(|| world.host(&step.host));
        let ended = typed(block, step, shell, &world);
        let got = world.shown(&shell.output());
        println!("{}:{} {}$ {}\n{got}", page.name, step.line, step.host, step.command);
        if ended.is_err() || !matches(&step.expected_lines(), &got) {
            let why = ended.as_ref().err().map_or("not as the page says", String::as_str);
            wrong.push(format!(
                "{}:{}: {why}\n--- command\n{}\n--- expected\n{}\n--- got\n{got}{}",
                page.name,
                step.line,
                step.command,
                step.expected.join("\n"),
                shell.trouble(),
            ));
        }
        if ended.is_err() {
            break;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Types a command, and waits for its end or for what it should show in the end.
fn typed(block: &Block, step: &Step, shell: &mut Shell, world: &World) -> Result<(), String> {
    let command = world.command(&step.command);
    let waits = block.retries() || step.background();
    let start = Instant::now();
    shell.run(&command, COMMAND)?;
    while waits && start.elapsed() < PATIENCE {
        if matches(&step.expected_lines(), &world.shown(&shell.output())) {
            break;
        }
        pause();
        if !step.background() {
            shell.run(&command, COMMAND)?;
        }
    }
    Ok(())
}
