//! The system calls that PID 1 makes, on x86_64 and aarch64, without a C library.

use core::arch::{asm, global_asm};

#[cfg(target_arch = "x86_64")]
mod number {
    //! System call numbers of x86_64.
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const RT_SIGACTION: usize = 13;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const GETPID: usize = 39;
    pub const CLONE: usize = 56;
    pub const EXECVE: usize = 59;
    pub const WAIT4: usize = 61;
    pub const KILL: usize = 62;
    pub const FCNTL: usize = 72;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const PRCTL: usize = 157;
    pub const EXIT_GROUP: usize = 231;
    pub const FACCESSAT: usize = 269;
    pub const PIPE2: usize = 293;
    pub const CLOSE_RANGE: usize = 436;
}

#[cfg(target_arch = "aarch64")]
mod number {
    //! System call numbers of aarch64.
    pub const FCNTL: usize = 25;
    pub const FACCESSAT: usize = 48;
    pub const CLOSE: usize = 57;
    pub const PIPE2: usize = 59;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const EXIT_GROUP: usize = 94;
    pub const KILL: usize = 129;
    pub const RT_SIGACTION: usize = 134;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const PRCTL: usize = 167;
    pub const GETPID: usize = 172;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const WAIT4: usize = 260;
    pub const CLOSE_RANGE: usize = 436;
}

// The kernel enters with the stack pointer at argc and no return address: hand it over as the first argument.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor %ebp, %ebp",
    "mov %rsp, %rdi",
    "and $-16, %rsp",
    "call {begin}",
    "ud2",
    begin = sym super::begin,
    options(att_syntax)
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "bl {begin}",
    "brk #1",
    begin = sym super::begin,
);

/// A system call of up to five arguments.
///
/// # Safety
/// As the call itself: pointers must be valid for what it reads and writes.
#[cfg(target_arch = "x86_64")]
unsafe fn call(number: usize, args: [usize; 5]) -> isize {
    let result: isize;
    // SAFETY: the x86_64 convention; the kernel overwrites rcx and r11 only, memory as the caller allowed.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    result
}

/// A system call of up to five arguments.
///
/// # Safety
/// As the call itself: pointers must be valid for what it reads and writes.
#[cfg(target_arch = "aarch64")]
unsafe fn call(number: usize, args: [usize; 5]) -> isize {
    let result: isize;
    // SAFETY: the aarch64 convention; the kernel overwrites x0 only, memory as the caller allowed.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") args[0] => result,
            in("x1") args[1],
            in("x2") args[2],
            in("x3") args[3],
            in("x4") args[4],
            options(nostack)
        );
    }
    result
}

/// An error number of the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    pub const NOENT: Errno = Errno(2);
    pub const INTR: Errno = Errno(4);
    pub const ACCES: Errno = Errno(13);
    pub const NOTDIR: Errno = Errno(20);

    fn check(result: isize) -> Result<i32, Errno> {
        // Every value used here (descriptors, pids, lengths of a few bytes) fits 32 bits.
        let value = result as i32;
        if result < 0 { Err(Errno(-value)) } else { Ok(value) }
    }
}

/// The kernel's signal set: one bit per signal, 1 to 64.
const ALL_SIGNALS: u64 = u64::MAX;
const SIGNAL_SET_SIZE: usize = 8;
const LAST_SIGNAL: i32 = 64;

pub const SIGHUP: i32 = 1;
pub const SIGCHLD: i32 = 17;
const SIGKILL: i32 = 9;
const SIGSTOP: i32 = 19;

/// `si_code` of what the kernel itself sends, as a terminal's keys.
pub const SI_KERNEL: i32 = 0x80;

/// The start of the kernel's siginfo_t, padded to its 128 bytes.
#[repr(C, align(8))]
pub struct SignalInfo {
    pub number: i32,
    errno: i32,
    pub code: i32,
    padding: i32,
    /// The sending process, meaningful for signals that a process sent.
    pub sender: i32,
    rest: [i32; 27],
}

/// The kernel's struct sigaction; all zeros is the default action. (aarch64 has no restorer and reads less.)
#[repr(C)]
struct Action([u64; 4]);

pub fn exit(code: i32) -> ! {
    loop {
        // SAFETY: no pointers; the call doesn't return.
        unsafe { call(number::EXIT_GROUP, [word(code), 0, 0, 0, 0]) };
    }
}

