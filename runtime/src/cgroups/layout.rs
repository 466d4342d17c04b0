//! Which cgroup hierarchies the host has mounted, and what each is used for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Error, files};
use crate::spec::Controller;

/// Where cgroups are mounted by everybody's agreement.
const MOUNT_ROOT: &str = "/sys/fs/cgroup";

/// The controllers that v1 mounts name in their options (anything else there is a mount option).
const V1_CONTROLLERS: [&str; 14] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "net_cls",
    "net_prio",
    "hugetlb",
    "perf_event",
    "rdma",
    "misc",
];

/// The host's cgroup hierarchies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The cgroup2 mount: everything on a pure v2 host, on a hybrid one what tracks and kills.
    pub(super) unified: PathBuf,
    /// The v1 mounts of a hybrid host; empty on a pure v2 host.
    pub(super) v1: Vec<V1Mount>,
}

/// One v1 hierarchy: a mount with one controller, or several (as `cpu,cpuacct`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct V1Mount {
    pub(super) path: PathBuf,
    pub(super) controllers: Vec<String>,
}

impl Layout {
    /// The layout of this host.
    ///
    /// # Errors
    /// As [`Layout::detect`], or when `/proc/self/mountinfo` can't be read.
    pub fn host() -> Result<Self, Error> {
        let path = Path::new("/proc/self/mountinfo");
        let mountinfo = files::read(path)?;
        Self::detect(Path::new(MOUNT_ROOT), &mountinfo)
    }

    /// Reads the layout off `mountinfo` (the text of `/proc/self/mountinfo`), looking at mounts at and below `root`.
    ///
    /// # Errors
    /// [`Error::NotMounted`] without any hierarchy, [`Error::OnlyV1`] without the cgroup2 one: there is nothing
    /// then that could end a container reliably.
    pub fn detect(root: &Path, mountinfo: &str) -> Result<Self, Error> {
        let mounts = visible_mounts(root, mountinfo);
        let unified = mounts.iter().find(|mount| mount.kind == "cgroup2").map(|mount| mount.point.clone());
        let v1: Vec<V1Mount> = mounts.iter().filter_map(V1Mount::of).collect();
        match unified {
            // A cgroup2 mount at the root itself is a pure v2 host, whatever else is mounted below it.
            Some(unified) if unified == root => Ok(Self { unified, v1: Vec::new() }),
            Some(unified) => Ok(Self { unified, v1 }),
            None if v1.is_empty() => Err(Error::NotMounted { root: root.to_owned() }),
            None => Err(Error::OnlyV1 { root: root.to_owned() }),
        }
    }

    /// Whether limits go through v1 controllers.
    #[must_use]
    pub fn is_hybrid(&self) -> bool {
        !self.v1.is_empty()
    }

    /// What an operator should know about a hybrid host, once at the start of the agent.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.is_hybrid().then(|| {
            format!(
                "this host has hybrid cgroups: limits go through the v1 controllers, {} only tracks and kills. \
                 Requested memory becomes a soft limit, and out of memory ends one process of a container instead \
                 of all. Boot with cgroup_no_v1=all (systemd.unified_cgroup_hierarchy=1) for pure cgroup v2",
                self.unified.display()
            )
        })
    }

    /// Which of `wanted` this host can't give.
    ///
    /// # Errors
    /// When the list of v2 controllers can't be read.
    pub fn lacking(&self, wanted: &BTreeSet<Controller>) -> Result<Vec<Controller>, Error> {
        let v2 = self.v2_controllers()?;
        let given = |controller: &Controller| match controller {
            // On v2 a BPF program; it needs no controller.
            Controller::Devices => true,
            other if self.is_hybrid() => v1_names(*other).iter().all(|name| self.v1_mount(name).is_some()),
            other => v2.iter().any(|name| name == other.as_str()),
        };
        Ok(wanted.iter().filter(|controller| !given(controller)).copied().collect())
    }

    /// The mount of a v1 controller.
    pub(super) fn v1_mount(&self, controller: &str) -> Option<&Path> {
        let holds = |mount: &&V1Mount| mount.controllers.iter().any(|name| name == controller);
        self.v1.iter().find(holds).map(|mount| mount.path.as_path())
    }

    /// The controllers that the root of the cgroup2 mount offers.
    pub(super) fn v2_controllers(&self) -> Result<Vec<String>, Error> {
        let offered = files::read(&self.unified.join("cgroup.controllers"))?;
        Ok(offered.split_whitespace().map(str::to_owned).collect())
    }
}

