//! What the agent needs to know of its host: the address others reach, a name for it, and a work folder of its own.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::AgentError;

/// How long the name service may take to confirm a name.
const LOOKUP: Duration = Duration::from_secs(2);
/// Mode of the work folder: tasks that are not root go through it to their sandboxes, but see no names.
const WORK_DIR: u32 = 0o711;

/// The address that others reach when all are listened on: the one from which this host would reach them.
pub(super) fn reachable(bound: IpAddr) -> IpAddr {
    if !bound.is_unspecified() {
        return bound;
    }
    // Connecting a UDP socket sends nothing. The addresses are those for documentation.
    let (from, to): (IpAddr, IpAddr) = match bound {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        IpAddr::V6(_) => {
            (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into())
        }
    };
    let found = UdpSocket::bind((from, 0)).and_then(|socket| {
        socket.connect((to, 9))?;
        socket.local_addr()
    });
    match (found, bound) {
        (Ok(address), _) if !address.ip().is_unspecified() => address.ip(),
        (_, IpAddr::V4(_)) => Ipv4Addr::LOCALHOST.into(),
        (_, IpAddr::V6(_)) => Ipv6Addr::LOCALHOST.into(),
    }
}

/// A name that is known to mean this address: this machine's own, or `localhost`.
pub(super) async fn name_of(ip: IpAddr) -> Option<String> {
    let name = if ip.is_loopback() {
        "localhost".to_owned()
    } else {
        tokio::fs::read_to_string("/proc/sys/kernel/hostname").await.ok()?.trim().to_owned()
    };
    let lookup = tokio::net::lookup_host((name.as_str(), 0));
    let known = tokio::time::timeout(LOOKUP, lookup).await.ok()?.ok()?.any(|address| address.ip() == ip);
    known.then_some(name)
}

/// Makes the work folder and takes it for this process, until the file is dropped.
pub(super) fn take_work_dir(work_dir: &Path) -> Result<File, AgentError> {
    let failed = |operation, path: &Path, source: io::Error| AgentError::Folder {
        operation,
        path: path.to_owned(),
        source,
    };
    let meta = work_dir.join("meta");
    make(work_dir, WORK_DIR).map_err(|e| failed("make", work_dir, e))?;
    make(&meta, 0o700).map_err(|e| failed("make", &meta, e))?;
    let provisioner = work_dir.join("provisioner");
    make(&provisioner, 0o700).map_err(|e| failed("make", &provisioner, e))?;
    let path = meta.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|e| failed("open", &path, e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(AgentError::InUse(work_dir.to_owned())),
        Err(error) => Err(failed("lock", &path, error.into())),
    }
}

/// A folder of this mode, whatever the umask or an earlier run said.
fn make(folder: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(folder)?;
    if fs::metadata(folder)?.permissions().mode() & 0o7777 != mode {
        fs::set_permissions(folder, Permissions::from_mode(mode))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_dir_has_one_agent_and_closed_doors() {
        let dir = tempfile::tempdir().unwrap();
        let work_dir = dir.path().join("work");
        let taken = take_work_dir(&work_dir).unwrap();
        let message = take_work_dir(&work_dir).unwrap_err().to_string();
        assert!(message.contains("in use by another agent"), "{message}");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&work_dir), 0o711);
        assert_eq!(mode(&work_dir.join("meta")), 0o700);
        drop(taken);
        take_work_dir(&work_dir).unwrap();
    }

    #[tokio::test]
    async fn the_loopback_is_localhost() {
        assert_eq!(name_of(Ipv4Addr::LOCALHOST.into()).await.as_deref(), Some("localhost"));
        assert_eq!(reachable(Ipv4Addr::LOCALHOST.into()), Ipv4Addr::LOCALHOST);
        assert!(!reachable(Ipv4Addr::UNSPECIFIED.into()).is_unspecified());
    }
}
