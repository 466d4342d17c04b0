//! What the host offers, asked once at the start.
use std::fmt;
use std::fs;
use std::path::Path;

use crate::cgroups::{Error as CgroupError, Layout};
use crate::config::RuntimeConfig;
use crate::ending::chain;
use crate::kernel::linux::kernel_version;
use crate::launch::Runtime;
use crate::spec::Isolation;

/// Oldest kernel: `cgroup.kill` came with it; pidfd, openat2 and mount_setattr are older.
const OLDEST_KERNEL: (u32, u32) = (5, 14);

/// A probed host.
#[derive(Clone, Debug)]
pub struct Host {
    /// Version of the kernel, major and minor.
    pub kernel: (u32, u32),
    /// Where the cgroups are.
    pub layout: Layout,
    /// What was wanted and can't be had, by name, with the remedy. Isolation goes on without it,
    /// unless the caller makes these errors.
    pub missing: Vec<Missing>,
    /// What works in another way than on a plain cgroup v2 host.
    pub warnings: Vec<String>,
}

impl Host {
    /// Why no container can have a user namespace of its own here, if so.
    #[must_use]
    pub fn missing_users(&self) -> Option<Missing> {
        missing_users(Path::new("/proc"))
    }
}

/// One thing that the host can't give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name as in `--isolation`.
    pub name: String,
    /// Why it can't be had.
    pub why: String,
    /// What the operator can do.
    pub remedy: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not to be had: {}; {}", self.name, self.why, self.remedy)
    }
}

/// Why no container at all can run here.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The kernel is too old.
    #[error("Linux {release} is too old: containers need {major}.{minor} or newer (cgroup.kill, pidfd, openat2, mount_setattr)", major = OLDEST_KERNEL.0, minor = OLDEST_KERNEL.1)]
    Kernel {
        /// As uname says.
        release: String,
    },
    /// Not root.
    #[error("containers need root: start the agent as root")]
    NotRoot,
    /// No cgroups.
    #[error("the host's cgroups can't be used")]
    Cgroups(#[source] CgroupError),
}

impl Runtime {
    /// Finds out what the host offers of what is wanted.
    ///
    /// # Errors
    /// [`ProbeError`] when no container could run.
    pub fn probe(_: &RuntimeConfig, wanted: &Isolation) -> Result<Host, ProbeError> {
        let uname = rustix::system::uname();
        let release = uname.release().to_string_lossy().into_owned();
        let kernel = kernel_version(&release);
        if kernel < OLDEST_KERNEL {
            return Err(ProbeError::Kernel { release });
        }
        if !rustix::process::geteuid().is_root() {
            return Err(ProbeError::NotRoot);
        }
        let layout = Layout::host().map_err(ProbeError::Cgroups)?;
        let mut missing = missing_controllers(&layout, wanted)?;
        missing.extend(missing_namespaces(wanted, Path::new("/proc/self/ns")));
        missing.extend(missing_features(wanted));
        let warnings = layout.warning().into_iter().chain(absent_features(Path::new("/proc"))).collect();
        Ok(Host { kernel, layout, missing, warnings })
    }
}

fn missing_controllers(layout: &Layout, wanted: &Isolation) -> Result<Vec<Missing>, ProbeError> {
    let lacking = layout.lacking(&wanted.controllers).map_err(ProbeError::Cgroups)?;
    let missing = lacking.into_iter().map(|controller| Missing {
        name: format!("cgroups/{}", controller.as_str()),
        why: format!("the kernel offers no {} controller here", controller.as_str()),
        remedy: "leave it out of --isolation, or enable it (kernel configuration, cgroup_disable= on the \
                 kernel's command line, delegation by systemd)"
            .to_owned(),
    });
    Ok(missing.collect())
}

