//! Directories of the layer by path, opened by the kernel inside the layer's root and made where missing.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::error::UnpackError;
use super::name::DEEPEST;
use super::whiteout;

/// As the kernel's own bound on links in one path.
const LINKS: usize = 40;
const MADE_MODE: Mode = Mode::from_raw_mode(0o755);
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens directories below one root.
pub(super) struct Dirs {
    root: Rc<OwnedFd>,
    identity: (u64, u64),
    /// Entries of a tar come directory by directory.
    last: Option<(Vec<u8>, Rc<OwnedFd>)>,
    made: u64,
}

impl Dirs {
    pub(super) fn new(root: OwnedFd) -> Result<Self, UnpackError> {
        let stat = rustix::fs::fstat(&root).map_err(|e| UnpackError::write("look at", "/", e))?;
        Ok(Self { root: Rc::new(root), identity: (stat.st_dev, stat.st_ino), last: None, made: 0 })
    }

    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// How many directories were made since the last call.
    pub(super) fn take_made(&mut self) -> u64 {
        std::mem::take(&mut self.made)
    }

    /// Whatever was opened may have been replaced.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// The directory at `path`, links in it followed inside the root; missing ones are made.
    pub(super) fn open(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, UnpackError> {
        if path.is_empty() {
            return Ok(self.root.clone());
        }
        if let Some((cached, dir)) = &self.last
            && cached == path
        {
            return Ok(dir.clone());
        }
        let dir = Rc::new(self.walk(path)?);
        self.last = Some((path.to_vec(), dir.clone()));
        Ok(dir)
    }

    /// The directory at `path` if it is there.
    pub(super) fn existing(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, Errno> {
        if path.is_empty() {
            return Ok(self.root.clone());
        }
        if let Some((cached, dir)) = &self.last
            && cached == path
        {
            return Ok(dir.clone());
        }
        open_in(&self.root, path).map(|(dir, _)| Rc::new(dir))
    }

    fn walk(&mut self, path: &[u8]) -> Result<OwnedFd, UnpackError> {
        let refuse = |reason| UnpackError::refuse(path, reason);
        let failed = |e: Errno| UnpackError::write("open the directory", &String::from_utf8_lossy(path), e);
        let mut wanted = path.to_vec();
        for _ in 0..=LINKS {
            match open_in(&self.root, &wanted) {
                Ok((dir, linked)) => {
                    if linked && self.depth(&dir).map_err(failed)? > DEEPEST {
                        return Err(refuse("it is nested deeper than 256 directories"));
                    }
                    return Ok(dir);
                }
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(Errno::LOOP) => return Err(refuse("its parent is a loop of links")),
                Err(error) => return Err(failed(error)),
            }
            match self.make(&wanted).map_err(failed)? {
                Made::All(dir) => {
                    if self.depth(&dir).map_err(failed)? > DEEPEST {
                        return Err(refuse("it is nested deeper than 256 directories"));
                    }
                    return Ok(dir);
                }
                Made::Link(other) if is_bounded(&other) => wanted = other,
                Made::Link(_) => return Err(refuse("the links in its path lead too far")),
                Made::Blocked => return Err(refuse("its parent is not a directory")),
            }
        }
        Err(refuse("its path has more than 40 links"))
    }

    /// Makes what is missing of `path`, beginning below its deepest part that is there.
    fn make(&mut self, path: &[u8]) -> Result<Made, Errno> {
        let (mut dir, mut at) = self.deepest(path)?;
        while let Some((component, next)) = component_at(path, at) {
            if component == b".." {
                dir = open_in(&self.root, &path[..next])?.0;
                at = next;
                continue;
            }
            match rustix::fs::mkdirat(&dir, component, MADE_MODE) {
                Ok(()) => self.made += 1,
                Err(Errno::EXIST) => match self.in_the_way(&dir, component)? {
                    InTheWay::Directory => {}
                    InTheWay::Link(target) => return Ok(Made::Link(detour(path, at, next, &target))),
                    InTheWay::Other => return Ok(Made::Blocked),
                },
                Err(error) => return Err(error),
            }
            dir = crate::tree::open_dir(&dir, component)?;
            rustix::fs::fchmod(&dir, MADE_MODE)?;
            at = next;
        }
        Ok(Made::All(dir))
    }

    /// The deepest directory of `path` that is there, and where the rest of the path begins.
    fn deepest(&self, path: &[u8]) -> Result<(OwnedFd, usize), Errno> {
        let slashes = path.iter().enumerate().rev().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        for at in slashes.filter(|at| *at > 0) {
            match open_in(&self.root, &path[..at]) {
                Ok((dir, _)) => return Ok((dir, at + 1)),
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((self.root.try_clone().map_err(|_| Errno::MFILE)?, 0))
    }

    /// A whiteout where a directory is to be gives way: the directory was deleted below and made anew.
    fn in_the_way(&mut self, dir: &OwnedFd, name: &[u8]) -> Result<InTheWay, Errno> {
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if whiteout::is_whiteout(&stat) {
            rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
            rustix::fs::mkdirat(dir, name, MADE_MODE)?;
            whiteout::set_opaque(crate::tree::open_dir(dir, name)?)?;
            self.made += 1;
            return Ok(InTheWay::Directory);
        }
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => InTheWay::Directory,
            FileType::Symlink => InTheWay::Link(rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes()),
            _ => InTheWay::Other,
        })
    }

    /// How many directories lie between `dir` and the root.
    fn depth(&self, dir: &OwnedFd) -> Result<usize, Errno> {
        let mut current = dir.try_clone().map_err(|_| Errno::MFILE)?;
        for depth in 0..=DEEPEST {
            let stat = rustix::fs::fstat(&current)?;
            if (stat.st_dev, stat.st_ino) == self.identity {
                return Ok(depth);
            }
            current = rustix::fs::openat(&current, c"..", DIRECTORY, Mode::empty())?;
        }
        Ok(DEEPEST + 1)
    }
}

enum Made {
    All(OwnedFd),
    /// A link that points to nothing yet: the path that it means.
    Link(Vec<u8>),
    Blocked,
}

enum InTheWay {
    Directory,
    Link(Vec<u8>),
    Other,
}

/// Opens a directory, the root being `/` for links and `..`; also tells whether links were followed.
fn open_in(root: &OwnedFd, path: &[u8]) -> Result<(OwnedFd, bool), Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let direct = resolve | ResolveFlags::NO_SYMLINKS;
    match openat2(root, path, direct) {
        Err(Errno::LOOP) => openat2(root, path, resolve).map(|dir| (dir, true)),
        // A last component that is a link ends in ENOTDIR when it may not be followed.
        Err(Errno::NOTDIR) => openat2(root, path, resolve).map(|dir| (dir, true)),
        other => other.map(|dir| (dir, false)),
    }
}

fn openat2(root: &OwnedFd, path: &[u8], resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    loop {
        match rustix::fs::openat2(root, path, DIRECTORY, Mode::empty(), resolve) {
            // The kernel gives up when a rename anywhere on the host coincides with a `..`.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// The component that begins at or after `at`, and where the next one may begin.
fn component_at(path: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let mut start = at;
    loop {
        let rest = path.get(start..).filter(|rest| !rest.is_empty())?;
        let length = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
        let next = (start + length + 1).min(path.len());
        match &rest[..length] {
            b"" | b"." => start += length + 1,
            component => return Some((component, next)),
        }
    }
}

/// `path` with the component between `at` and `next` replaced by what the link there says.
fn detour(path: &[u8], at: usize, next: usize, target: &[u8]) -> Vec<u8> {
    let (before, rest) = (&path[..at], path.get(next..).unwrap_or_default());
    let mut whole = if target.starts_with(b"/") { Vec::new() } else { before.to_vec() };
    whole.extend_from_slice(target);
    whole.push(b'/');
    whole.extend_from_slice(rest);
    whole
}

fn is_bounded(path: &[u8]) -> bool {
    path.len() <= 4096 && path.iter().filter(|b| **b == b'/').count() <= DEEPEST
}

/// What a name in a directory is, not following it; `None` when there is nothing.
pub(super) fn look(dir: impl AsFd, name: &[u8]) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}
