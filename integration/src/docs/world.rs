//! The hosts of a page: namespaces of their own, one network, and a registry in place of Docker Hub.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::cluster::binary;
use crate::images::busybox;
use crate::job::bound;
use crate::leftovers::Scope;
use crate::place::Place;
use crate::{OrFail, eventually};

use super::repository;
use super::shell::Shell;

/// Where the registry in place of Docker Hub listens.
const HUB: &str = "127.0.0.1:5999";
/// What a page says instead. Only at Docker Hub do short names stand for `library/…`.
const DOCKER_HUB: &str = "registry-1.docker.io/library";
/// The cgroup of `tepui dev` as a page has it.
const DEV_CGROUP: &str = "tepui-dev-5051";

/// Makes a fresh machine of new namespaces: its own files in /etc, /var/lib and /run, its own addresses, a
/// registry when it is the first. Then it is a shell.
const SETUP: &str = r#"set -e
dir=$1 name=$2 layout=$3
mkdir -p "$dir"/{etc,lib}.{upper,work} "$dir"/{tepui,home,run}
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$dir/etc.upper,workdir=$dir/etc.work" /etc
mount -t overlay overlay -o "lowerdir=/var/lib,upperdir=$dir/lib.upper,workdir=$dir/lib.work" /var/lib
rm -rf /etc/mesos* /var/lib/mesos* /var/lib/docker-registry
mkdir -p /var/lib/tepui
mount --bind "$dir/tepui" /var/lib/tepui
mount -t tmpfs tmpfs /run
hostname "$name"
echo "$name" >/etc/hostname
echo "127.0.0.1 localhost" >/etc/hosts
if [ -n "$layout" ]; then
    ip link set lo up
    for n in 1 2 3 4; do ip address add "10.0.0.$n/24" dev lo; done
    docker-registry serve "$dir/hub.yml" >"$dir/hub.log" 2>&1 &
    until : <>/dev/tcp/127.0.0.1/5999; do sleep 0.05; done 2>/dev/null
    skopeo copy --quiet --dest-tls-verify=false "oci:$layout:latest" "docker://127.0.0.1:5999/busybox"
fi
cd "$dir/home"
export HOME=$dir/home
touch "$dir/ready"
exec bash --noprofile --norc -m
"#;

/// All hosts of one page.
pub(super) struct World {
    place: Place,
    /// The process of the first host, whose network the others share.
    first: Option<u32>,
    hosts: Vec<String>,
}

impl World {
    pub(super) fn new() -> World {
        let place = Place::new();
        busybox().write(&place.dir().join("layout"));
        World { place, first: None, hosts: Vec::new() }
    }

    /// A new host of that name.
    #[track_caller]
    pub(super) fn host(&mut self, name: &str) -> Shell {
        let name = if name.is_empty() { "host" } else { name };
        let dir = self.place.dir().join(name);
        fs::create_dir(&dir).or_fail(dir.display());
        fs::write(dir.join("hub.yml"), self.hub()).or_fail("the registry's configuration");
        // Only the first has to set up what is the network's.
        let layout = self.place.dir().join("layout");
        let layout = if self.first.is_none() { layout } else { PathBuf::new() };
        let mut command = self.fresh_machine();
        command.args(["bash", "--noprofile", "--norc", "-c", SETUP, "bash"]);
        command.arg(&dir).arg(name).arg(layout).env("TEPUI_CGROUPS_ROOT", self.cgroups_root(name));
        let shell = Shell::start(&mut command, &dir.join("shell"));
        self.first.get_or_insert(shell.pid());
        self.hosts.push(name.to_owned());
        eventually(format!("the host {name} is ready, see {}", dir.display()), || {
            dir.join("ready").exists().then_some(())
        });
        shell
    }

    /// What runs a command in new namespaces, but for the network of the hosts before.
    fn fresh_machine(&self) -> Command {
        let mut command = match self.first {
            None => bound("unshare"),
            Some(_) => bound("nsenter"),
        };
        match self.first {
            None => command.arg("--net"),
            Some(pid) => command.arg(format!("--net=/proc/{pid}/ns/net")).arg("unshare"),
        };
        command.args(["--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.arg("--propagation=private").current_dir(repository());
        let programs = binary().parent().or_fail("the program's folder").to_owned();
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", programs.display())).env("TEPUI_DOCKER_REGISTRY", HUB);
        command.envs([("LC_ALL", "C.UTF-8"), ("TZ", "UTC")]).env_remove("RUST_LOG");
        command
    }

    fn hub(&self) -> String {
        let storage = self.place.dir().join("hub");
        format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{HUB}'}}\n",
            storage.display()
        )
    }

    fn cgroups_root(&self, host: &str) -> String {
        format!("{}-{host}", self.place.name())
    }

    /// A page's command as it is run.
    pub(super) fn command(&self, command: &str) -> String {
        command.replace(DEV_CGROUP, &self.cgroups_root("host")).replace(DOCKER_HUB, HUB)
    }

    /// Output as a page shows it.
    pub(super) fn shown(&self, output: &str) -> String {
        output.replace(&self.cgroups_root("host"), DEV_CGROUP).replace(HUB, DOCKER_HUB)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for host in &self.hosts {
            Scope {
                cgroups_root: self.cgroups_root(host),
                dir: self.place.dir().to_owned(),
                folders: Vec::<PathBuf>::new(),
                stay: Vec::new(),
                known: Vec::new(),
                eyes: None,
            }
            .clear();
        }
    }
}
