//! The builder: a short-lived child of the keeper, which mounts, checks, and calls libcontainer.
//!
//! It is a process of its own because of what libcontainer does to its caller (it changes directories,
//! makes it undumpable, leaves zombies and memory) and so that the keeper hears its callers meanwhile.
//! It is born in the container's cgroup, so whatever it clones is there as well, and a kill of the
//! container ends a start too. Mounts are made in a namespace that goes with it: however it ends,
//! nothing of them is left on the host. Its clones are the keeper's children (`as_sibling`).
//!
//! ```text
//! keeper  --clone3--> builder   joins the v1 cgroups, where there are any; mounts, checks, writes the bundle
//!         <--Built--- builder   libcontainer's build() is done, PID 1 waits
//!         <--LetGo--- builder   start() is done; the builder ends
//!         <--Failed-- builder   any of it failed; the builder ends
//! ```
use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::exit;
use std::rc::Rc;

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

use super::executor::{Become, find_mark};
use super::job::Job;
use super::output::{self, Stdio};
use super::rootfs::{Assembly, Place};
use super::rotate::{self, Ends, Outputs};
use super::userns::Users;
use super::{guard, host_files, sandbox, user, userns};
use crate::cgroups::Cgroups;
use crate::ending::{Failure, FailureKind, Stage, chain};
use crate::init;
use crate::isolators::filesystem::{self, GUARDED};
use crate::isolators::rlimits;
use crate::isolators::seccomp::Filter;
use crate::kernel::Mounts;
use crate::kernel::linux::{self, Linux};
use crate::plan::{self, Ground, Identity};
use crate::protocol::encode;
use crate::spec::ContainerSpec;

/// Processes that a container has while it starts: builder, libcontainer's two, the command.
const LEAST_PIDS: u64 = 4;

/// What the builder tells.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Progress {
    /// PID 1 is there, and waits.
    Built { pid: i32 },
    /// PID 1 was let go.
    LetGo,
    /// The start failed.
    Failed(Failure),
}

/// What the keeper has of a builder.
pub(crate) struct Builder {
    pub stream: UnixStream,
    /// Where PID 1 will report.
    pub report: OwnedFd,
    /// What the command writes, if that is rotated.
    pub outputs: Outputs,
}

/// Starts the builder and puts it where the container belongs. `foreign` are descriptors of the keeper
/// that the container's side must not hold.
pub(crate) fn spawn(job: &Job, cgroups: &Cgroups, foreign: &[RawFd]) -> Result<Builder, Failure> {
    let failed = |what: &str, error: &dyn std::error::Error| Failure::host(Stage::Prepare, what, error);
    let (ours, theirs) = UnixStream::pair().map_err(|error| failed("can't make a socket", &error))?;
    let (report, report_end) = pipe_with(PipeFlags::CLOEXEC)
        .map_err(|errno| failed("can't make a pipe", &io::Error::from(errno)))?;
    rustix::io::ioctl_fionbio(&report, true)
        .map_err(|errno| failed("can't make a pipe", &io::Error::from(errno)))?;
    let (outputs, ends) = rotate::open(&job.spec).map_err(|error| {
        Failure::host(Stage::Output, "can't make the pipes of the command's output", &error)
    })?;
    let birthplace = cgroups.birthplace().map_err(|error| not_in_cgroup(&error))?;
    let keeper = rustix::process::getpid().as_raw_nonzero().get();
    let born = linux::fork_into(birthplace.as_fd());
    if born.map_err(|error| failed("can't make the container's first process", &error))?.is_none() {
        linux::close_in_clone(foreign);
        drop((ours, report, outputs));
        become_builder(job, cgroups, theirs, (report_end, ends), keeper)
    }
    drop((theirs, report_end, ends));
    let stream = ours;
    stream.set_nonblocking(true).map_err(|error| failed("can't make a socket", &error))?;
    Ok(Builder { stream, report, outputs })
}

