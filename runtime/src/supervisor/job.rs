//! What the keeper is handed: its job as JSON in a memory file on descriptor 0, the first caller's
//! socket on 1, its log on 2.
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use serde::{Deserialize, Serialize};

use crate::config::RuntimeConfig;
use crate::kernel::linux;
use crate::spec::ContainerSpec;

/// Longest job in bytes.
pub(crate) const MAX_JOB: u64 = 4 << 20;

/// Everything a keeper is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub config: RuntimeConfig,
    pub spec: ContainerSpec,
}

/// The three descriptors, out of the way of 0 to 2, which are `/dev/null` from then on.
pub(crate) struct Inherited {
    job: File,
    pub caller: UnixStream,
    pub log: OwnedFd,
}

impl Inherited {
    /// Takes the descriptors over and closes all others. Before anything is opened.
    pub(crate) fn take() -> io::Result<Self> {
        let [job, caller, log] = [linux::adopt(0, 3)?, linux::adopt(1, 3)?, linux::adopt(2, 3)?];
        let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        for target in 0..3 {
            linux::replace_stdio(null.as_fd(), target)?;
        }
        drop(null);
        let mut kept = [job.as_raw_fd(), caller.as_raw_fd(), log.as_raw_fd()];
        kept.sort_unstable();
        linux::close_all_but(3, &kept)?;
        Ok(Self { job: job.into(), caller: caller.into(), log })
    }

    /// Reads the job and lets go of its memory.
    pub(crate) fn read(self) -> Result<(Job, UnixStream, OwnedFd), (io::Error, UnixStream)> {
        let mut bytes = Vec::new();
        let mut job = self.job;
        let read = job.rewind().and_then(|()| (&mut job).take(MAX_JOB).read_to_end(&mut bytes));
        let parsed = read.and_then(|_| serde_json::from_slice(&bytes).map_err(io::Error::from));
        match parsed {
            Ok(job) => Ok((job, self.caller, self.log)),
            Err(error) => Err((error, self.caller)),
        }
    }
}
