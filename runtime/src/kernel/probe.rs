//! For tests: makes raw system calls in forked children under a seccomp filter and tells what came of each.

use std::io::{Read, Write};

/// By which door a system call enters the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// The machine's own calls.
    Native,
    /// 32-bit x86 calls from a 64-bit program (`int 0x80`).
    #[cfg(target_arch = "x86_64")]
    Int80,
}

/// What a system call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// What it returned: a value, or a negative error number.
    Returned(i64),
    /// The process was ended by this signal.
    Killed(i32),
}

/// Makes the call in a forked child that first gets no_new_privs and then what `load` loads (whether it could).
pub(crate) fn probe(load: &dyn Fn() -> bool, door: Door, number: i64, args: [u64; 5]) -> Outcome {
    let (mut results, mut result) = std::io::pipe().expect("a pipe");
    // SAFETY: the child runs only what follows, and leaves by _exit.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        drop(results);
        // SAFETY: no memory is involved.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        let value = if load() { call(door, number, args) } else { i64::MIN };
        let _ = result.write_all(&value.to_ne_bytes());
        // SAFETY: leaves the child without running the test harness' exit code.
        unsafe { libc::_exit(0) };
    }
    drop(result);
    let mut bytes = [0u8; 8];
    let answered = results.read_exact(&mut bytes).is_ok();
    let mut status = 0;
    // SAFETY: the status is written to a variable of ours.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    if answered {
        let value = i64::from_ne_bytes(bytes);
        assert_ne!(value, i64::MIN, "the filter could not be loaded");
        return Outcome::Returned(value);
    }
    assert!(libc::WIFSIGNALED(status), "the child vanished with status {status:#x}");
    Outcome::Killed(libc::WTERMSIG(status))
}

fn call(door: Door, number: i64, args: [u64; 5]) -> i64 {
    match door {
        // SAFETY: the tests pass numbers and null pointers, so nothing of this process is read or written.
        Door::Native => unsafe { native(number, args) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above; the 32-bit table takes the lower halves.
        Door::Int80 => unsafe { int80(number, args) },
    }
}

/// # Safety
/// As the system call itself.
unsafe fn native(number: i64, args: [u64; 5]) -> i64 {
    // SAFETY: the caller's promise.
    let result = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3], args[4]) };
    if result == -1 {
        -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    } else {
        result
    }
}

/// # Safety
/// As the system call itself.
#[cfg(target_arch = "x86_64")]
unsafe fn int80(number: i64, args: [u64; 5]) -> i64 {
    let result: i64;
    // SAFETY: the caller's promise; rbx is saved around the call because the compiler keeps it for itself, and
    // entering by int 0x80 clears r8 to r11 on older kernels.
    unsafe {
        std::arch::asm!(
            "push rbx",
            "mov rbx, {first}",
            "int 0x80",
            "pop rbx",
            first = in(reg) args[0],
            inlateout("rax") number => result,
            in("rcx") args[1],
            in("rdx") args[2],
            in("rsi") args[3],
            in("rdi") args[4],
            lateout("r8") _,
            lateout("r9") _,
            lateout("r10") _,
            lateout("r11") _,
        );
    }
    // A 32-bit answer.
    i64::from(result as i32)
}