fn become_builder(
    job: &Job,
    cgroups: &Cgroups,
    keeper: UnixStream,
    ends: (OwnedFd, Option<Ends>),
    parent: i32,
) -> ! {
    linux::set_process_name(c"tepui-builder");
    let settled = linux::die_with_parent(parent).and_then(|()| linux::reset_signals());
    if settled.is_err() {
        exit(1);
    }
    // The keeper may be protected from the OOM killer; its container must not be. Raising is always allowed.
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
    let mut site = Site { job, cgroups, keeper };
    let ended = match site.start(&Linux, ends) {
        Ok(()) => Progress::LetGo,
        Err(failure) => Progress::Failed(failure),
    };
    exit(i32::from(site.tell(&ended).is_err()))
}

/// What the builder works with.
struct Site<'a> {
    job: &'a Job,
    cgroups: &'a Cgroups,
    keeper: UnixStream,
}

impl Site<'_> {
    fn tell(&mut self, progress: &Progress) -> io::Result<()> {
        let frame = encode(progress).map_err(io::Error::other)?;
        self.keeper.write_all(&frame)
    }

    fn start(&mut self, mounts: &dyn Mounts, (report, ends): (OwnedFd, Option<Ends>)) -> Result<(), Failure> {
        let lost = |error| Failure::host(Stage::Build, "the keeper can't be reached", &error);
        let spec = &self.job.spec;
        self.cgroups.join().map_err(|error| not_in_cgroup(&error))?;
        let users = spec.user_namespace.map(|ids| Users::new(mounts, ids)).transpose()?;
        let furnish = |root: BorrowedFd<'_>| furnish(spec, root);
        let mount = self.job.config.mount();
        let assembly = Assembly { mounts, mount: &mount, users: users.as_ref(), furnish: &furnish };
        let root = assembly.mount(&spec.rootfs)?;
        let identity = user::resolve(root.as_fd(), spec.user.as_deref())?;
        userns::check(spec.user_namespace, &identity)?;
        let sandbox = fill(mounts, spec, root.as_fd(), users.as_ref())?;
        let place = assembly.place();
        drop(root);
        let mapped = sandbox.as_ref().filter(|_| users.is_some());
        let stdio = output::open(spec, &identity, mapped, ends)?;
        drop((sandbox, users));
        self.write_bundle(&place, &identity)?;
        let limits = rlimits::raise(spec)?;
        let executor = executor(spec, &identity, report, limits)?;
        let mut container = build(spec, &place, stdio, executor)?;
        let pid = container.pid().ok_or_else(|| {
            Failure::new(Stage::Build, FailureKind::Host, "the container's first process has no id")
        })?;
        self.tell(&Progress::Built { pid: pid.as_raw() }).map_err(lost)?;
        settle(spec, pid.as_raw())?;
        container.start().map_err(|error| Failure::host(Stage::Build, "can't start the container", &error))
    }

    fn write_bundle(&self, place: &Place, identity: &Identity) -> Result<(), Failure> {
        let ground = Ground {
            rootfs: &place.rootfs,
            runtime_dir: &self.job.config.runtime_dir,
            cgroup: self.cgroups.libcontainer_path(),
            identity,
        };
        let oci = plan::oci_spec(&self.job.spec, &ground)?;
        oci.save(place.bundle.join("config.json"))
            .map_err(|error| Failure::host(Stage::Prepare, "can't write the bundle", &error))
    }
}

/// Makes what a root filesystem lacks: mount points, checked, and the places of what is mounted by us.
fn furnish(spec: &ContainerSpec, root: BorrowedFd<'_>) -> Result<(), Failure> {
    guard::mount_points(root, &GUARDED)?;
    if !spec.isolation.net {
        host_files::prepare(root)?;
    }
    spec.sandbox.as_ref().map_or(Ok(()), |sandbox| sandbox::folder(root, &sandbox.target).map(drop))
}

