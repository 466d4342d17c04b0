//! A place of its own for each fixture: an address of the loopback, a folder, a name.
//!
//! Tests run beside each other, in one process or in many. An address of 127.0.0.0/8 that comes from the process id
//! can't collide with anybody's ports, not even after a restart of what listens there.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::OrFail;
use crate::leftovers::remove_cgroups;

/// How all names of fixtures begin.
const PREFIX: &str = "tepui-it-";
/// Where their folders are: a file system that overlayfs can write to.
const FOLDERS: &str = "/var/tmp";

/// An address, a folder and a name that nobody else has.
#[derive(Debug)]
pub struct Place {
    name: String,
    dir: PathBuf,
    number: u16,
}

impl Place {
    /// A new one. The first of a process also clears what killed test runs have left.
    pub fn new() -> Place {
        static SWEPT: Once = Once::new();
        static NEXT: AtomicU16 = AtomicU16::new(0);
        SWEPT.call_once(sweep);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let dir = Path::new(FOLDERS).join(&name);
        fs::create_dir(&dir).or_fail(format!("making {}", dir.display()));
        Place { name, dir, number }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder; goes with the place.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The address with a port: one of ten, `port` is below 10.
    pub fn socket(&self, port: u16) -> SocketAddr {
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        let ip = Ipv4Addr::new(127, 128 | high, middle, low);
        SocketAddr::from((ip, 5000 + self.number * 10 + port))
    }
}

impl Default for Place {
    fn default() -> Place {
        Place::new()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::env::var_os("TEPUI_KEEP").is_some() {
            eprintln!("kept: {}", self.dir.display());
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("{} can't be removed: {error}", self.dir.display());
        }
    }
}

/// Removes what test processes left that were killed: their clusters' processes and cgroups, their folders.
fn sweep() {
    let dead = |name: &str| {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        owner.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists())
    };
    let names = |folder: &str| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|n| dead(n))
            .collect::<Vec<_>>()
    };
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    for hierarchy in hierarchies.map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]) {
        for name in names(&hierarchy.to_string_lossy()) {
            remove_cgroups(&name);
        }
    }
    for name in names(FOLDERS) {
        // What another sweep removes at the same time is gone either way.
        let _ = fs::remove_dir_all(Path::new(FOLDERS).join(name));
    }
}