pub fn getpid() -> i32 {
    // SAFETY: no pointers.
    (unsafe { call(number::GETPID, [0; 5]) }) as i32
}

/// Neither /proc/PID nor ptrace(2) opens this process to others of its user (CVE-2016-9962).
pub fn set_not_dumpable() {
    prctl(4, 0);
}

pub fn set_subreaper() {
    prctl(36, 1);
}

pub fn die_with_parent() {
    prctl(1, SIGKILL);
}

fn prctl(option: i32, argument: i32) {
    // SAFETY: the options used here take plain numbers.
    unsafe { call(number::PRCTL, [word(option), word(argument), 0, 0, 0]) };
}

pub fn block_all_signals() {
    set_mask(&ALL_SIGNALS);
}

pub fn unblock_all_signals() {
    set_mask(&0);
}

fn set_mask(mask: &u64) {
    const SIG_SETMASK: usize = 2;
    // SAFETY: the mask is read, SIGNAL_SET_SIZE bytes long; no old mask is asked for.
    unsafe { call(number::RT_SIGPROCMASK, [SIG_SETMASK, address(mask), 0, SIGNAL_SET_SIZE, 0]) };
}

/// execve(2) keeps ignored signals ignored, so what the agent or a shell above it ignored ends here.
pub fn default_all_signals() {
    let default = Action([0; 4]);
    for signal in 1..=LAST_SIGNAL {
        if signal != SIGKILL && signal != SIGSTOP {
            // SAFETY: the action is read and at least as long as either architecture's; no old one is asked for.
            unsafe { call(number::RT_SIGACTION, [word(signal), address(&default), 0, SIGNAL_SET_SIZE, 0]) };
        }
    }
}

/// Waits for any signal (all are blocked). None when the wait was interrupted, as by a stop and continue.
pub fn wait_signal() -> Option<SignalInfo> {
    let mut info = SignalInfo { number: 0, errno: 0, code: 0, padding: 0, sender: 0, rest: [0; 27] };
    // SAFETY: the set is read, the info (128 bytes) written, no time limit given.
    let result = unsafe {
        call(number::RT_SIGTIMEDWAIT, [address(&ALL_SIGNALS), address_mut(&mut info), 0, SIGNAL_SET_SIZE, 0])
    };
    Errno::check(result).ok().map(|_| info)
}

pub fn kill(pid: i32, signal: i32) {
    // SAFETY: no pointers. It fails only when the task has just ended, which the next turn of the loop sees.
    unsafe { call(number::KILL, [word(pid), word(signal), 0, 0, 0]) };
}

/// Closes everything from `first` up except `keep`, which is at least `first`.
pub fn close_from(first: i32, keep: i32) {
    if keep > first {
        close_range(first, keep - 1);
    }
    close_range(keep + 1, i32::MAX);
}

fn close_range(first: i32, last: i32) {
    /// What is closed one by one where a stricter seccomp profile denies close_range(2).
    const FALLBACK_LAST: i32 = 4096;
    // SAFETY: no pointers, and nothing in this process relies on the descriptors in between.
    let result = unsafe { call(number::CLOSE_RANGE, [word(first), word(last), 0, 0, 0]) };
    if result < 0 {
        let mut descriptor = first;
        while descriptor <= last && descriptor <= FALLBACK_LAST {
            close(descriptor);
            descriptor += 1;
        }
    }
}

pub fn close(descriptor: i32) {
    // SAFETY: no pointers.
    unsafe { call(number::CLOSE, [word(descriptor), 0, 0, 0, 0]) };
}

pub fn set_cloexec(descriptor: i32) {
    const F_SETFD: usize = 2;
    const FD_CLOEXEC: usize = 1;
    // SAFETY: no pointers.
    unsafe { call(number::FCNTL, [word(descriptor), F_SETFD, FD_CLOEXEC, 0, 0]) };
}

/// A pipe closed by exec: its reading and its writing end.
pub fn pipe() -> Result<(i32, i32), Errno> {
    const O_CLOEXEC: usize = 0o2_000_000;
    let mut ends = [0i32; 2];
    // SAFETY: two descriptors are written to `ends`.
    let result = unsafe { call(number::PIPE2, [address_mut(&mut ends), O_CLOEXEC, 0, 0, 0]) };
    Errno::check(result).map(|_| (ends[0], ends[1]))
}

