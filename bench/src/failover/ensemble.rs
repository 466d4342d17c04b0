//! A real ensemble of three ZooKeeper servers on the loopback, which writes to the disk before it answers, as an
//! ensemble of its own does.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::cluster::{Process, free_port, wait_until};

const SERVERS: usize = 3;
/// Debian's package.
const JAR: &str = "/usr/share/java/zookeeper.jar";
const CONFIGURATION: &str = "/etc/zookeeper/conf";
/// Milliseconds. Sessions last from two to twenty of these.
const TICK: u32 = 1000;

/// Fails with what to install, if something is missing.
pub fn check_installed() -> Result<()> {
    let needed =
        [("/usr/bin/java", "default-jre-headless"), (JAR, "zookeeper"), (CONFIGURATION, "zookeeper")];
    for (file, package) in needed {
        if !Path::new(file).exists() {
            bail!("{file} is missing; install it with: apt-get install {package} (or scripts/deps.sh bench)");
        }
    }
    Ok(())
}

/// Three servers, which end with this.
pub struct Ensemble {
    ports: Vec<u16>,
    _servers: Vec<Process>,
}

impl Ensemble {
    /// Starts them and waits until all of them serve.
    pub fn start(dir: &Path) -> Result<Ensemble> {
        let ports = || (0..SERVERS).map(|_| free_port()).collect::<Result<Vec<u16>>>();
        let (clients, quorum, election) = (ports()?, ports()?, ports()?);
        let peers = quorum.iter().zip(&election).enumerate();
        let peers: String =
            peers.map(|(n, (q, e))| format!("server.{}=127.0.0.1:{q}:{e}\n", n + 1)).collect();
        let mut servers = Vec::new();
        for (number, port) in clients.iter().enumerate() {
            let dir = dir.join(format!("zookeeper{}", number + 1));
            fs::create_dir_all(&dir)?;
            fs::write(dir.join("myid"), format!("{}\n", number + 1))?;
            fs::write(dir.join("zoo.cfg"), configuration(&dir, *port) + &peers)?;
            servers.push(start(&dir)?);
        }
        for port in &clients {
            wait_until(&format!("the ZooKeeper server on port {port} to serve"), || serves(*port))?;
        }
        Ok(Ensemble { ports: clients, _servers: servers })
    }

    /// `zk://…` of all servers, with that path.
    pub fn url(&self, path: &str) -> String {
        let servers: Vec<String> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("zk://{}{path}", servers.join(","))
    }

    /// `zk://…` of one server of them.
    pub fn url_of_one(&self, path: &str) -> String {
        format!("zk://127.0.0.1:{}{path}", self.ports[0])
    }
}

fn configuration(dir: &Path, port: u16) -> String {
    format!(
        "tickTime={TICK}\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n\
         admin.enableServer=false\n4lw.commands.whitelist=srvr\nmaxClientCnxns=0\n",
        dir.display()
    )
}

fn start(dir: &Path) -> Result<Process> {
    let mut command = Command::new("java");
    command.args(["-Xmx256m", "-XX:+UseSerialGC", "-cp", &format!("{CONFIGURATION}:{JAR}")]);
    command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(dir.join("zoo.cfg"));
    Process::start(&mut command, &dir.join("log"))
}

/// Whether a server has found its place in the ensemble.
fn serves(port: u16) -> bool {
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"srvr")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    asked().is_ok_and(|answer| answer.contains("Mode: "))
}
