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
    /// Every container has a user namespace of its own.
    pub(crate) users: bool,
    /// Names that only hosts with v1 controllers know.
    pub(crate) only_v1: Vec<&'static str>,
}

/// Reads the list.
///
/// # Errors
/// Mesos: a name that comes twice or that nobody knows stops the agent.
pub(crate) fn parse(text: &str) -> Result<Isolators, String> {
    let mut all = Isolators { runtime: nothing(), disk: false, users: false, only_v1: Vec::new() };
    let mut seen = BTreeSet::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if !seen.insert(name) {
            return Err(format!("'{name}' comes twice"));
        }
        match name {
            "disk/du" | "posix/disk" => all.disk = true,
            "namespaces/user" => all.users = true,
            name => add(&mut all.runtime, name)?,
        }
        if name == "cgroups/blkio" {
            all.only_v1.push("cgroups/blkio");
        }
    }
    if seen.is_empty() {
        return Err("expected a list such as cgroups,namespaces".to_owned());
    }
    let own = &all.runtime;
    if all.users && !(own.pid && own.ipc && own.uts && own.cgroup) {
        return Err(
            "'namespaces/user' needs the other namespaces as well: namespaces,namespaces/user".to_owned()
        );
    }
    Ok(all)
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
        let only = |runtime| Ok(Isolators { runtime, disk: false, users: false, only_v1: Vec::new() });
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
        let disk = |disk| Ok(Isolators { runtime: nothing(), disk, users: false, only_v1: Vec::new() });
        assert_eq!(parse("posix/cpu,posix/mem"), disk(false));
        assert_eq!(parse("disk/du"), disk(true));
        assert_eq!(parse("posix/disk"), disk(true));
    }

    #[test]
    fn users_are_isolated_together_with_all_else() {
        let all = parse("cgroups,namespaces/user,namespaces").unwrap();
        assert!(all.users && all.runtime == parse("cgroups,namespaces").unwrap().runtime);
        assert!(
            parse("namespaces/pid,namespaces/ipc,namespaces/uts,namespaces/cgroup,namespaces/user").is_ok()
        );
        for text in ["cgroups,namespaces/user", "namespaces/pid,namespaces/user"] {
            assert!(parse(text).unwrap_err().contains("needs the other namespaces"), "{text}");
        }
    }

    #[test]
    fn the_name_of_v1_is_remembered() {
        let of = |text| parse(text).unwrap();
        assert_eq!(of("cgroups/blkio").runtime, of("cgroups/io").runtime);
        assert_eq!((of("cgroups/blkio").only_v1, of("cgroups/io").only_v1), (vec!["cgroups/blkio"], vec![]));
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
