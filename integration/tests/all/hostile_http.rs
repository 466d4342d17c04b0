//! What no client should send, to the real master and agent: bytes that are no HTTP, bodies that are no messages, peers
//! that are slow or don't read. The processes stay up, answer others meanwhile, and keep nothing of it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use integration::client::JSON;
use integration::eventually::PATIENCE;
use integration::leftovers::descriptors;
use integration::scheduler::PATH;
use integration::task::{framework, shell, task};
use integration::vitals::{deaf, has_let_go, memory, well};
use integration::{Cluster, OrFail, eventually, needs};
use serde_json::json;

/// Sends bytes as they are, says that no more will come, and reads what is said until the connection is closed.
#[track_caller]
pub fn talk(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    said(to, bytes, true)
}

/// The same without the end, for what the other side closes after its answer.
#[track_caller]
fn ask(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    said(to, bytes, false)
}

#[track_caller]
fn said(to: SocketAddr, bytes: &[u8], ends: bool) -> Vec<u8> {
    let mut socket = TcpStream::connect_timeout(&to, PATIENCE).or_fail("connecting");
    socket.set_read_timeout(Some(PATIENCE)).or_fail("a timeout");
    socket.set_write_timeout(Some(PATIENCE)).or_fail("a timeout");
    // The other side may have heard enough in the midst of it.
    let _ = socket.write_all(bytes);
    if ends {
        let _ = socket.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    match socket.read_to_end(&mut answer) {
        Ok(_) => answer,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => answer,
        Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(80)])),
    }
}

/// Code of an answer, if there is one.
pub fn code(answer: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(answer.get(..12)?).ok()?;
    text.strip_prefix("HTTP/1.1 ").or(text.strip_prefix("HTTP/1.0 "))?.parse().ok()
}

