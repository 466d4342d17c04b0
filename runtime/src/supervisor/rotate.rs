//! Output that is rotated by size: the keeper reads what the command writes from pipes, and writes the files.
//!
//! The files lie in the sandbox, where the command may do what it likes: remove them, replace them by links, FIFOs or
//! folders. So the folder is held by its descriptor, links are never followed, a new file is always one that was not
//! there before, and what can't be renamed or removed only costs the name: writing goes on, and stays within its size.
//! A command that writes faster than the disk takes it waits; what the disk refuses is thrown away.
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fchown, fstat, openat, openat2};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::spec::{ContainerSpec, RotateBy};

/// Least size of a file; Mesos: a page.
const LEAST_BYTES: u64 = 4096;
/// Bytes that are read at once.
const CHUNK: usize = 4096;
/// Chunks that are taken in one turn, so that a loud command doesn't keep the keeper from its other duties.
const TURN: usize = 16;
/// Chunks that are still taken when the command is gone: what pipes hold at most.
const REST: usize = 1024;

/// The ends of the pipes that the command writes to.
pub(crate) struct Ends {
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// The files that are written; none without a rotation.
#[derive(Default)]
pub(crate) struct Outputs(Vec<Output>);

/// Makes the pipes that a spec wants.
pub(crate) fn open(spec: &ContainerSpec) -> io::Result<(Outputs, Option<Ends>)> {
    let (Some(rotation), Some(stdout), Some(stderr)) = (spec.rotation, &spec.stdout, &spec.stderr) else {
        return Ok((Outputs::default(), None));
    };
    let (stdout, stdout_end) = Output::new(stdout, rotation.stdout)?;
    let (stderr, stderr_end) = Output::new(stderr, rotation.stderr)?;
    Ok((Outputs(vec![stdout, stderr]), Some(Ends { stdout: stdout_end, stderr: stderr_end })))
}

impl Outputs {
    /// What to wait for: the pipes that are open.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        self.0.iter().enumerate().filter_map(|(at, output)| Some((at, output.pipe.as_ref()?.as_fd())))
    }

    /// Writes what is there.
    pub(crate) fn pump(&mut self, at: usize) {
        if let Some(output) = self.0.get_mut(at) {
            output.pump(TURN);
        }
    }

    /// Writes what the command left, now that it is gone.
    pub(crate) fn finish(&mut self) {
        self.0.iter_mut().for_each(|output| output.pump(REST));
    }
}

/// One pipe and the file that it ends in.
struct Output {
    pipe: Option<OwnedFd>,
    folder: OwnedFd,
    name: String,
    by: RotateBy,
    /// Opened when there is something to write, since the builder makes it and gives it to its owner.
    file: Option<Open>,
    /// The disk's refusal was told of.
    told: bool,
}

struct Open {
    file: OwnedFd,
    size: u64,
}

