//! The command's descriptors 0 to 2: `/dev/null`, and files that are opened once, by the keeper.
//!
//! A task may replace `stdout` in its sandbox by a link or a FIFO; it is never followed, and the
//! descriptor held since the start is what the command writes to.
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, fchown, fstat, openat, openat2};

use super::rotate::Ends;
use crate::ending::{Failure, FailureKind, Stage};
use crate::plan::Identity;
use crate::spec::ContainerSpec;

/// Descriptors 0, 1 and 2.
pub(crate) struct Stdio {
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// Opens all three and gives the sandbox to its user. `mapped` is the sandbox with its files' owners as a container
/// with a user namespace of its own sees them; what lies in it is opened there, so that `/dev/stdout` is the
/// command's own as well.
pub(crate) fn open(
    spec: &ContainerSpec,
    identity: &Identity,
    mapped: Option<&OwnedFd>,
    ends: Option<Ends>,
) -> Result<Stdio, Failure> {
    if let Some(sandbox) = &spec.sandbox {
        own_folder(&sandbox.source, identity)
            .map_err(|error| failed("give the sandbox to its user", &sandbox.source, &error))?;
    }
    let null = |write: bool| {
        let opened = OpenOptions::new().read(!write).write(write).open("/dev/null").map(OwnedFd::from);
        opened.map_err(|error| failed("open", Path::new("/dev/null"), &error))
    };
    let inside =
        |path: &Path| Some((mapped?, path.strip_prefix(&spec.sandbox.as_ref()?.source).ok()?.to_owned()));
    let file = |path: &Option<PathBuf>| {
        let Some(path) = path else { return null(true) };
        let opened = open_file(path, identity).and_then(|file| match inside(path) {
            Some((sandbox, name)) => reopen(sandbox, &name),
            None => Ok(file),
        });
        opened.map_err(|error| failed("open the output file", path, &error))
    };
    let stdin = null(false)?;
    let (stdout, stderr) = (file(&spec.stdout)?, file(&spec.stderr)?);
    // With a rotation the files are made here, for their owner, and written by the keeper.
    let Some(ends) = ends else { return Ok(Stdio { stdin, stdout, stderr }) };
    let pipe = |end: OwnedFd| {
        let given = give(&end, &on_host(spec, identity));
        given.map(|()| end).map_err(|error| failed("give away", Path::new("the output's pipe"), &error))
    };
    Ok(Stdio { stdin, stdout: pipe(ends.stdout)?, stderr: pipe(ends.stderr)? })
}

/// The command's ids as the host sees them. Who opens `/dev/stdout` anew needs to own what is behind it.
fn on_host(spec: &ContainerSpec, identity: &Identity) -> Identity {
    let base = spec.user_namespace.map_or(0, |ids| ids.base);
    let host = |id: u32| base.saturating_add(id);
    Identity { uid: host(identity.uid), gid: host(identity.gid), ..Identity::default() }
}

/// An existing file by another mount.
fn reopen(folder: &OwnedFd, name: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(openat2(folder, name, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)?)
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    let kind = if error.raw_os_error().is_some() { FailureKind::Host } else { FailureKind::Refused };
    Failure::new(Stage::Output, kind, format!("can't {what} {}: {error}", path.display()))
}

fn own_folder(path: &Path, identity: &Identity) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(path, flags, Mode::empty())?;
    give(folder, identity)
}

fn give(file: impl AsFd, identity: &Identity) -> io::Result<()> {
    Ok(fchown(file, Some(Uid::from_raw(identity.uid)), Some(Gid::from_raw(identity.gid)))?)
}

fn open_file(path: &Path, identity: &Identity) -> io::Result<OwnedFd> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("it names no file"));
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat2(CWD, folder, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
    // NONBLOCK: opening a FIFO that lies in the way must not wait for its reader.
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    let file = openat(&folder, name, flags, Mode::from_raw_mode(0o644))?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is not a regular file; remove what lies there"));
    }
    let plain = rustix::fs::fcntl_getfl(&file)? - OFlags::NONBLOCK;
    rustix::fs::fcntl_setfl(&file, plain)?;
    give(&file, identity)?;
    Ok(File::from(file).into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn me() -> Identity {
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        Identity { uid, gid, ..Identity::default() }
    }

    #[test]
    fn a_link_a_fifo_and_a_folder_in_the_way_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let canary = dir.path().join("canary");
        fs::write(&canary, "kept").unwrap();
        let (link, fifo, folder) =
            (dir.path().join("link"), dir.path().join("fifo"), dir.path().join("folder"));
        symlink(&canary, &link).unwrap();
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
        fs::create_dir(&folder).unwrap();
        for path in [&link, &fifo, &folder] {
            assert!(open_file(path, &me()).is_err(), "{}", path.display());
        }
        assert_eq!(fs::read_to_string(canary).unwrap(), "kept");
    }

    #[test]
    fn output_is_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stdout");
        fs::write(&path, "before\n").unwrap();
        let file = open_file(&path, &me()).unwrap();
        rustix::io::write(&file, b"after\n").unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "before\nafter\n");
    }
}