/// Heads that are no requests.
fn broken() -> Vec<Vec<u8>> {
    let long = |n: usize| "x".repeat(n);
    let mut all: Vec<Vec<u8>> = [
        "\r\n\r\n",
        "GET\r\n\r\n",
        "GET /state\r\n\r\n",
        "GET /state HTTP/9.9\r\n\r\n",
        "GET /state HTTP/1.1",
        "GET /state HTTP/1.1\r\nHost: a\r\nHost",
        "GET  /state  HTTP/1.1\r\n\r\n",
        "GET /state HTTP/1.1\r\n: no name\r\n\r\n",
        "GET /state HTTP/1.1\r\nbad name: x\r\n\r\n",
        "GET /state HTTP/1.1\r\nx: a\0b\r\n\r\n",
        "GET /\u{7f}\u{1} HTTP/1.1\r\n\r\n",
        "POST /api/v1 HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST /api/v1 HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "POST /api/v1 HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        "POST /api/v1 HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST /api/v1 HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}ü\u{3}\u{3}",
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\u{4}\u{8}\0\0\0\0\0garbage",
        "CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        "SSH-2.0-x\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    all.push(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", long(200_000)).into_bytes());
    all.push(format!("GET /state HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", long(200_000)).into_bytes());
    let many: String = (0..500).map(|i| format!("h{i}: v\r\n")).collect();
    all.push(format!("GET /state HTTP/1.1\r\nHost: a\r\n{many}\r\n").into_bytes());
    all.push([0xff; 4096].to_vec());
    all.push(vec![0; 4096]);
    all
}

#[test]
fn what_is_no_request_is_refused_and_others_are_served() {
    needs!();
    let mut cluster = Cluster::start();
    for to in [cluster.master(), cluster.agent()] {
        for bytes in broken() {
            let answer = talk(to, &bytes);
            let told = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
            if let Some(code) = code(&answer) {
                assert!((400..500).contains(&code) || code == 501, "{told:?}: {code}");
            }
        }
        // A request behind a body that two readers would measure differently must not be taken as one.
        let two = "POST /api/v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /state HTTP/1.1\r\nHost: a\r\n\r\n";
        let answers = String::from_utf8_lossy(&talk(to, two.as_bytes())).matches("HTTP/1.1 200").count();
        assert_eq!(answers, 0, "the second was taken as a request");
    }
    well(&mut cluster);
}

#[test]
fn odd_requests_that_are_http_are_answered() {
    needs!();
    let mut cluster = Cluster::start();
    for to in [cluster.master(), cluster.agent()] {
        for (request, codes) in [
            ("GET http://other.example/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &[200][..]),
            ("GET /health HTTP/1.0\r\n\r\n", &[200]),
            ("HEAD /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &[200]),
            ("GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &[404]),
            ("GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &[404]),
            ("GET /%zz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &[400]),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &[400, 404, 405]),
            ("NONSENSE /api/v1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &[400, 405]),
            (
                "PUT /api/v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                &[400, 405],
            ),
            (
                "POST /api/v1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                &[400, 415],
            ),
            (
                "POST /api/v1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
                &[400],
            ),
        ] {
            let answer = ask(to, request.as_bytes());
            let got = code(&answer).or_fail(format!("an answer to {request:?}"));
            assert!(codes.contains(&got), "{request:?}: {}", String::from_utf8_lossy(&answer));
        }
    }
    well(&mut cluster);
}

#[test]
fn bodies_beyond_the_limit_are_refused_without_reading_them() {
    needs!();
    let mut cluster = Cluster::start();
    let pids = [cluster.master_process().pid(), cluster.agent_process().pid()];
    for (to, pid) in [cluster.master(), cluster.agent()].into_iter().zip(pids) {
        let before = memory(pid);
        let head = "POST /api/v1 HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
        let stated = format!("{head}Content-Length: {}\r\n\r\n", 4_u64 << 30);
        assert_eq!(code(&ask(to, stated.as_bytes())), Some(413), "{to}: stated");
        // In chunks, as much as it takes.
        let mut socket = TcpStream::connect_timeout(&to, PATIENCE).or_fail("connecting");
        socket.set_write_timeout(Some(PATIENCE)).or_fail("a timeout");
        write!(socket, "{head}Transfer-Encoding: chunked\r\n\r\n").or_fail("a head");
        let chunk = [b"100000\r\n".as_slice(), &[b' '; 1 << 20], b"\r\n"].concat();
        let taken = (0..200).take_while(|_| socket.write_all(&chunk).is_ok()).count();
        assert!(taken < 200, "200 MB were taken");
        drop(socket);
        let grown = memory(pid).saturating_sub(before);
        assert!(grown < 64, "{to} has grown by {grown} MB");
    }
    well(&mut cluster);
}

#[test]
fn slow_and_silent_peers_keep_nobody_waiting() {
    needs!();
    let mut cluster = Cluster::start();
    let pids = [cluster.master_process().pid(), cluster.agent_process().pid()];
    let before = pids.map(descriptors);
    let starts = [
        "",
        "P",
        "GET /state HTTP/1.1\r\nHost: a\r\nx",
        "POST /api/v1 HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
    ];
    let mut slow = Vec::new();
    for to in [cluster.master(), cluster.agent()] {
        for number in 0..200 {
            let mut socket = TcpStream::connect_timeout(&to, PATIENCE).or_fail("connecting");
            socket.write_all(starts[number % starts.len()].as_bytes()).or_fail("a start");
            slow.push(socket);
        }
    }
    for byte in 0..20_u8 {
        for socket in &mut slow {
            // The other side may have closed it.
            let _ = socket.write_all(&[b'a' + byte]);
        }
        well(&mut cluster);
    }
    let mut scheduler = cluster.scheduler();
    scheduler.start(|offer| task("meanwhile", offer, shell("true")));
    assert_eq!(scheduler.end_of("meanwhile")["state"], "TASK_FINISHED");
    drop(scheduler);
    drop(slow);
    for (pid, before) in pids.into_iter().zip(before) {
        has_let_go(pid, before);
    }
}

/// How many peers subscribe and read nothing.
const STALLED: usize = 500;
/// How much a master may grow by for that many of them, in MB: their outboxes have a limit of their own.
const STALLED_MB: u64 = 150;

#[test]
fn five_hundred_stalled_watchers_cost_little_and_delay_nobody() {
    needs!();
    let mut cluster =
        Cluster::with(integration::Options::default().master("--max_operator_event_stream_subscribers=1000"));
    let (to, pid) = (cluster.master(), cluster.master_process().pid());
    let mut scheduler = cluster.scheduler();
    let before = (memory(pid), descriptors(pid));
    let subscribe = json!({"type": "SUBSCRIBE"}).to_string();
    let watchers: Vec<TcpStream> =
        (0..STALLED).map(|_| deaf(to, "POST", "/api/v1", JSON, &subscribe)).collect();
    // Each event carries the task with its label: several MB for every watcher in all.
    for number in 0..60 {
        let id = format!("talk-{number}");
        scheduler.start(|offer| {
            let mut task = task(&id, offer, shell("true"));
            task["labels"] = json!({"labels": [{"key": "k", "value": "v".repeat(100_000)}]});
            task
        });
        assert_eq!(scheduler.end_of(&id)["state"], "TASK_FINISHED");
        let grown = memory(pid).saturating_sub(before.0);
        assert!(grown < STALLED_MB, "{STALLED} stalled watchers cost {grown} MB");
    }
    well(&mut cluster);
    drop(watchers);
    has_let_go(pid, before.1);
}

#[test]
fn five_hundred_stalled_schedulers_cost_little_and_delay_nobody() {
    needs!();
    let mut cluster = Cluster::start();
    let (to, pid) = (cluster.master(), cluster.master_process().pid());
    let before = (memory(pid), descriptors(pid));
    let mut info = framework();
    info["failover_timeout"] = json!(0.0);
    let subscribe = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}}).to_string();
    let stalled: Vec<TcpStream> = (0..STALLED).map(|_| deaf(to, "POST", PATH, JSON, &subscribe)).collect();
    let mut good = eventually("all are subscribed", || {
        (cluster.state("/state")["frameworks"].as_array()?.len() == STALLED).then(|| cluster.scheduler())
    });
    let grown = memory(pid).saturating_sub(before.0);
    assert!(grown < STALLED_MB, "{STALLED} stalled schedulers cost {grown} MB");
    // Offers that went to the deaf come back when they are gone.
    drop(stalled);
    good.start(|offer| task("afterwards", offer, shell("true")));
    assert_eq!(good.end_of("afterwards")["state"], "TASK_FINISHED");
    eventually("they are forgotten", || {
        (cluster.state("/state")["frameworks"].as_array()?.len() == 1).then_some(())
    });
    has_let_go(pid, before.1);
    well(&mut cluster);
}