impl Output {
    fn new(path: &Path, by: RotateBy) -> io::Result<(Output, OwnedFd)> {
        let name = path.file_name().and_then(|name| name.to_str());
        let (Some(folder), Some(name)) = (path.parent(), name) else {
            return Err(io::Error::other("the output names no file"));
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat2(CWD, folder, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
        let (pipe, end) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let by = RotateBy { max_bytes: by.max_bytes.max(LEAST_BYTES), ..by };
        Ok((Output { pipe: Some(pipe), folder, name: name.to_owned(), by, file: None, told: false }, end))
    }

    fn pump(&mut self, chunks: usize) {
        let mut bytes = [0; CHUNK];
        for _ in 0..chunks {
            let Some(pipe) = &self.pipe else { return };
            match rustix::io::read(pipe, &mut bytes) {
                Ok(0) => self.pipe = None,
                Ok(length) => {
                    if let Err(error) = self.write(&bytes[..length])
                        && !std::mem::replace(&mut self.told, true)
                    {
                        tracing::warn!(%error, "output of the command is lost: can't write {}", self.name);
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(error) => {
                    tracing::warn!(%error, "output of the command can't be read");
                    self.pipe = None;
                }
            }
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let mut open = match self.file.take() {
            Some(open) => open,
            None => self.open()?,
        };
        if open.size > 0 && open.size.saturating_add(length) > self.by.max_bytes {
            open = self.rotate(open)?;
        }
        let open = self.file.insert(open);
        while !bytes.is_empty() {
            match rustix::io::write(&open.file, bytes) {
                Ok(written) => {
                    open.size = open.size.saturating_add(u64::try_from(written).unwrap_or(0));
                    bytes = &bytes[written..];
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The file as it lies there, if it is one; a new one otherwise.
    fn open(&self) -> io::Result<Open> {
        // NONBLOCK: a FIFO that lies in the way must not wait for its reader.
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match openat(&self.folder, &self.name, flags | OFlags::NOCTTY, Mode::empty()) {
            Ok(file) => {
                let stat = fstat(&file)?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1 {
                    return Ok(Open { file, size: u64::try_from(stat.st_size).unwrap_or(0) });
                }
            }
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::ISDIR) => {}
            Err(error) => return Err(error.into()),
        }
        // A name that the command took for something else is taken back.
        let _ = rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty());
        self.create()
    }

    /// A file that was not there before, owned by whom the sandbox belongs to.
    fn create(&self) -> io::Result<Open> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(0o644);
        let file = openat(&self.folder, &self.name, flags | OFlags::CLOEXEC, mode)?;
        let owner = rustix::fs::statat(&self.folder, "", AtFlags::EMPTY_PATH)?;
        let (uid, gid) = (rustix::fs::Uid::from_raw(owner.st_uid), rustix::fs::Gid::from_raw(owner.st_gid));
        fchown(&file, Some(uid), Some(gid))?;
        Ok(Open { file, size: 0 })
    }

    /// The file becomes the newest old one, and another takes its place.
    fn rotate(&self, full: Open) -> io::Result<Open> {
        let old = |n: u32| format!("{}.{n}", self.name);
        for n in (1..self.by.keep).rev() {
            // Of most there is none yet. Renaming never follows a link.
            let _ = rustix::fs::renameat(&self.folder, old(n), &self.folder, old(n + 1));
        }
        if self.by.keep > 0 {
            let _ = rustix::fs::renameat(&self.folder, &self.name, &self.folder, old(1));
        }
        // Where no old file is kept, or something of the command's making lies in the way.
        let _ = rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty());
        match self.create() {
            Ok(open) => Ok(open),
            Err(_) => {
                // A folder has that name. The file that is held goes on, from its beginning.
                rustix::fs::ftruncate(&full.file, 0)?;
                Ok(Open { size: 0, ..full })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    struct Place {
        dir: tempfile::TempDir,
        output: Output,
        end: OwnedFd,
    }

    fn place(keep: u32) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let by = RotateBy { max_bytes: 1, keep };
        let (output, end) = Output::new(&dir.path().join("out"), by).unwrap();
        Place { dir, output, end }
    }

    impl Place {
        /// A page of one letter.
        fn say(&mut self, letter: u8) {
            rustix::io::write(&self.end, &[letter; 4096]).unwrap();
            self.output.pump(TURN);
        }

        /// The first letter of each file, `-` for what is no file.
        fn files(&self) -> String {
            let mut all: Vec<String> = fs::read_dir(self.dir.path())
                .unwrap()
                .map(|entry| {
                    let entry = entry.unwrap();
                    let name = entry.file_name().into_string().unwrap();
                    let letter = match entry.file_type().unwrap().is_file() {
                        true => fs::read(entry.path()).unwrap().first().map_or('_', |byte| char::from(*byte)),
                        false => '-',
                    };
                    format!("{name}={letter}")
                })
                .collect();
            all.sort_by(|a, b| a.split('=').next().cmp(&b.split('=').next()));
            all.join(" ")
        }
    }

    #[test]
    fn old_files_move_on_and_the_oldest_goes() {
        let mut it = place(2);
        let mut seen = Vec::new();
        for letter in *b"abcd" {
            it.say(letter);
            seen.push(it.files());
        }
        assert_eq!(seen, ["out=a", "out=b out.1=a", "out=c out.1=b out.2=a", "out=d out.1=c out.2=b"]);
        assert!(it.dir.path().read_dir().unwrap().all(|e| e.unwrap().metadata().unwrap().len() <= 4096));
    }

    #[test]
    fn without_old_files_only_the_newest_output_stays() {
        let mut it = place(0);
        (*b"abc").into_iter().for_each(|letter| it.say(letter));
        assert_eq!(it.files(), "out=c");
    }

    #[test]
    fn a_file_of_before_goes_on_and_counts() {
        let mut it = place(1);
        fs::write(it.dir.path().join("out"), "x").unwrap();
        rustix::io::write(&it.end, b"y").unwrap();
        it.output.pump(TURN);
        assert_eq!(fs::read_to_string(it.dir.path().join("out")).unwrap(), "xy");
        it.say(b'a');
        assert_eq!(it.files(), "out=a out.1=x");
    }

    /// threats.md K23: the command replaces its output by what it wants the keeper to write to.
    #[test]
    fn nothing_that_lies_in_the_way_is_written_to() {
        let other = tempfile::tempdir().unwrap();
        let canary = other.path().join("canary");
        fs::write(&canary, "kept").unwrap();
        let mut it = place(1);
        it.say(b'a');
        let at = |name: &str| it.dir.path().join(name);
        fs::remove_file(at("out")).unwrap();
        symlink(&canary, at("out")).unwrap();
        symlink(&canary, at("out.1")).unwrap();
        it.say(b'b');
        assert_eq!(it.files(), "out=b out.1=-");
        let fifo = it.dir.path().join("out");
        fs::remove_file(&fifo).unwrap();
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
        it.say(b'c');
        assert_eq!(it.files(), "out=c out.1=-");
        // A folder can't be taken away: what is held goes on below another name, and stays within its size.
        fs::remove_file(&fifo).unwrap();
        fs::remove_file(it.dir.path().join("out.1")).unwrap();
        fs::create_dir_all(it.dir.path().join("out/full")).unwrap();
        fs::create_dir_all(it.dir.path().join("out.1/full")).unwrap();
        it.say(b'd');
        it.say(b'e');
        assert_eq!(it.files(), "out=- out.1=-");
        assert_eq!(fs::read_to_string(canary).unwrap(), "kept");
    }

    #[test]
    fn a_link_to_another_file_is_not_appended_to() {
        let other = tempfile::tempdir().unwrap();
        let canary = other.path().join("canary");
        fs::write(&canary, "kept").unwrap();
        for hard in [true, false] {
            let mut it = place(1);
            let out = it.dir.path().join("out");
            if hard {
                fs::hard_link(&canary, &out).unwrap();
            } else {
                symlink(&canary, &out).unwrap();
            }
            it.say(b'a');
            assert_eq!(it.files(), "out=a");
        }
        assert_eq!(fs::read_to_string(canary).unwrap(), "kept");
    }

    #[test]
    fn what_is_left_in_the_pipe_is_written_at_the_end() {
        let it = place(0);
        rustix::io::write(&it.end, &[b'x'; 4000]).unwrap();
        let mut outputs = Outputs(vec![it.output]);
        assert_eq!(outputs.sources().count(), 1);
        drop(it.end);
        outputs.finish();
        assert_eq!(fs::metadata(it.dir.path().join("out")).unwrap().len(), 4000);
        assert_eq!(outputs.sources().count(), 0);
    }
}
