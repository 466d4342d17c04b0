//! Puts a thread ahead of others that are not as urgent.

use std::io;

/// Lets the calling thread run as soon as it has something to do, before every thread of the host that has no real-time policy
/// (SCHED_RR with the lowest priority). Threads and processes that it starts are ordinary ones.
///
/// # Errors
/// This process may not (it needs CAP_SYS_NICE or a limit of RLIMIT_RTPRIO); nothing is changed then.
pub fn go_first() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: 0 is the calling thread; the kernel copies the parameters and keeps no pointer to them.
    let done = unsafe {
        libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &raw const parameters)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Real-time priority and policy of the calling thread (proc(5), fields 40 and 41 of `stat`).
    fn policy() -> (u32, u32) {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        (fields[37].parse().unwrap(), fields[38].parse().unwrap())
    }

    #[test]
    fn only_the_thread_that_asks_goes_first() {
        let (first, started) = std::thread::spawn(|| {
            let first = go_first().map(|()| policy());
            (first, std::thread::spawn(policy).join().unwrap())
        })
        .join()
        .unwrap();
        match first {
            Ok(policy) => assert_eq!(policy, (1, 2)),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
        assert_eq!(started, (0, 0));
        assert_eq!(policy(), (0, 0));
    }
}
