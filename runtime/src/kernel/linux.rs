//! Linux itself: what std and rustix don't offer, each call wrapped so that callers stay safe.
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

mod mounts;
mod network;
mod users;

/// `clone3`: the child is born in the cgroup of `clone_args.cgroup`.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

pub(crate) use mounts::Linux;
pub(crate) use network::loopback_up;

/// Which side of a fork this is.
pub(crate) enum Fork {
    Parent,
    Child,
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Gives every signal its default action and unblocks all. A disposition that our parent ignored
/// (a shell: SIGQUIT; Rust's runtime: SIGPIPE) would otherwise reach the container.
pub(crate) fn reset_signals() -> io::Result<()> {
    // SAFETY: sigaction is plain data for which all zeroes mean SIG_DFL without flags.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: `default` outlives the call and no handler is installed. SIGKILL, SIGSTOP and the
        // two signals that libc keeps for itself answer EINVAL, which is what we want.
        unsafe { libc::sigaction(signal, &raw const default, std::ptr::null_mut()) };
    }
    // SAFETY: as above, an all-zero set is empty.
    let empty: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `empty` outlives the call.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const empty, std::ptr::null_mut()) })?;
    Ok(())
}

/// Ignores what could end the keeper by mistake and turns SIGTERM and SIGCHLD into a readable descriptor.
pub(crate) fn watch_signals() -> io::Result<OwnedFd> {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGPIPE, libc::SIGUSR1, libc::SIGUSR2] {
        // SAFETY: SIG_IGN runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // SAFETY: an all-zero set is empty, and the set outlives the calls that read and change it.
    let set = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        set
    };
    // SAFETY: `set` outlives the call.
    let fd = check(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) })?;
    // SAFETY: signalfd gave us a descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Splits the process. Only before any thread exists.
pub(crate) fn fork() -> io::Result<Fork> {
    // SAFETY: the keeper has one thread, so the child may use all of it.
    match check(unsafe { libc::fork() })? {
        0 => Ok(Fork::Child),
        _ => Ok(Fork::Parent),
    }
}

/// Splits the process; the child is born in a cgroup of the v2 tree, which spares the wait that moving
/// a living process costs. The parent gets the child's pid. Only while there is one thread.
pub(crate) fn fork_into(cgroup: BorrowedFd<'_>) -> io::Result<Option<libc::pid_t>> {
    // SAFETY: all zeroes are the defaults of clone_args.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = CLONE_INTO_CGROUP;
    args.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    args.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    // SAFETY: without a new stack and without shared memory this is a fork; the caller has one thread, so
    // the child may use all of it. `args` outlives the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    match pid {
        0 => Ok(None),
        pid if pid > 0 => libc::pid_t::try_from(pid).map(Some).map_err(io::Error::other),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ends this process when its parent does.
pub(crate) fn die_with_parent(parent: libc::pid_t) -> io::Result<()> {
    // SAFETY: prctl with plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
    // SAFETY: getppid has no preconditions.
    if unsafe { libc::getppid() } == parent { Ok(()) } else { Err(io::Error::other("the keeper is gone")) }
}

/// Takes over an inherited descriptor under a number of at least `lowest`, close-on-exec.
pub(crate) fn adopt(inherited: RawFd, lowest: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC touches no memory; a number that is not open answers EBADF.
    let fd = check(unsafe { libc::fcntl(inherited, libc::F_DUPFD_CLOEXEC, lowest) })?;
    // SAFETY: the duplicate is new, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes every descriptor from `first` on, but for `kept`, which is in order. Only before anything else
/// was opened.
pub(crate) fn close_all_but(first: RawFd, kept: &[RawFd]) -> io::Result<()> {
    let mut from = first;
    for &fd in kept {
        close_range(from, fd - 1)?;
        from = fd + 1;
    }
    close_range(from, RawFd::MAX)
}

fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    if last < first {
        return Ok(());
    }
    // SAFETY: the caller owns nothing in the range yet, so no owner is left with a dead descriptor.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, first.unsigned_abs(), last.unsigned_abs(), 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Closes descriptors that a clone of the keeper inherited but must not hold. Only in a process that ends
/// by `execve` or exit without running the destructors of the descriptors' owners.
pub(crate) fn close_in_clone(fds: &[RawFd]) {
    for &fd in fds {
        // SAFETY: the owners lie in frames of the original process, which this clone never returns to.
        unsafe { libc::close(fd) };
    }
}

/// Puts `source` on descriptor 0, 1 or 2, which every process has.
pub(crate) fn replace_stdio(source: BorrowedFd<'_>, target: RawFd) -> io::Result<()> {
    debug_assert!((0..3).contains(&target));
    // SAFETY: numbers 0 to 2 are never owned by an OwnedFd of ours.
    check(unsafe { libc::dup2(source.as_raw_fd(), target) })?;
    Ok(())
}

/// Empties the environment. Only before any thread exists.
pub(crate) fn clear_environment() {
    // SAFETY: one thread, and nothing holds a pointer into the environment.
    unsafe { libc::clearenv() };
}

/// Keeps the allocator to one arena that gives memory back early.
pub(crate) fn limit_allocator() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt only sets parameters of the allocator.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TOP_PAD, 16 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 << 10);
    }
}

/// Gives freed memory back to the kernel.
pub(crate) fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim touches only free memory.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The name that `ps` shows.
pub(crate) fn set_process_name(name: &CStr) {
    // SAFETY: the kernel copies at most 16 bytes of a terminated string.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Major and minor of a release such as `6.1.0-18-cloud-amd64`; what can't be read counts as 0.
pub(crate) fn kernel_version(release: &str) -> (u32, u32) {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}
