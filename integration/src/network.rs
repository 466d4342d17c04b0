//! A small network of test hosts: a network namespace for each, a switch between them, and lines that can be cut in
//! either direction.
//!
//! The machine's own network is not touched: hosts and switch are in namespaces of their own, which end with the
//! processes that hold them, even when a whole test run is killed. The test itself is on the first host.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::job::{Daemon, bound, done};
use crate::place::Place;
use crate::{OrFail, eventually};

/// The namespace of the thread that asks.
const OWN: &str = "/proc/thread-self/ns/net";
/// Packets of these senders are dropped.
const FAULTS: &str = "add table ip faults; add set ip faults cut { type ipv4_addr; }; \
     add chain ip faults input { type filter hook input priority 0; }; \
     add rule ip faults input ip saddr @cut drop";

/// So often a segment of TCP is sent again before its connection is given up: some ten seconds. Connections that were cut off
/// for a minute would else wait for most of another one before they try again.
const TRIES: u32 = 5;

/// What a test on such a network needs.
pub const PROGRAMS: [&str; 4] = ["ip", "nft", "nsenter", "unshare"];

/// A host of the network.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its address.
    pub ip: Ipv4Addr,
    namespace: PathBuf,
}

/// Hosts that reach each other, until they are cut off. All of it ends when this is dropped.
#[derive(Debug)]
pub struct Network {
    hosts: Vec<Host>,
    /// They only hold the namespaces.
    _holders: Vec<Daemon>,
    /// Where the test's thread came from.
    home: File,
    _place: Place,
}

impl Host {
    /// An address of it.
    pub fn socket(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.ip, port))
    }

    /// A command that runs on it: in its network, and else where the test is. (`ip netns exec` would mount a /sys
    /// without cgroups.)
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = bound("nsenter");
        command.arg(format!("--net={}", self.namespace.display())).arg("--").arg(program.as_ref());
        command
    }

    /// Takes the calling thread there, with all that it starts from now on.
    #[track_caller]
    pub fn enter(&self) {
        enter(&File::open(&self.namespace).or_fail("the namespace of a host"));
    }

    fn shell(&self, script: &str) {
        done(self.command("sh").args(["-ec", script]));
    }

    fn filter(&self, rules: &str) {
        done(self.command("nft").arg(rules));
    }
}

impl Network {
    /// So many hosts that reach each other, 250 at most. The thread that asks is on the first of them from now on,
    /// with all that it starts.
    #[track_caller]
    pub fn of(hosts: u8) -> Network {
        let place = Place::new();
        let home = File::open(OWN).or_fail(OWN);
        let mut holders: Vec<Daemon> = (0..=hosts).map(|_| hold(&place)).collect();
        let switch = Host { ip: Ipv4Addr::UNSPECIFIED, namespace: namespace(&holders[0]) };
        switch.shell("ip link add switch type bridge; ip link set switch up");
        let hosts = (1..=hosts).map(|number| {
            let host = Host {
                ip: Ipv4Addr::new(10, 213, 0, number),
                namespace: namespace(&holders[usize::from(number)]),
            };
            host.shell(&format!(
                "ip link set lo up; ip link add eth0 type veth peer name h{number} netns {}; \
                 ip address add {}/24 dev eth0; ip link set eth0 up; \
                 echo {TRIES} >/proc/sys/net/ipv4/tcp_retries2",
                holders[0].pid(),
                host.ip
            ));
            switch.shell(&format!("ip link set h{number} master switch up"));
            host.filter(FAULTS);
            host
        });
        let hosts: Vec<Host> = hosts.collect();
        hosts[0].enter();
        holders.iter_mut().for_each(|holder| assert!(holder.runs(), "{}", holder.log()));
        Network { hosts, _holders: holders, home, _place: place }
    }

    /// A host, the first of which is the test's own.
    pub fn host(&self, number: usize) -> Host {
        self.hosts[number].clone()
    }

    /// From now on nothing that `from` sends arrives at `to`; nobody is told.
    #[track_caller]
    pub fn drop_from(&self, from: &[Host], to: &[Host]) {
        let senders: Vec<String> = from.iter().map(|host| host.ip.to_string()).collect();
        // A list of none is no list to the filter.
        for host in to.iter().filter(|_| !senders.is_empty()) {
            host.filter(&format!("add element ip faults cut {{ {} }}", senders.join(", ")));
        }
    }

    /// From now on these reach those no more, nor those these.
    #[track_caller]
    pub fn part(&self, these: &[Host], those: &[Host]) {
        self.drop_from(these, those);
        self.drop_from(those, these);
    }

    /// Everybody reaches everybody again.
    #[track_caller]
    pub fn heal(&self) {
        self.hosts.iter().for_each(|host| host.filter("flush set ip faults cut"));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        enter(&self.home);
    }
}

/// A process that does nothing in a new namespace.
fn hold(place: &Place) -> Daemon {
    let own = fs::read_link(OWN).or_fail(OWN);
    let mut command = bound("unshare");
    command.args(["--net", "--", "sleep", "infinity"]);
    let mut holder = Daemon::start("the holder of a network", &mut command, &place.dir().join("holders.log"));
    let namespace = namespace(&holder);
    eventually("a network namespace", || {
        assert!(holder.runs(), "no network namespace can be made: {}", holder.log());
        fs::read_link(&namespace).is_ok_and(|now| now != own).then_some(())
    });
    holder
}

fn namespace(holder: &Daemon) -> PathBuf {
    PathBuf::from(format!("/proc/{}/ns/net", holder.pid()))
}

fn enter(namespace: &File) {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .or_fail("entering a network namespace");
}
