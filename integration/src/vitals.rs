//! How a process is: whether it answers, how much memory and how many descriptors it has.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::client::get;
use crate::eventually::{PATIENCE, within};
use crate::leftovers::descriptors;
use crate::{Cluster, OrFail};

/// How soon a good request is answered while bad ones are there; machines of tests are slow.
pub const SOON: Duration = Duration::from_secs(5);

/// Master and agent run and answer, soon.
#[track_caller]
pub fn well(cluster: &mut Cluster) {
    assert!(cluster.master_process().runs() && cluster.agent_process().runs());
    for to in [cluster.master(), cluster.agent()] {
        let start = Instant::now();
        get(to, "/health").expect(200);
        get(to, "/state").expect(200);
        assert!(start.elapsed() < SOON, "{to} took {:?}", start.elapsed());
    }
}

/// Resident memory of a process in MB.
#[track_caller]
pub fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).or_fail("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).or_fail("VmRSS");
    let kb: u64 = line.trim().trim_end_matches(" kB").trim().parse().or_fail("a number");
    kb / 1024
}

/// Waits until a process has no more descriptors than it had; some come and go.
#[track_caller]
pub fn has_let_go(pid: u32, before: usize) {
    within(PATIENCE, format!("{pid} has at most {before} descriptors and a few"), || {
        (descriptors(pid) <= before + 8).then_some(())
    });
}

/// Asks for something and reads no byte of the answer.
#[track_caller]
pub fn deaf(to: SocketAddr, method: &str, path: &str, kind: &str, body: &str) -> TcpStream {
    let mut socket = TcpStream::connect_timeout(&to, PATIENCE).or_fail("connecting");
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4 << 10).or_fail("a small buffer");
    let length = body.len();
    write!(
        socket,
        "{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nAccept: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .or_fail("a request");
    socket
}
