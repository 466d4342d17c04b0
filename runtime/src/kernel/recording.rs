//! A kernel that only writes down what was asked of it, and fails at the step it is told to.
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use super::{Mounts, Overlay, Processes};
use crate::spec::IdRange;

/// Steps in words; `fail_at` counts from 1.
#[derive(Default)]
pub(crate) struct Recording {
    pub steps: RefCell<Vec<String>>,
    pub fail_at: Option<usize>,
}

impl Recording {
    pub(crate) fn failing_at(step: usize) -> Self {
        Self { steps: RefCell::default(), fail_at: Some(step) }
    }

    fn note(&self, step: String) -> io::Result<()> {
        let mut steps = self.steps.borrow_mut();
        steps.push(step);
        if self.fail_at == Some(steps.len()) {
            Err(io::Error::from_raw_os_error(libc::EPERM))
        } else {
            Ok(())
        }
    }

    fn mount(&self, step: String) -> io::Result<OwnedFd> {
        self.note(step)?;
        File::open("/dev/null").map(Into::into)
    }
}

impl Mounts for Recording {
    fn enter_private_namespace(&self) -> io::Result<()> {
        self.note("private namespace".to_owned())
    }

    fn hide_tree(&self, at: &Path) -> io::Result<()> {
        self.note(format!("hide {}", at.display()))
    }

    fn tmpfs(&self, mode: u32) -> io::Result<OwnedFd> {
        self.mount(format!("tmpfs {mode:o}"))
    }

    fn overlay(&self, layers: &Overlay<'_>) -> io::Result<OwnedFd> {
        let lower: Vec<_> = layers.lower.iter().map(|path| path.display().to_string()).collect();
        self.mount(format!("overlay {} + {}", lower.join(":"), layers.upper.display()))
    }

    fn clone_mount(&self, at: &Path) -> io::Result<OwnedFd> {
        self.mount(format!("clone {}", at.display()))
    }

    fn clone_tree(&self, at: &Path) -> io::Result<OwnedFd> {
        self.mount(format!("clone tree {}", at.display()))
    }

    fn restrict(&self, _: BorrowedFd<'_>) -> io::Result<()> {
        self.note("restrict".to_owned())
    }

    fn without_devices(&self, _: BorrowedFd<'_>) -> io::Result<()> {
        self.note("without devices".to_owned())
    }

    fn tame(&self, _: BorrowedFd<'_>) -> io::Result<()> {
        self.note("tame".to_owned())
    }

    fn user_namespace(&self, ids: IdRange) -> io::Result<OwnedFd> {
        self.mount(format!("user namespace {} {}", ids.base, ids.length))
    }

    fn map_ids(&self, _: BorrowedFd<'_>, _: BorrowedFd<'_>) -> io::Result<()> {
        self.note("map ids".to_owned())
    }

    fn attach(&self, _: BorrowedFd<'_>, _: BorrowedFd<'_>) -> io::Result<()> {
        self.note("attach".to_owned())
    }
}

impl Processes for Recording {
    fn terminate(&self) -> io::Result<()> {
        self.note("terminate".to_owned())
    }

    fn kill_all(&self) -> io::Result<()> {
        self.note("kill all".to_owned())
    }
}
