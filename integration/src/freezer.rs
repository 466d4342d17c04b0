//! Stops some threads of a process and not the others, so that what may happen by chance happens for certain.
//!
//! Cgroup v2 freezes thread by thread: the process is moved into a cgroup of the test's own, with one part below it for the
//! threads of a name and one for all others. Everything runs on, and is where it was, when this is dropped.

use std::fs;
use std::path::{Path, PathBuf};

use crate::OrFail;
use crate::eventually::eventually;
use crate::place::Place;

/// Where cgroup v2 is: alone, or beside the older hierarchies.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// Some threads of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// Those of the name.
    Named,
    /// All others.
    Others,
}

/// The threads of a process in two parts.
#[derive(Debug)]
pub struct Freezer {
    pid: u32,
    cgroup: PathBuf,
    /// Where the process was.
    before: PathBuf,
    _place: Place,
}

impl Freezer {
    /// The threads of that name, and the others. Those that are made from now on are with whoever makes them.
    #[track_caller]
    pub fn of(pid: u32, name: &str) -> Freezer {
        let root = root().or_fail("cgroup v2");
        let place = Place::new();
        let of_process = fs::read_to_string(format!("/proc/{pid}/cgroup")).or_fail("a process that runs");
        let before = of_process.lines().find_map(|line| line.strip_prefix("0::/")).or_fail("its cgroup");
        let freezer =
            Freezer { pid, cgroup: root.join(place.name()), before: root.join(before), _place: place };
        make(&freezer.cgroup);
        write(&freezer.cgroup.join("cgroup.procs"), &pid.to_string());
        for part in [Threads::Named, Threads::Others] {
            make(&freezer.part(part));
            write(&freezer.part(part).join("cgroup.type"), "threaded");
        }
        for (thread, called) in threads(pid) {
            let part = if called == name { Threads::Named } else { Threads::Others };
            // One that has just ended needs no place.
            let _ = fs::write(freezer.part(part).join("cgroup.threads"), thread);
        }
        freezer
    }

    fn part(&self, threads: Threads) -> PathBuf {
        self.cgroup.join(if threads == Threads::Named { "named" } else { "others" })
    }

    /// Stops them, and waits until they stand.
    #[track_caller]
    pub fn freeze(&self, threads: Threads) {
        let part = self.part(threads);
        write(&part.join("cgroup.freeze"), "1");
        eventually("threads stand still", || {
            let state = fs::read_to_string(part.join("cgroup.events")).or_fail("the state of a cgroup");
            state.contains("frozen 1").then_some(())
        });
    }

    /// Lets them go on.
    #[track_caller]
    pub fn thaw(&self, threads: Threads) {
        write(&self.part(threads).join("cgroup.freeze"), "0");
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let parts = [Threads::Named, Threads::Others].map(|threads| self.part(threads));
        for part in &parts {
            let _ = fs::write(part.join("cgroup.freeze"), "0");
        }
        // A process that was killed meanwhile is nowhere.
        let _ = fs::write(self.before.join("cgroup.procs"), self.pid.to_string());
        for folder in parts.iter().chain([&self.cgroup]) {
            let removed = fs::remove_dir(folder);
            if let (Err(error), false) = (removed, std::thread::panicking()) {
                eprintln!("{} can't be removed: {error}", folder.display());
            }
        }
    }
}

fn root() -> Option<&'static Path> {
    ROOTS.iter().map(Path::new).find(|root| root.join("cgroup.controllers").exists())
}

fn threads(pid: u32) -> Vec<(String, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| {
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        Some((entry.file_name().into_string().ok()?, name.trim_end().to_owned()))
    });
    named.collect()
}

#[track_caller]
fn make(folder: &Path) {
    fs::create_dir(folder).or_fail(folder.display());
}

#[track_caller]
fn write(file: &Path, text: &str) {
    fs::write(file, text).or_fail(file.display());
}
