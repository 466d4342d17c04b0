//! What the init tells the keeper: frames of three little-endian 32-bit words, each written in one go.

/// Length of one report in bytes; the reader takes exactly so many at a time.
pub const REPORT_SIZE: usize = 12;

/// What happened to the command. The end of the stream without [`InitReport::Ended`] or one of the failures means
/// that the init itself was killed (as by a kill of the whole container, or out of memory).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitReport {
    /// The command's program runs: execve(2) succeeded.
    Running {
        /// Its process id, as the container sees it.
        pid: i32,
    },
    /// The command's program could not be executed. Nothing follows.
    ExecFailed {
        /// What execve(2) said: ENOENT, EACCES, ENOEXEC …
        errno: i32,
        /// With ENOENT: the file itself is there, so its interpreter or loader is what's missing.
        program_found: bool,
    },
    /// The command's own process ended. Nothing follows.
    Ended {
        /// The status as wait(2) gives it.
        wait_status: i32,
    },
    /// The init could not even fork. Nothing follows.
    Broken {
        /// What the kernel said.
        errno: i32,
    },
}

impl InitReport {
    /// The bytes as the init writes them, for who reports in its place (a command that is an init itself).
    #[must_use]
    pub fn encode(self) -> [u8; REPORT_SIZE] {
        let words = match self {
            Self::Running { pid } => [1, pid, 0],
            Self::ExecFailed { errno, program_found } => [2, errno, i32::from(program_found)],
            Self::Ended { wait_status } => [3, wait_status, 0],
            Self::Broken { errno } => [4, errno, 0],
        };
        let mut bytes = [0; REPORT_SIZE];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

/// Reads one report; `None` when the bytes are none.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<InitReport> {
    let bytes: &[u8; REPORT_SIZE] = bytes.try_into().ok()?;
    let word = |at: usize| i32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    match (word(0), word(4), word(8)) {
        (1, pid, 0) => Some(InitReport::Running { pid }),
        (2, errno, found @ (0 | 1)) => Some(InitReport::ExecFailed { errno, program_found: found == 1 }),
        (3, wait_status, 0) => Some(InitReport::Ended { wait_status }),
        (4, errno, 0) => Some(InitReport::Broken { errno }),
        _ => None,
    }
}
