//! `--isolation`: from Mesos' names of isolators to what the runtime isolates.

use std::collections::BTreeSet;

use runtime::{Controller, Isolation};

/// Isolators of Mesos that this agent does not have.
const UNSUPPORTED: &[&str] = &[
    "appc/runtime",
    "cgroups/net_cls",
    "cgroups/net_prio",
    "cgroups/perf_event",
    "disk/xfs",
    "docker/volume",
    "environment_secret",
    "filesystem/posix",
    "filesystem/shared",
    "gpu/nvidia",
    "linux/devices",
    "namespaces/user",
    "network/cni",
    "network/port_mapping",
    "network/ports",
    "volume/csi",
    "volume/host_path",
    "volume/image",
    "volume/sandbox_path",
    "volume/secret",
];

/// What the names of a list come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Isolators {
    /// What the runtime isolates.
    pub(crate) runtime: Isolation,
    /// The agent watches how much disk a task uses. Mesos: `disk/du`, formerly `posix/disk`.
    pub(crate) disk: bool,
}

/// Reads the list.
///
/// # Errors
/// Mesos: a name that comes twice or that nobody knows stops the agent.
pub(crate) fn parse(text: &str) -> Result<Isolators, String> {
    let mut isolation = nothing();
    let mut disk = false;
    let mut seen = BTreeSet::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if !seen.insert(name) {
            return Err(format!("'{name}' comes twice"));
        }
        match name {
            "disk/du" | "posix/disk" => disk = true,
            name => add(&mut isolation, name)?,
        }
    }
    if seen.is_empty() {
        return Err("expected a list such as cgroups,namespaces".to_owned());
    }
    Ok(Isolators { runtime: isolation, disk })
}

/// A mount namespace is always there.
fn nothing() -> Isolation {
    Isolation {
        controllers: BTreeSet::new(),
        pid: false,
        ipc: false,
        uts: false,
        cgroup: false,
        net: false,
        seccomp: false,
        capabilities: false,
        no_new_privileges: false,
    }
}

fn add(isolation: &mut Isolation, name: &str) -> Result<(), String> {
    let controller = |c| BTreeSet::from([c]);
    let controllers = match name {
        // More than Mesos' `cgroups`, which is cpu and memory only. Huge pages, which nothing limits yet and many
        // kernels lack, have to be named.
        "cgroups" => {
            harden(isolation);
            let mut usual = BTreeSet::from(Controller::ALL);
            usual.remove(&Controller::Hugetlb);
            usual
        }
        "namespaces" => {
            harden(isolation);
            (isolation.pid, isolation.ipc, isolation.uts, isolation.cgroup) = (true, true, true, true);
            BTreeSet::new()
        }
        "cgroups/all" => Controller::ALL.into(),
        "cgroups/cpu" => controller(Controller::Cpu),
        "cgroups/mem" => controller(Controller::Memory),
        "cgroups/pids" => controller(Controller::Pids),
        "cgroups/cpuset" => controller(Controller::Cpuset),
        "cgroups/io" | "cgroups/blkio" => controller(Controller::Io),
        "cgroups/hugetlb" => controller(Controller::Hugetlb),
        "cgroups/devices" => controller(Controller::Devices),
        other => {
            switch(isolation, other)?;
            BTreeSet::new()
        }
    };
    isolation.controllers.extend(controllers);
    Ok(())
}

fn switch(isolation: &mut Isolation, name: &str) -> Result<(), String> {
    match name {
        "namespaces/pid" => isolation.pid = true,
        "namespaces/ipc" => isolation.ipc = true,
        "namespaces/uts" => isolation.uts = true,
        "namespaces/cgroup" => isolation.cgroup = true,
        "namespaces/net" => isolation.net = true,
        "linux/seccomp" => isolation.seccomp = true,
        "linux/capabilities" => isolation.capabilities = true,
        "linux/nnp" => isolation.no_new_privileges = true,
        // There whether named or not; posix/* limit nothing in Mesos either.
        "filesystem/linux" | "namespaces/mnt" | "docker/runtime" | "posix/rlimits" | "posix/cpu"
        | "posix/mem" | "process" => {}
        _ if UNSUPPORTED.contains(&name) => return Err(format!("'{name}' is not supported yet")),
        _ => return Err(format!("'{name}' is no isolator; see --help for the names")),
    }
    Ok(())
}

/// What `cgroups` and `namespaces` bring along.
fn harden(isolation: &mut Isolation) {
    (isolation.seccomp, isolation.capabilities, isolation.no_new_privileges) = (true, true, true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_everything_but_a_network() {
        let mut usual = Isolation::default();
        usual.controllers.remove(&Controller::Hugetlb);
        let only = |runtime| Ok(Isolators { runtime, disk: false });
        assert_eq!(parse("cgroups,namespaces"), only(usual.clone()));
        let with_net = Isolation { net: true, ..usual };
        assert_eq!(parse(" namespaces, cgroups ,namespaces/net"), only(with_net));
    }

    #[test]
    fn single_names_bring_only_themselves() {
        let isolation =
            parse("cgroups/cpu,cgroups/mem,namespaces/pid,docker/runtime,filesystem/linux").unwrap();
        let isolation = isolation.runtime;
        assert_eq!(isolation.controllers, BTreeSet::from([Controller::Cpu, Controller::Memory]));
        assert!(isolation.pid && !isolation.ipc && !isolation.seccomp && !isolation.no_new_privileges);
        let disk = |disk| Ok(Isolators { runtime: nothing(), disk });
        assert_eq!(parse("posix/cpu,posix/mem"), disk(false));
        assert_eq!(parse("disk/du"), disk(true));
        assert_eq!(parse("posix/disk"), disk(true));
    }

    #[test]
    fn unusable_lists_are_refused() {
        for (text, why) in [
            ("", "expected a list such as cgroups,namespaces"),
            ("cgroups,cgroups", "'cgroups' comes twice"),
            ("cgroup", "'cgroup' is no isolator; see --help for the names"),
            ("disk/xfs", "'disk/xfs' is not supported yet"),
        ] {
            assert_eq!(parse(text).unwrap_err(), why, "{text}");
        }
    }
}