/// fork(2): 0 in the child.
pub fn fork() -> Result<i32, Errno> {
    // SAFETY: no shared memory, no new stack, no thread ids: the child goes on with a copy of everything.
    let result = unsafe { call(number::CLONE, [word(SIGCHLD), 0, 0, 0, 0]) };
    Errno::check(result)
}

/// Returns only with an error.
pub fn execve(path: *const u8, args: *const *const u8, env: *const *const u8) -> Errno {
    // SAFETY: path is NUL-terminated, args and env are the kernel's own NULL-terminated arrays of such strings.
    let result = unsafe { call(number::EXECVE, [path.addr(), args.addr(), env.addr(), 0, 0]) };
    Errno(-(result as i32))
}

pub fn exists(path: *const u8) -> bool {
    const AT_FDCWD: i32 = -100;
    const F_OK: usize = 0;
    // SAFETY: path is NUL-terminated.
    (unsafe { call(number::FACCESSAT, [word(AT_FDCWD), path.addr(), F_OK, 0, 0]) }) == 0
}

/// One ended child and its raw wait status; pid 0 when none has ended, an error when there is none at all.
pub fn wait_any() -> Result<(i32, i32), Errno> {
    const WNOHANG: usize = 1;
    // Children made by clone(2) without SIGCHLD are reaped as well.
    const WALL: usize = 0x4000_0000;
    let mut status = 0i32;
    // SAFETY: the status is written, no resource usage asked for.
    let result = unsafe { call(number::WAIT4, [word(-1), address_mut(&mut status), WNOHANG | WALL, 0, 0]) };
    Errno::check(result).map(|pid| (pid, status))
}

/// Writes the words in one go; a pipe takes so few bytes whole or not at all.
pub fn write_words(descriptor: i32, words: &[u32]) {
    // SAFETY: the bytes of `words` are read.
    while unsafe { call(number::WRITE, [word(descriptor), words.as_ptr().addr(), size_of_val(words), 0, 0]) }
        == -(Errno::INTR.0 as isize)
    {}
}

/// Reads words written by [`write_words`]; 0 at the end of the stream.
pub fn read_words(descriptor: i32, words: &mut [u32]) -> isize {
    let (at, length) = (words.as_mut_ptr().addr(), size_of_val(words));
    loop {
        // SAFETY: at most the bytes of `words` are written.
        let got = unsafe { call(number::READ, [word(descriptor), at, length, 0, 0]) };
        if got != -(Errno::INTR.0 as isize) {
            return got;
        }
    }
}

/// A number as the kernel takes it: sign-extended to a register.
fn word(value: i32) -> usize {
    value as isize as usize
}

fn address<T>(value: &T) -> usize {
    core::ptr::from_ref(value).addr()
}

fn address_mut<T>(value: &mut T) -> usize {
    core::ptr::from_mut(value).addr()
}

/// The compiler calls these for copies and comparisons that it doesn't write out; there is no C library to have them.
mod memory {
    /// memcpy(3)
    ///
    /// # Safety
    /// As memcpy(3).
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
        let mut at = 0;
        while at < length {
            // SAFETY: both are valid for `length` bytes.
            unsafe { *to.add(at) = *from.add(at) };
            at += 1;
        }
        to
    }

    /// memset(3)
    ///
    /// # Safety
    /// As memset(3).
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(to: *mut u8, value: i32, length: usize) -> *mut u8 {
        let mut at = 0;
        while at < length {
            // SAFETY: `to` is valid for `length` bytes.
            unsafe { *to.add(at) = value as u8 };
            at += 1;
        }
        to
    }

    /// memcmp(3)
    ///
    /// # Safety
    /// As memcmp(3).
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, length: usize) -> i32 {
        let mut at = 0;
        while at < length {
            // SAFETY: both are valid for `length` bytes.
            let (left, right) = unsafe { (*one.add(at), *other.add(at)) };
            if left != right {
                return i32::from(left) - i32::from(right);
            }
            at += 1;
        }
        0
    }

    /// bcmp(3)
    ///
    /// # Safety
    /// As bcmp(3).
    #[unsafe(no_mangle)]
    unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, length: usize) -> i32 {
        // SAFETY: the caller's promise is the same.
        unsafe { memcmp(one, other, length) }
    }
}