/// Checks an image's root filesystem and mounts in it what libcontainer doesn't. The answer is the sandbox's mount in an
/// image.
fn fill(
    mounts: &dyn Mounts,
    spec: &ContainerSpec,
    root: BorrowedFd<'_>,
    users: Option<&Users>,
) -> Result<Option<OwnedFd>, Failure> {
    if !spec.rootfs.is_image() {
        let seclude = |sandbox| sandbox::seclude(mounts, root, sandbox);
        return spec.sandbox.as_ref().map_or(Ok(()), seclude).map(|()| None);
    }
    guard::mount_points(root, &GUARDED)?;
    if !spec.isolation.net {
        host_files::bind(mounts, root)?;
    }
    if filesystem::is_borrowed_sys(spec) {
        host_files::bind_sys(mounts, root)?;
    }
    let bind = |sandbox| sandbox::bind(mounts, root, sandbox, users);
    spec.sandbox.as_ref().map(bind).transpose()
}

/// What is done to the container's first process from outside, while it waits.
fn settle(spec: &ContainerSpec, pid: i32) -> Result<(), Failure> {
    if spec.isolation.net {
        let what = "can't set the loopback interface of the container's network up (it takes CAP_NET_ADMIN)";
        linux::loopback_up(pid).map_err(|error| Failure::host(Stage::Build, what, &error))?;
    }
    Ok(())
}

fn not_in_cgroup(error: &crate::cgroups::Error) -> Failure {
    Failure::host(Stage::Cgroup, "can't put a process into the container's cgroup", error)
}

fn executor(
    spec: &ContainerSpec,
    identity: &Identity,
    report: OwnedFd,
    limits: Vec<rlimits::Wanted>,
) -> Result<Become, Failure> {
    let zero = |_| Failure::new(Stage::Prepare, FailureKind::Refused, "an argument holds a zero byte");
    let text = |text: String| CString::new(text).map_err(zero);
    let env =
        plan::environment(spec, identity).into_iter().map(|(name, value)| text(format!("{name}={value}")));
    let image = match spec.own_init {
        true => None,
        false => {
            let image = init::image();
            Some(Rc::new(image.map_err(|error| Failure::host(Stage::Prepare, "can't make PID 1", &error))?))
        }
    };
    let filtered = spec.isolation.seccomp && spec.isolation.no_new_privileges;
    Ok(Become {
        image,
        report: Rc::new(report),
        program: spec.program().unwrap_or_default().to_owned(),
        args: spec.argv.iter().cloned().map(text).collect::<Result<_, _>>()?,
        env: env.collect::<Result<_, _>>()?,
        cwd: spec.cwd.clone(),
        limits,
        filter: filtered.then(|| Rc::new(Filter::new(&spec.capabilities))),
    })
}

fn build(spec: &ContainerSpec, place: &Place, stdio: Stdio, executor: Become) -> Result<Container, Failure> {
    ContainerBuilder::new(spec.id.as_str().to_owned(), SyscallType::default())
        .with_root_path(&place.state)
        .and_then(ContainerBuilder::validate_id)
        .and_then(|builder| {
            builder
                .with_stdin(stdio.stdin)
                .with_stdout(stdio.stdout)
                .with_stderr(stdio.stderr)
                .with_executor(executor)
                .as_init(&place.bundle)
                .with_systemd(false)
                .as_sibling(true)
                .with_detach(true)
                .build()
        })
        .map_err(|error| build_failed(&chain(&error), spec))
}

fn build_failed(text: &str, spec: &ContainerSpec) -> Failure {
    find_mark(text).unwrap_or_else(|| {
        let hint = match spec.limits.pids_max {
            Some(few @ 0..LEAST_PIDS) => {
                format!(
                    "; the limit of {few} processes is too low for a container, give at least {LEAST_PIDS}"
                )
            }
            _ => String::new(),
        };
        let message = format!("can't isolate the container: {text}{hint} (more in its keeper.log)");
        Failure::new(Stage::Build, FailureKind::Host, message)
    })
}
