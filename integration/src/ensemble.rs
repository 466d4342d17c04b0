//! A real ZooKeeper ensemble: Debian's package, one Java process for each server, on an address of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use crate::job::{Daemon, bound};
use crate::network::Host;
use crate::place::Place;
use crate::zookeeper::{Client, Transaction, transactions};
use crate::{OrFail, within};

/// The program.
const JAR: &str = "/usr/share/java/zookeeper.jar";
const CONFIGURATION: &str = "/etc/zookeeper/conf";
/// Milliseconds. Sessions last from two to twenty of these.
const TICK: u32 = 500;
/// Milliseconds, at most, between two votes of a server that finds no majority. Its own is a minute: after a long loss of the
/// majority an ensemble may not serve for another minute.
const REMINDER: u32 = 2000;
/// How long an ensemble may take to find its leader.
const FORMING: Duration = Duration::from_secs(60);

/// Servers that form one ensemble. They end when this is dropped.
#[derive(Debug)]
pub struct Ensemble {
    servers: Vec<Option<Daemon>>,
    /// Where they are; none on the loopback.
    hosts: Vec<Host>,
    place: Place,
}

impl Ensemble {
    /// An ensemble of so many servers, three at most, with a leader among them.
    #[track_caller]
    pub fn start(servers: u16) -> Ensemble {
        assert!((1..=3).contains(&servers), "an address has ports for three servers");
        Ensemble::start_on(servers, Vec::new())
    }

    /// An ensemble with a server on each of the hosts.
    #[track_caller]
    pub fn on(hosts: Vec<Host>) -> Ensemble {
        Ensemble::start_on(u16::try_from(hosts.len()).or_fail("not too many hosts"), hosts)
    }

    #[track_caller]
    fn start_on(servers: u16, hosts: Vec<Host>) -> Ensemble {
        let mut ensemble = Ensemble { servers: Vec::new(), hosts, place: Place::new() };
        for server in 0..servers {
            ensemble.servers.push(None);
            let dir = ensemble.dir(server);
            fs::create_dir_all(&dir).or_fail(dir.display());
            fs::write(dir.join("myid"), format!("{}\n", server + 1)).or_fail("writing myid");
            fs::write(dir.join("zoo.cfg"), ensemble.configuration(server, servers))
                .or_fail("writing zoo.cfg");
        }
        (0..servers).for_each(|server| ensemble.resume(server));
        ensemble.wait();
        ensemble
    }

    fn dir(&self, server: u16) -> PathBuf {
        self.place.dir().join(format!("zk{}", server + 1))
    }

    fn configuration(&self, server: u16, servers: u16) -> String {
        let mut text = format!(
            "tickTime={TICK}\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort={}\nclientPortAddress={}\n\
             admin.enableServer=false\n4lw.commands.whitelist=*\nmaxClientCnxns=0\nforceSync=no\n",
            self.dir(server).display(),
            self.address(server).port(),
            self.address(server).ip(),
        );
        if servers > 1 {
            for peer in 0..servers {
                let (quorum, election) = self.between(peer);
                text += &format!("server.{}={quorum}:{}\n", peer + 1, election.port());
            }
        }
        text
    }

    /// Where servers speak to each other.
    fn between(&self, server: u16) -> (SocketAddr, SocketAddr) {
        match self.hosts.get(usize::from(server)) {
            Some(host) => (host.socket(2888), host.socket(3888)),
            None => (self.place.socket(3 + server), self.place.socket(6 + server)),
        }
    }

    /// Where a server answers clients.
    pub fn address(&self, server: u16) -> SocketAddr {
        match self.hosts.get(usize::from(server)) {
            Some(host) => host.socket(2181),
            None => self.place.socket(server),
        }
    }

    /// `zk://…` of all servers with that path.
    pub fn url(&self, path: &str) -> String {
        format!("zk://{}{path}", self.connect_string())
    }

