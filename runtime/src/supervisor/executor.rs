//! The last step inside the container: go to the working directory, check the program, become PID 1.
//!
//! libcontainer's own executor refuses mode 0750 even for root, hands files without a header to
//! `/bin/sh`, and changes the working directory too early for a message; so this one replaces it.
//! What it refuses travels to the keeper inside libcontainer's error text, between two marks.
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

use crate::ending::{Failure, FailureKind, Stage};
use crate::init::{self, InitReport};
use crate::isolators::rlimits::{self, Wanted};
use crate::isolators::seccomp::Filter;

/// ASCII "record separator": no message of libcontainer holds it.
const MARK: char = '\u{1e}';

/// What becomes PID 1, and what that starts.
#[derive(Clone)]
pub(crate) struct Become {
    /// The small init; `None` when the command is an init itself.
    pub image: Option<Rc<OwnedFd>>,
    /// Where the init reports.
    pub report: Rc<OwnedFd>,
    pub program: String,
    pub args: Vec<CString>,
    pub env: Vec<CString>,
    pub cwd: PathBuf,
    /// Set at the very end: until then a few descriptors more are needed than a command may be allowed.
    pub limits: Vec<Wanted>,
    /// Loaded last; it needs no-new-privileges.
    pub filter: Option<Rc<Filter>>,
}

impl Become {
    fn enter(&self) -> Result<(), Failure> {
        let refused = |why: String| {
            let message = format!("can't start in the working directory {}: {why}", self.cwd.display());
            Err(Failure::new(Stage::Exec, FailureKind::WorkingDirectory, message))
        };
        if let Err(error) = std::env::set_current_dir(&self.cwd) {
            return refused(error.to_string());
        }
        // A folder of the host that leaked in as a descriptor has no path in here (CVE-2024-21626).
        match rustix::process::getcwd(Vec::new()) {
            Ok(path) if path.as_bytes().first() == Some(&b'/') => Ok(()),
            _ => refused("it lies outside of the container".to_owned()),
        }
    }

    /// The file that will be executed.
    fn find_program(&self) -> Result<PathBuf, Failure> {
        if self.program.contains('/') {
            return check_file(Path::new(&self.program)).map(|()| PathBuf::from(&self.program));
        }
        let path = self.env.iter().find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="));
        let path = String::from_utf8_lossy(path.unwrap_or_default()).into_owned();
        let mut refused = None;
        for folder in path.split(':') {
            let file = Path::new(if folder.is_empty() { "." } else { folder }).join(&self.program);
            match check_file(&file) {
                Ok(()) => return Ok(file),
                Err(failure) if failure.kind == FailureKind::ProgramNotFound => {}
                Err(failure) => refused = refused.or(Some(failure)),
            }
        }
        Err(refused.unwrap_or_else(|| {
            let message = format!(
                "the container has no program {:?} in its PATH {path}; is it in the image, and its name right?",
                self.program
            );
            Failure::new(Stage::Exec, FailureKind::ProgramNotFound, message)
        }))
    }
}

impl Become {
    /// The command as PID 1 itself. The report closes when that works, which tells the keeper; when
    /// not, the keeper is told as the small init would.
    fn exec_bare(&self) -> std::io::Error {
        let failed = match self.find_program() {
            Ok(file) => CString::new(file.into_os_string().into_encoded_bytes())
                .map_err(|_| nix::errno::Errno::EINVAL)
                .and_then(|file| nix::unistd::execve(&file, &self.args, &self.env)),
            Err(_) => Err(nix::errno::Errno::ENOENT),
        };
        let Err(errno) = failed;
        let report =
            InitReport::ExecFailed { errno: errno as i32, program_found: errno == nix::errno::Errno::ENOENT };
        let _ = rustix::io::write(&self.report, &report.encode());
        errno.into()
    }
}

fn check_file(path: &Path) -> Result<(), Failure> {
    let failure = |kind, message| Err(Failure::new(Stage::Exec, kind, message));
    let shown = path.display();
    let mode = match rustix::fs::stat(path) {
        Ok(stat) => stat.st_mode,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => {
            return failure(FailureKind::ProgramNotFound, format!("the container has no program {shown}"));
        }
        Err(errno) => {
            let message = format!("the container's program {shown} can't be reached: {errno}");
            return failure(FailureKind::ProgramNotExecutable, message);
        }
    };
    if rustix::fs::FileType::from_raw_mode(mode) != rustix::fs::FileType::RegularFile {
        return failure(
            FailureKind::ProgramNotExecutable,
            format!("the container's {shown} is no regular file"),
        );
    }
    match accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        // An older kernel or a strict seccomp profile may not know the call; execve will tell.
        Ok(()) | Err(Errno::NOSYS) => Ok(()),
        Err(errno) => {
            let (mode, uid) = (mode & 0o7777, rustix::process::geteuid().as_raw());
            let message = format!(
                "the container's program {shown} is not executable for uid {uid}: mode {mode:04o}, {errno}; chmod +x it in the image"
            );
            failure(FailureKind::ProgramNotExecutable, message)
        }
    }
}

impl Executor for Become {
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        let checked = self.enter().and_then(|()| self.find_program());
        checked.map(drop).map_err(|failure| ExecutorValidationError::ArgValidationError(mark(&failure)))
    }

    /// The environment is given to `execve` itself.
    fn setup_envs(&self, _: std::collections::HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }

    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        let program = CString::new(self.program.as_str()).map_err(|_| ExecutorError::InvalidArg)?;
        if let Err(error) = rlimits::set(&self.limits)
            .and_then(|()| self.filter.as_ref().map_or(Ok(()), |filter| filter.load()))
        {
            // Unlimited or unfiltered it must not run; the keeper learns of it by the end of PID 1 with this report.
            let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
            let _ = rustix::io::write(&self.report, &InitReport::Broken { errno }.encode());
            return Err(ExecutorError::Other(error.to_string()));
        }
        let error = match &self.image {
            Some(image) => init::exec(image.as_fd(), self.report.as_fd(), &program, &self.args, &self.env),
            None => self.exec_bare(),
        };
        Err(ExecutorError::Other(error.to_string()))
    }
}

fn mark(failure: &Failure) -> String {
    let text = serde_json::to_string(failure).expect("a failure is plain text");
    format!("{MARK}{text}{MARK}")
}

/// The failure that the container's side put into an error text.
pub(crate) fn find_mark(text: &str) -> Option<Failure> {
    serde_json::from_str(text.split(MARK).nth(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_failure_is_found_in_any_text() {
        let failure = Failure::new(Stage::Exec, FailureKind::WorkingDirectory, "no \"such\" {folder}");
        let text = format!("failed: exec process failed with error {}: more", mark(&failure));
        assert_eq!(find_mark(&text), Some(failure));
        assert_eq!(find_mark("plain text"), None);
    }
}