fn missing_namespaces(wanted: &Isolation, folder: &Path) -> Vec<Missing> {
    let all = [
        ("mnt", true),
        ("pid", wanted.pid),
        ("ipc", wanted.ipc),
        ("uts", wanted.uts),
        ("cgroup", wanted.cgroup),
        ("net", wanted.net),
    ];
    let absent = all.into_iter().filter(|(name, on)| *on && !folder.join(name).exists());
    let missing = absent.map(|(name, _)| Missing {
        name: format!("namespaces/{name}"),
        why: format!("the kernel was built without {name} namespaces"),
        remedy: "use a kernel that has them".to_owned(),
    });
    missing.collect()
}

/// What no container is given unless it asks for it, or only figures depend on: said once, refused by name when asked.
fn absent_features(proc: &Path) -> Vec<String> {
    let mut absent = Vec::new();
    if let Some(missing) = missing_users(proc) {
        absent.push(format!("{}: containers that ask for a user namespace are refused", missing.why));
    }
    if !proc.join("pressure/memory").exists() {
        absent.push(
            "the kernel has no pressure stall information (CONFIG_PSI, psi=1 on its command line): its figures are left out"
                .to_owned(),
        );
    }
    absent
}

fn missing_users(proc: &Path) -> Option<Missing> {
    let most = fs::read_to_string(proc.join("sys/user/max_user_namespaces")).unwrap_or_default();
    let (why, remedy) = if !proc.join("self/ns/user").exists() {
        ("the kernel was built without user namespaces", "use a kernel that has CONFIG_USER_NS")
    } else if most.trim() == "0" {
        ("the sysctl user.max_user_namespaces is 0", "set it to some thousands")
    } else {
        return None;
    };
    Some(Missing { name: "namespaces/user".to_owned(), why: why.to_owned(), remedy: remedy.to_owned() })
}

fn missing_features(wanted: &Isolation) -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut miss = |name: &str, why: String, remedy: &str| {
        missing.push(Missing { name: name.to_owned(), why, remedy: remedy.to_owned() });
    };
    if wanted.seccomp && !Path::new("/proc/sys/kernel/seccomp/actions_avail").exists() {
        miss(
            "linux/seccomp",
            "the kernel was built without it".to_owned(),
            "use a kernel that has CONFIG_SECCOMP_FILTER",
        );
    }
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !filesystems.lines().any(|line| line.split_whitespace().last() == Some("overlay")) {
        miss(
            "filesystem/linux (overlay)",
            "the kernel has no overlayfs".to_owned(),
            "load the module: modprobe overlay",
        );
    }
    if let Err(error) = crate::init::image() {
        miss("namespaces/pid (init)", chain(&error), "set the sysctl vm.memfd_noexec to 0 or 1");
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions() {
        assert_eq!(kernel_version("6.1.0-18-cloud-amd64"), (6, 1));
        assert_eq!(kernel_version("5.14"), (5, 14));
        assert_eq!(kernel_version("6.18.44-fc-v595"), (6, 18));
        assert!(kernel_version("odd") < OLDEST_KERNEL);
    }

    #[test]
    fn what_only_some_containers_need_is_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let absent = absent_features(dir.path());
        assert!(absent[0].contains("user namespaces") && absent[1].contains("CONFIG_PSI"), "{absent:?}");
        put("self/ns/user", "");
        put("sys/user/max_user_namespaces", "0\n");
        put("pressure/memory", "");
        let absent = absent_features(dir.path());
        assert!(matches!(&absent[..], [one] if one.contains("max_user_namespaces")), "{absent:?}");
        put("sys/user/max_user_namespaces", "96365\n");
        assert!(absent_features(dir.path()).is_empty());
    }

    #[test]
    fn a_namespace_that_is_not_there_is_named_only_when_wanted() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["mnt", "pid", "ipc", "uts"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let names: Vec<_> =
            missing_namespaces(&Isolation::default(), dir.path()).into_iter().map(|m| m.name).collect();
        assert_eq!(names, ["namespaces/cgroup"]);
    }
}
