//! The two programs that the kernel runs for us: device filters of cgroups by bpf(2), seccomp filters by seccomp(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One instruction of the kernel's virtual machine, as the kernel lays it out.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Class, operation and operand kind.
    pub code: u8,
    /// Destination register in the low half, source register in the high half.
    pub registers: u8,
    /// Jump distance or offset into memory.
    pub offset: i16,
    /// Constant operand.
    pub immediate: i32,
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
/// Programs of cgroups above and below count as well: each of them must allow.
const BPF_F_ALLOW_MULTI: u32 = 2;

/// The start of the kernel's `union bpf_attr` for loading; what is left out is zero.
#[repr(C)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface_index: u32,
    expected_attach_type: u32,
}

/// The start of the kernel's `union bpf_attr` for attaching.
#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

/// Loads a device filter (BPF_PROG_TYPE_CGROUP_DEVICE). Needs CAP_BPF or CAP_SYS_ADMIN, but no CAP_SYS_RESOURCE:
/// Linux 5.11 and later charge programs to the memory cgroup, not to RLIMIT_MEMLOCK.
///
/// # Errors
/// What bpf(2) said; EINVAL or EACCES when the kernel's verifier refused the program.
pub fn load_device_program(program: &[Instruction]) -> io::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let mut name = [0u8; 16];
    name[..13].copy_from_slice(b"tepui_devices");
    let attributes = LoadAttributes {
        program_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(program.len())
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
        kernel_version: 0,
        flags: 0,
        name,
        interface_index: 0,
        expected_attach_type: BPF_CGROUP_DEVICE,
    };
    let fd = call(BPF_PROG_LOAD, &attributes)?;
    // SAFETY: the kernel has just made this descriptor for us (it always is close-on-exec), nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a loaded device filter to a cgroup of the v2 tree, where it stays as long as the cgroup does.
///
/// # Errors
/// What bpf(2) said.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = AttachAttributes {
        target: cgroup.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        attach_type: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    call(BPF_PROG_ATTACH, &attributes).map(|_| ())
}

fn call<T>(command: libc::c_int, attributes: &T) -> io::Result<i32> {
    // SAFETY: `attributes` is a `#[repr(C)]` prefix of the kernel's union with its true size; the pointers in it
    // (instructions, license) outlive the call, and the kernel only reads.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}

/// Puts the calling thread under a seccomp filter, for good.
///
/// # Errors
/// What seccomp(2) said: EACCES without no_new_privs and CAP_SYS_ADMIN, EINVAL when the program was refused.
pub fn load_seccomp_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    const SECCOMP_SET_MODE_FILTER: libc::c_ulong = 1;
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // The kernel only reads through the pointer.
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: `program` names its true length, and lives until the call is over.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
