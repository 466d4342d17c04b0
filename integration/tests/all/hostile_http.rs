//! What no client should send, to the real master and agent: bytes that are no HTTP, bodies that are no messages, peers
//! that are slow or don't read. The processes stay up, answer others meanwhile, and keep nothing of it.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use integration::client::{Reply, Request, get};
use integration::eventually::{PATIENCE, within};
use integration::scheduler::PATH;
use integration::task::{framework, shell, task};
use integration::{Cluster, OrFail, eventually, needs};
use serde_json::{Value, json};

/// How soon a good request is answered while bad ones are there; machines of tests are slow.
const SOON: Duration = Duration::from_secs(5);
/// Types that a body may claim to be.
const TYPES: [&str; 5] = [
    "application/json",
    "application/x-protobuf",
    "application/recordio",
    "application/json; charset=utf-8",
    "application/x-www-form-urlencoded",
];
const MASTER_POSTS: [&str; 4] = ["/api/v1", PATH, "/teardown", "/master/api/v1/scheduler"];
const AGENT_POSTS: [&str; 3] = ["/api/v1", "/slave(1)/api/v1", "/files/read"];

/// Sends bytes as they are, says that no more will come, and reads what is said until the connection is closed.
#[track_caller]
fn talk(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
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
fn code(answer: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(answer.get(..12)?).ok()?;
    text.strip_prefix("HTTP/1.1 ").or(text.strip_prefix("HTTP/1.0 "))?.parse().ok()
}

/// Both still answer, and soon.
#[track_caller]
fn well(cluster: &mut Cluster) {
    assert!(cluster.master_process().runs() && cluster.agent_process().runs());
    for to in [cluster.master(), cluster.agent()] {
        let start = Instant::now();
        get(to, "/health").expect(200);
        get(to, "/state").expect(200);
        assert!(start.elapsed() < SOON, "{to} took {:?}", start.elapsed());
    }
}

/// Resident memory in MB and open descriptors of a process.
fn size(pid: u32) -> (u64, usize) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).or_fail("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).or_fail("VmRSS");
    let kb: u64 = line.trim().trim_end_matches(" kB").trim().parse().or_fail("a number");
    (kb / 1024, fs::read_dir(format!("/proc/{pid}/fd")).or_fail("its descriptors").count())
}

/// Waits until a process has no more descriptors than it had; some come and go.
#[track_caller]
fn has_let_go(pid: u32, before: usize) {
    within(PATIENCE, format!("{pid} has at most {before} descriptors and a few"), || {
        (size(pid).1 <= before + 8).then_some(())
    });
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

/// Good bodies: the seeds of the fuzz targets, without the byte that says what they are.
fn seeds() -> Vec<Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let files = |target: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(corpus.join(target)).or_fail("the seeds");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.or_fail("a seed").path()).collect();
        paths.sort();
        paths
    };
    let all = files("json").into_iter().chain(files("protobuf"));
    all.map(|path| fs::read(&path).or_fail(path.display())[1..].to_vec()).collect()
}

/// One POST with a type and a body.
#[track_caller]
fn post(to: SocketAddr, path: &str, kind: &str, body: &[u8]) -> Reply {
    let request = Request::new("POST", path).header("Content-Type", kind).body(body);
    request.send(to).or_fail(format!("an answer to {} bytes of {kind} to {path}", body.len()))
}

/// Neither a truncated nor a damaged message does anything but get refused.
#[test]
fn truncated_and_damaged_bodies_are_refused_on_every_route() {
    needs!();
    let mut cluster = Cluster::start();
    let before = cluster.state("/state")["frameworks"].clone();
    let mut random = Dice(0x9e37_79b9_7f4a_7c15);
    let ends = [(cluster.master(), &MASTER_POSTS[..]), (cluster.agent(), &AGENT_POSTS[..])];
    for (to, paths) in ends {
        for (number, seed) in seeds().into_iter().enumerate() {
            for path in paths {
                let kind = TYPES[(number + random.below(2)) % TYPES.len()];
                let mut body = seed[..random.below(seed.len())].to_vec();
                if random.below(2) == 0 && !body.is_empty() {
                    let at = random.below(body.len());
                    body[at] = u8::try_from(random.below(256)).or_fail("a byte");
                }
                let reply = post(to, path, kind, &body);
                assert!(
                    (400..500).contains(&reply.status) || reply.status == 501,
                    "{path} {kind}: {} {:?}",
                    reply.status,
                    String::from_utf8_lossy(&body)
                );
                // The same with a length that is never reached: no answer, or a refusal.
                let head = format!(
                    "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
                    body.len() + 1
                );
                let answer = talk(to, &[head.as_bytes(), &body].concat());
                assert!(code(&answer).is_none_or(|code| (400..500).contains(&code) || code == 501), "{path}");
            }
        }
    }
    assert_eq!(cluster.state("/state")["frameworks"], before);
    well(&mut cluster);
}

