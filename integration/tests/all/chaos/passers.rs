//! Agents that pass by: one after another registers and leaves for good, so that whoever leads writes the registry all the
//! time. They offer nothing.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use integration::http2::{Connection, STREAM, message};
use prost::Message as _;
use wire::link::{FromAgent, PROTOCOL_VERSION, Register, Unregister};
use wire::v1::AgentInfo;

use super::town::Seen;

const ATTACH: &str = "/tepui.link.v1.AgentLink/Attach";
/// What their names begin with.
pub const PASSER: &str = "passer-";
/// How long a master may take to answer one.
const ANSWER: Duration = Duration::from_secs(1);
/// The number of one that only knocks; those of the others are lower.
pub const KNOCKER: u16 = 60_000;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(150);

/// They come until this is dropped.
pub struct Passers {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Passers {
    /// They go to whoever is seen to lead.
    pub fn by(leader: Seen) -> Passers {
        let ends = Arc::new(AtomicBool::new(false));
        let until = ends.clone();
        let thread = std::thread::spawn(move || {
            for number in (1..KNOCKER).cycle() {
                if until.load(Ordering::SeqCst) {
                    return;
                }
                if let Some(leader) = leader.get() {
                    // Whatever fails, the next one comes.
                    let _ = passes(leader, number);
                }
                std::thread::park_timeout(PAUSE);
            }
        });
        Passers { ends, thread: Some(thread) }
    }
}

impl Drop for Passers {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn passes(master: SocketAddr, number: u16) -> io::Result<()> {
    let mut connection = knocks(master, number)?;
    connection.message()?;
    connection.pour(&message(0, &FromAgent::from(Unregister {}).encode_to_vec()), false);
    connection.end()
}

/// Asks a master for admission, and doesn't wait for the answer.
pub fn knocks(master: SocketAddr, number: u16) -> io::Result<Connection> {
    let mut connection = Connection::on(TcpStream::connect_timeout(&master, ANSWER)?);
    connection.patience(ANSWER);
    connection.begin().call(STREAM, ATTACH);
    let name = format!("{PASSER}{number}");
    let agent = AgentInfo { hostname: name.clone(), port: Some(5051), ..AgentInfo::default() };
    let register = Register {
        version: "1.12.0".to_owned(),
        agent: Some(agent),
        // Nobody asks there.
        address: format!("192.0.2.1:{number}"),
        incarnation: name,
        protocol: PROTOCOL_VERSION,
        ..Register::default()
    };
    connection.pour(&message(0, &FromAgent::from(register).encode_to_vec()), false);
    Ok(connection)
}