    /// `host:port,…` of all servers.
    pub fn connect_string(&self) -> String {
        let all = (0..u16::try_from(self.servers.len()).unwrap_or(0)).map(|n| self.address(n).to_string());
        all.collect::<Vec<_>>().join(",")
    }

    /// Ends a server at once, as a crash does.
    pub fn kill(&mut self, server: u16) {
        self.servers[usize::from(server)] = None;
    }

    /// Starts a server that was ended; what it had written is there.
    #[track_caller]
    pub fn resume(&mut self, server: u16) {
        let dir = self.dir(server);
        let host = self.hosts.get(usize::from(server));
        let mut command = host.map_or_else(|| bound("java"), |host| host.command("java"));
        command.args(["-Xmx192m", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]);
        command.arg(format!("{CONFIGURATION}:{JAR}"));
        command.arg(format!("-Dzookeeper.fastleader.maxNotificationInterval={REMINDER}"));
        command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(dir.join("zoo.cfg"));
        let daemon = Daemon::start("zookeeper", &mut command, &dir.join("log"));
        self.servers[usize::from(server)] = Some(daemon);
    }

    /// Stops a server's process, or lets it go on.
    pub fn signal(&self, server: u16, with: Signal) {
        if let Some(daemon) = &self.servers[usize::from(server)] {
            daemon.signal(with);
        }
    }

    /// Waits until all servers that run serve clients.
    #[track_caller]
    pub fn wait(&self) {
        for server in 0..self.servers.len() {
            let server_number = u16::try_from(server).unwrap_or(0);
            if self.servers[server].is_some() {
                within(FORMING, format!("server {} of the ensemble serves", server + 1), || {
                    self.mode(server_number)
                });
            }
        }
    }

    /// What a server is: `leader`, `follower` or `standalone`; none while it doesn't serve.
    pub fn mode(&self, server: u16) -> Option<String> {
        let answer = self.ask(server, "srvr")?;
        Some(answer.lines().find_map(|line| line.strip_prefix("Mode: "))?.to_owned())
    }

    /// The server that leads the ensemble.
    #[track_caller]
    pub fn leader(&self) -> u16 {
        let all = 0..u16::try_from(self.servers.len()).unwrap_or(0);
        within(FORMING, "a server leads the ensemble", || {
            all.clone().find(|server| self.mode(*server).is_some_and(|mode| mode != "follower"))
        })
    }

    /// Does something with a session at the first server that lets it.
    ///
    /// # Errors
    /// What the last one answered.
    pub fn by_hand<T>(&self, mut work: impl FnMut(&mut Client) -> io::Result<T>) -> io::Result<T> {
        let mut last = Err(io::Error::other("an ensemble without servers"));
        for server in 0..self.servers.len() {
            let address = self.address(u16::try_from(server).map_err(io::Error::other)?);
            last = Client::connect(address).and_then(|mut client| work(&mut client));
            if last.is_ok() {
                break;
            }
        }
        last
    }

    /// All that was ever written: what a majority of the servers has on its disks. One alone may have a gap, where it was
    /// given a snapshot, and what was never accepted.
    #[track_caller]
    pub fn history(&self) -> Vec<Transaction> {
        let mut all: BTreeMap<i64, (usize, Transaction)> = BTreeMap::new();
        for server in 0..self.servers.len() {
            let dir = self.dir(u16::try_from(server).or_fail("a server's number"));
            for done in transactions(&dir).or_fail(dir.display()) {
                all.entry(done.zxid).or_insert((0, done)).0 += 1;
            }
        }
        let enough = self.servers.len() / 2;
        all.into_values().filter(|(disks, _)| *disks > enough).map(|(_, done)| done).collect()
    }

    /// A server's answer to a word of four letters.
    fn ask(&self, server: u16, word: &str) -> Option<String> {
        let limit = Some(Duration::from_secs(2));
        let mut stream = TcpStream::connect(self.address(server)).ok()?;
        stream.set_read_timeout(limit).ok()?;
        stream.write_all(word.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer).filter(|answer| answer.contains("Mode: "))
    }
}
