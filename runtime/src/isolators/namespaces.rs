//! Which namespaces a container has of its own.
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType};

use super::{Draft, Request};
use crate::ending::Failure;

pub(crate) fn prepare(request: &Request<'_>, draft: &mut Draft) -> Result<(), Failure> {
    let isolation = &request.spec.isolation;
    let wanted = [
        (LinuxNamespaceType::User, request.spec.user_namespace.is_some()),
        (LinuxNamespaceType::Mount, true),
        (LinuxNamespaceType::Pid, isolation.pid),
        (LinuxNamespaceType::Ipc, isolation.ipc),
        (LinuxNamespaceType::Uts, isolation.uts),
        (LinuxNamespaceType::Cgroup, isolation.cgroup),
        (LinuxNamespaceType::Network, isolation.net),
    ];
    for (kind, _) in wanted.into_iter().filter(|(_, on)| *on) {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind);
        draft.namespaces.push(namespace);
    }
    // A mount of the message queues belongs to the IPC namespace it is made in.
    if !isolation.ipc {
        draft.mounts.retain(|mount| mount.typ().as_deref() != Some("mqueue"));
    }
    // Without a namespace of its own the mount would show the whole tree.
    if !isolation.cgroup {
        draft.mounts.retain(|mount| mount.typ().as_deref() != Some("cgroup2"));
        draft.masked.push("/sys/fs/cgroup".to_owned());
    }
    Ok(())
}
