//! A whole agent with real containers, driven by a test master over the real link.
//!
//! This program is its own harness, because the keepers of its containers are this program again, called with
//! `supervise`, and that has to be chosen before any thread exists.

#![allow(clippy::unwrap_used)]
#![forbid(unsafe_code)]

#[path = "../../../runtime/tests/all/canary.rs"]
mod canary;
#[path = "../common/mod.rs"]
mod common;
mod image;
mod isolation;
mod room;
mod stories;
mod threats;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use isolation::STORIES as OF_ISOLATION;
use room::STORIES as OF_ROOM;
use stories::STORIES;
use threats::STORIES as OF_THREATS;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "supervise") {
        runtime::supervise_main();
    }
    let flag = |name: &str| args.iter().any(|arg| arg == name);
    let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let chosen = STORIES.iter().chain(OF_ROOM).chain(OF_ISOLATION).chain(OF_THREATS).filter(|(name, _)| {
        let fits =
            |filter: &&String| if flag("--exact") { name == *filter } else { name.contains(filter.as_str()) };
        filters.iter().all(|filter| *filter == "terse") || filters.iter().any(fits)
    });
    if flag("--list") {
        if !flag("--ignored") {
            chosen.for_each(|(name, _)| println!("{name}: test"));
        }
        return;
    }
    let mut failed = 0;
    for (name, story) in chosen {
        let outcome = catch_unwind(AssertUnwindSafe(|| world::play(name, *story)));
        println!("test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        failed += i32::from(outcome.is_err());
    }
    std::process::exit(failed.min(1));
}
