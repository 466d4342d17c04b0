//! A wall clock that jumps while processes run: libfaketime, told by a file.

use std::fs;
use std::path::{Path, PathBuf};

use crate::OrFail;

/// The wall clock of processes that are started with [`WallClock::environment`].
#[derive(Debug)]
pub struct WallClock {
    file: PathBuf,
}

impl WallClock {
    /// One that is right so far; the file must not be there yet.
    #[track_caller]
    pub fn new(file: PathBuf) -> WallClock {
        let clock = WallClock { file };
        clock.jump("+0");
        clock
    }

    /// libfaketime, where Debian has it.
    pub fn library() -> Option<PathBuf> {
        let folders = fs::read_dir("/usr/lib").ok()?.flatten();
        let mut found = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
        found.find(|library| library.is_file())
    }

    /// What a process needs in its environment to see it. Its monotonic clock stays what it is.
    #[track_caller]
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let library = WallClock::library().or_fail("libfaketime; install Debian's package faketime");
        let pairs = [
            ("LD_PRELOAD", text(&library)),
            ("FAKETIME_TIMESTAMP_FILE", text(&self.file)),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            // Times of files and waits stay those of the kernel.
            ("NO_FAKE_STAT", "1".to_owned()),
            ("FAKETIME_DONT_RESET", "1".to_owned()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }

    /// Sets it off the right time: `+1d`, `-10y`.
    #[track_caller]
    pub fn jump(&self, by: &str) {
        // Renamed into place: a half-written one would be misunderstood.
        let whole = self.file.with_extension("new");
        fs::write(&whole, format!("{by}\n")).or_fail(whole.display());
        fs::rename(&whole, &self.file).or_fail(self.file.display());
    }
}
