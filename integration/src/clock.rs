//! Wall clocks that jump while processes run: libfaketime, told by a file, for a process; a library of our own for all
//! that a process starts, whatever environment it gives them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::OrFail;
use crate::job::done;

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

/// Adds the seconds in a file to the wall clock and leaves all other clocks alone.
const SHIFTED: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long shift(void) {
    char text[32] = "";
    int file = syscall(SYS_openat, AT_FDCWD, CLOCK_FILE, O_RDONLY | O_CLOEXEC, 0);
    if (file < 0) return 0;
    syscall(SYS_read, file, text, sizeof text - 1);
    syscall(SYS_close, file);
    return atol(text);
}

int clock_gettime(clockid_t id, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, id, now);
    if (!failed && id == CLOCK_REALTIME) now->tv_sec += shift();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec fine;
    clock_gettime(CLOCK_REALTIME, &fine);
    now->tv_sec = fine.tv_sec;
    now->tv_usec = fine.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *into) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (into) *into = now.tv_sec;
    return now.tv_sec;
}
"#;

/// The wall clock of a program and of all that it starts, keepers of containers with their empty environment too: the
/// dynamic linker of a mount namespace of their own loads what shifts it.
#[derive(Debug)]
pub struct HostClock {
    dir: PathBuf,
}

impl HostClock {
    /// One that is right so far, with its files in a new folder.
    #[track_caller]
    pub fn new(dir: PathBuf) -> HostClock {
        fs::create_dir_all(dir.join("etc")).or_fail(dir.display());
        let clock = HostClock { dir };
        clock.jump(0);
        let (source, library) = (clock.dir.join("clock.c"), clock.dir.join("clock.so"));
        fs::write(&source, SHIFTED).or_fail(source.display());
        let file = format!("-DCLOCK_FILE=\"{}\"", clock.dir.join("seconds").display());
        done(Command::new("cc").args(["-shared", "-fPIC", "-O1", &file, "-o"]).arg(&library).arg(&source));
        let preload = clock.dir.join("etc/ld.so.preload");
        fs::write(&preload, format!("{}\n", library.display())).or_fail(preload.display());
        clock
    }

    /// A program, with arguments, that starts another one under this clock.
    pub fn through(&self) -> Vec<String> {
        let script = "mount -t overlay -o \"lowerdir=$1:/etc\" tepui-clock /etc && shift && exec \"$@\"";
        let words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"];
        let etc = self.dir.join("etc").to_string_lossy().into_owned();
        words.map(str::to_owned).into_iter().chain([etc]).collect()
    }

    /// Sets it that many seconds off the right time.
    #[track_caller]
    pub fn jump(&self, seconds: i64) {
        // Renamed into place: a half-written one would be misunderstood.
        let (whole, file) = (self.dir.join("seconds.new"), self.dir.join("seconds"));
        fs::write(&whole, format!("{seconds}\n")).or_fail(whole.display());
        fs::rename(&whole, &file).or_fail(file.display());
    }
}