#[test]
fn noise_on_every_route_leaves_the_processes_as_they_were() {
    needs!();
    let mut cluster = Cluster::start();
    let pages =
        ["/state", "/flags", "/metrics/snapshot", "/files/browse", "/files/read", "/files/debug", "/version"];
    let mut random = Dice(7);
    let ends = [(cluster.master(), &MASTER_POSTS[..]), (cluster.agent(), &AGENT_POSTS[..])];
    for round in 0..150 {
        for (to, posts) in ends {
            let noise: Vec<u8> = (0..random.below(600)).map(|_| random.roll().to_le_bytes()[3]).collect();
            let path =
                posts.iter().chain(&pages).nth(random.below(posts.len() + pages.len())).or_fail("a path");
            let query: String =
                noise.iter().take(40).map(|byte| format!("{}=%{byte:02x}&", byte % 7)).collect();
            let reply = post(to, &format!("{path}?{query}"), TYPES[round % TYPES.len()], &noise);
            assert!(reply.status < 500 || [501, 503].contains(&reply.status), "{path}: {}", reply.status);
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
        let before = size(pid).0;
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
        let grown = size(pid).0.saturating_sub(before);
        assert!(grown < 64, "{to} has grown by {grown} MB");
    }
    well(&mut cluster);
}

#[test]
fn slow_and_silent_peers_keep_nobody_waiting() {
    needs!();
    let mut cluster = Cluster::start();
    let pids = [cluster.master_process().pid(), cluster.agent_process().pid()];
    let before = pids.map(|pid| size(pid).1);
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

/// Opens a subscription and reads no byte of it.
#[track_caller]
fn stalled(to: SocketAddr, path: &str, call: &Value) -> TcpStream {
    let mut socket = TcpStream::connect_timeout(&to, PATIENCE).or_fail("connecting");
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4 << 10).or_fail("a small buffer");
    let body = call.to_string();
    write!(
        socket,
        "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nAccept: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .or_fail("a subscription");
    socket
}

#[test]
fn five_hundred_stalled_watchers_cost_little_and_delay_nobody() {
    needs!();
    let mut cluster =
        Cluster::with(integration::Options::default().master("--max_operator_event_stream_subscribers=1000"));
    let (to, pid) = (cluster.master(), cluster.master_process().pid());
    let mut scheduler = cluster.scheduler();
    let before = size(pid);
    let subscribe = json!({"type": "SUBSCRIBE"});
    let watchers: Vec<TcpStream> = (0..STALLED).map(|_| stalled(to, "/api/v1", &subscribe)).collect();
    // Each event carries the task with its label: several MB for every watcher in all.
    for number in 0..60 {
        let id = format!("talk-{number}");
        scheduler.start(|offer| {
            let mut task = task(&id, offer, shell("true"));
            task["labels"] = json!({"labels": [{"key": "k", "value": "v".repeat(100_000)}]});
            task
        });
        assert_eq!(scheduler.end_of(&id)["state"], "TASK_FINISHED");
        let grown = size(pid).0.saturating_sub(before.0);
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
    let before = size(pid);
    let mut info = framework();
    info["failover_timeout"] = json!(0.0);
    let subscribe = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}});
    let deaf: Vec<TcpStream> = (0..STALLED).map(|_| stalled(to, PATH, &subscribe)).collect();
    let mut good = eventually("all are subscribed", || {
        (cluster.state("/state")["frameworks"].as_array()?.len() == STALLED).then(|| cluster.scheduler())
    });
    let grown = size(pid).0.saturating_sub(before.0);
    assert!(grown < STALLED_MB, "{STALLED} stalled schedulers cost {grown} MB");
    // Offers that went to the deaf come back when they are gone.
    drop(deaf);
    good.start(|offer| task("afterwards", offer, shell("true")));
    assert_eq!(good.end_of("afterwards")["state"], "TASK_FINISHED");
    eventually("they are forgotten", || {
        (cluster.state("/state")["frameworks"].as_array()?.len() == 1).then_some(())
    });
    has_let_go(pid, before.1);
    well(&mut cluster);
}

/// A small generator of numbers; the same seed gives the same ones.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(end).or_fail("a number")).or_fail("a number")
    }
}