/// What a controller is called in v1, where the time used is accounted apart.
pub(super) fn v1_names(controller: Controller) -> &'static [&'static str] {
    match controller {
        Controller::Cpu => &["cpu", "cpuacct"],
        Controller::Memory => &["memory"],
        Controller::Pids => &["pids"],
        Controller::Cpuset => &["cpuset"],
        Controller::Io => &["blkio"],
        Controller::Hugetlb => &["hugetlb"],
        Controller::Devices => &["devices"],
    }
}

impl V1Mount {
    fn of(mount: &Mount) -> Option<Self> {
        if mount.kind != "cgroup" {
            return None;
        }
        let known = |name: &&str| V1_CONTROLLERS.contains(name);
        let controllers: Vec<String> = mount.options.split(',').filter(known).map(str::to_owned).collect();
        // A named hierarchy (name=systemd) has no controller: nothing of ours lives there.
        (!controllers.is_empty()).then(|| Self { path: mount.point.clone(), controllers })
    }
}

struct Mount {
    point: PathBuf,
    kind: String,
    options: String,
}

/// The cgroup mounts at and below `root` that no later mount hides.
fn visible_mounts(root: &Path, mountinfo: &str) -> Vec<Mount> {
    let mut visible: Vec<Mount> = Vec::new();
    for mount in mountinfo.lines().filter_map(parse).filter(|mount| mount.point.starts_with(root)) {
        visible.retain(|earlier| !earlier.point.starts_with(&mount.point));
        visible.push(mount);
    }
    visible.retain(|mount| mount.kind == "cgroup" || mount.kind == "cgroup2");
    visible
}

/// One line: `id parent dev root point options [tags] - kind source super-options`.
fn parse(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let point = before.split(' ').nth(4)?;
    let mut after = after.split(' ');
    let kind = after.next()?.to_owned();
    let options = after.nth(1).unwrap_or_default().to_owned();
    Some(Mount { point: unescape(point), kind, options })
}

/// The kernel writes space, tab, newline and backslash of a path as three octal digits.
fn unescape(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        match octal {
            Some(digits) if *first == b'\\' => {
                let value = digits.iter().fold(0u16, |value, digit| value * 8 + u16::from(digit - b'0'));
                bytes.push(u8::try_from(value).unwrap_or(b'?'));
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:4 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
50 23 0:40 / /elsewhere rw - cgroup cgroup rw,freezer
";
    const PURE: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

    fn detect(mountinfo: &str) -> Result<Layout, Error> {
        Layout::detect(Path::new(MOUNT_ROOT), mountinfo)
    }

    #[test]
    fn a_hybrid_host_has_v1_controllers_and_a_unified_tree() {
        let layout = detect(HYBRID).unwrap();
        assert!(layout.is_hybrid());
        assert_eq!(layout.unified, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(layout.v1_mount("cpuacct"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(layout.v1_mount("freezer"), None, "mounted elsewhere");
        assert_eq!(layout.v1.len(), 3, "the named hierarchy holds nothing of ours");
        assert!(layout.warning().unwrap().contains("cgroup_no_v1=all"));
    }

    #[test]
    fn a_pure_v2_host_has_nothing_to_warn_of() {
        let layout = detect(PURE).unwrap();
        assert!(!layout.is_hybrid());
        assert_eq!(layout.warning(), None);
    }

    #[test]
    fn v1_alone_and_nothing_at_all_are_refused_with_a_remedy() {
        let only_v1: String = HYBRID
            .lines()
            .filter(|line| !line.contains("cgroup2"))
            .fold(String::new(), |text, line| text + line + "\n");
        let error = detect(&only_v1).unwrap_err();
        assert!(
            matches!(error, Error::OnlyV1 { .. }) && error.to_string().contains("mount -t cgroup2"),
            "{error}"
        );
        let error = detect("").unwrap_err();
        assert!(matches!(error, Error::NotMounted { .. }), "{error}");
    }

    #[test]
    fn a_later_mount_hides_what_is_below_it() {
        let layout = detect(&format!("{HYBRID}{PURE}")).unwrap();
        assert!(!layout.is_hybrid());
        assert_eq!(layout.unified, Path::new("/sys/fs/cgroup"));
    }

    #[test]
    fn escaped_mount_points_are_read() {
        assert_eq!(unescape(r"/a\040b\134c"), Path::new(r"/a b\c"));
        assert_eq!(unescape(r"/a\04"), Path::new(r"/a\04"));
    }

    #[test]
    fn broken_lines_are_passed_over() {
        for text in ["- ", "1 2 3", "1 2 3 4 /sys/fs/cgroup - ", "\u{0} - \u{0}"] {
            let _ = detect(text);
        }
    }
}
