//! The keeper: one process per container, which starts it, keeps it and buries it.
//!
//! It is single-threaded, a child subreaper, in a session of its own, below no service of its caller,
//! and small. In order it
//! 1. takes over its descriptors, forks away from its caller, resets signals ([`job`]);
//! 2. opens its socket ([`clients`]), makes the cgroups, starts the [`builder`], which mounts, checks and
//!    calls libcontainer;
//! 3. waits, obeys and kills ([`watch`]);
//! 4. writes the record, removes all, reports, ends ([`finish`]).
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::exit;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cgroups::{Cgroups, Layout};
use crate::config::Folder;
use crate::ending::{Ending, Failure, Stage, chain};
use crate::isolators::devices::Policy;
use crate::kernel::linux::{self, Fork};
use crate::liveness;
use crate::protocol::Report;

mod builder;
mod clients;
mod executor;
mod finish;
mod guard;
mod host_files;
pub(crate) mod job;
mod log;
mod output;
mod rootfs;
mod rotate;
mod sandbox;
pub(crate) mod user;
mod userns;
mod verdict;
mod watch;

use clients::Clients;
use job::{Inherited, Job};
use watch::Watch;

/// How long a slow caller is waited for at the very end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs as the keeper of one container and never returns. Call it first thing in `main`, before any
/// thread exists, when the program was started by [`crate::Runtime::launch`].
pub fn supervise_main() -> ! {
    linux::limit_allocator();
    linux::clear_environment();
    let prepared = linux::reset_signals().and_then(|()| Inherited::take());
    let inherited = match prepared {
        Ok(inherited) => inherited,
        Err(error) => {
            eprintln!("supervise is started by `tepui agent` with its job on descriptor 0: {error}");
            exit(2);
        }
    };
    match rustix::process::setsid().map_err(io::Error::from).and_then(|_| linux::fork()) {
        Ok(Fork::Child) => exit(keep(inherited)),
        Ok(Fork::Parent) => exit(0),
        Err(_) => exit(1),
    }
}

fn keep(inherited: Inherited) -> i32 {
    let (job, caller, log) = match inherited.read() {
        Ok(read) => read,
        Err((error, caller)) => {
            let failure = Failure::host(Stage::Prepare, "the keeper can't read its job", &error);
            Clients::new(caller).announce(&Report::Failed(failure));
            return 1;
        }
    };
    let claimed = liveness::claim(&log);
    log::start(log);
    if let Err(error) = claimed {
        tracing::error!(%error, "a later caller will take this keeper for dead");
    }
    settle();
    let folder = job.config.folder(&job.spec.id);
    let mut clients = Clients::new(caller);
    let ending = contain(job, &folder, &mut clients);
    clients.announce(&match ending {
        Ending::Exited(record) => Report::Exited(record),
        Ending::Failed(failure) => Report::Failed(failure),
    });
    clients.finish(LAST_WORDS);
    0
}

/// What a keeper is, apart from its container.
fn settle() {
    linux::set_process_name(c"tepui-keeper");
    // What is private says so itself; mount points in the image must stay passable for its users.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        tracing::warn!(%error, "orphans of the container won't be reaped here");
    }
    if let Err(error) = std::env::set_current_dir("/") {
        tracing::warn!(%error, "can't go to /");
    }
}

/// From the job to the ending, with everything removed again.
fn contain(job: Job, folder: &Folder, clients: &mut Clients) -> Ending {
    let prepared = clients
        .listen(&folder.join(Folder::SOCKET))
        .map_err(|error| Failure::host(Stage::Prepare, "the keeper can't open its socket", &error))
        .and_then(|()| finish::reserve(folder))
        .and_then(|()| make_cgroups(&job));
    match prepared {
        Ok((layout, cgroups)) => {
            let ending = keep_running(job, &layout, &cgroups, clients).unwrap_or_else(Ending::Failed);
            finish::finish(ending, folder, Some(&cgroups))
        }
        Err(failure) => finish::finish(Ending::Failed(failure), folder, None),
    }
}

/// The container's cgroups, with limits and device filter in force before any process is in.
fn make_cgroups(job: &Job) -> Result<(Layout, Cgroups), Failure> {
    let failed = |what: &str, error: crate::cgroups::Error| Failure::host(Stage::Cgroup, what, &error);
    let layout = Layout::host().map_err(|error| failed("can't find out about cgroups", error))?;
    let (root, spec) = (&job.config.cgroups_root, &job.spec);
    let made = Cgroups::create(&layout, root, &spec.id, &spec.limits, &spec.isolation, &Policy::standard());
    let cgroups = made.map_err(|error| failed("can't make the container's cgroups", error))?;
    Ok((layout, cgroups))
}

fn keep_running(
    job: Job,
    layout: &Layout,
    cgroups: &Cgroups,
    clients: &mut Clients,
) -> Result<Ending, Failure> {
    let signals = linux::watch_signals()
        .map_err(|error| Failure::host(Stage::Prepare, "the keeper can't watch for signals", &error))?;
    let mut foreign = clients.numbers();
    foreign.push(signals.as_raw_fd());
    let builder = builder::spawn(&job, cgroups, &foreign)?;
    let root = job.config.cgroups_root.clone();
    let later = Box::new(move || settle_later(layout, &root));
    let watch = Watch::new(builder, cgroups, clients, &signals, &job.spec, later);
    // Whatever the spec holds (a large environment) is not kept for the container's life.
    drop(job);
    Ok(watch.run())
}

/// What can wait until the container had its start: a command that ends at once never pays for it.
fn settle_later(layout: &Layout, cgroups_root: &str) {
    if let Err(error) = layout.settle_keeper(cgroups_root) {
        tracing::warn!(error = chain(&error), "the keeper stays in the cgroup of its caller");
    }
    // A kernel short of memory should rather take the container than its keeper; where lowering is
    // not allowed it stays as it is.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-900");
    linux::trim_memory();
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Calls `act` with a short path for `path`, through a descriptor of its folder: the address of a
/// socket holds 107 bytes, a container's folder may be longer.
pub(crate) fn through_folder<T>(path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, rustix::fs::Mode::empty())?;
    act(&Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))
}
