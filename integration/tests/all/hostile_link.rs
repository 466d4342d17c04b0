//! The agents' link under hostile peers, both ways and over real connections: what is no HTTP/2, frames and messages that
//! are cut, too long, compressed, or mean nothing. Nobody panics or grows, and other links don't notice.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use integration::client::get;
use integration::eventually::PATIENCE;
use integration::http2::{
    ALL_HEADERS, CONTINUATION, Connection, DATA, END, GOAWAY, HEADERS, PING, RESET, SETTINGS, STREAM,
    WINDOW_UPDATE, field, frame, message, promised, with_length,
};
use integration::leftovers::descriptors;
use integration::task::{shell, task};
use integration::vitals::{has_let_go, memory, well};
use integration::{Cluster, Options, OrFail, needs};
use model::random::Random;
use prost::Message as _;
use wire::link::{self, FromAgent, FromMaster};
use wire::v1;

const ATTACH: &str = "/tepui.link.v1.AgentLink/Attach";
/// What a process may grow by under all of it, in MB.
const MOST_MB: u64 = 64;

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    (0..length).map(|_| random.next_u64().to_be_bytes()[0]).collect()
}

/// A field that no message of the link has: number 999, with some bytes.
fn unknown_field() -> Vec<u8> {
    let bytes = noise(1, 100);
    // Key 999 * 8 + 2 as a varint, and the length.
    [&[0xba, 0x3e, 100][..], &bytes].concat()
}

fn registration(name: &str) -> Vec<u8> {
    let agent = v1::AgentInfo { hostname: name.to_owned(), port: Some(5051), ..Default::default() };
    let register = link::Register {
        version: "1.12.0".to_owned(),
        agent: Some(agent),
        address: "127.0.0.1:1".to_owned(),
        incarnation: name.to_owned(),
        protocol: link::PROTOCOL_VERSION,
        ..Default::default()
    };
    FromAgent::from(register).encode_to_vec()
}

/// A peer of one side of a link: what it says, once it may.
type Says = fn(&mut Connection);

/// What is no HTTP/2, or breaks its rules. Each begins after the preface and the first settings.
const FRAMES: &[(&str, Says)] = &[
    ("noise", |c| c.say(&noise(2, 4000))),
    ("a frame of 16 MB", |c| c.say(&with_length(0xff_ffff, DATA, 0, STREAM, &[0; 30_000]))),
    ("data before any headers", |c| c.say(&frame(DATA, 0, STREAM, b"x"))),
    ("data for the connection", |c| c.say(&frame(DATA, 0, 0, b"x"))),
    ("headers for the connection", |c| c.say(&frame(HEADERS, ALL_HEADERS, 0, &field("a", "b")))),
    ("headers that are no HPACK", |c| c.say(&frame(HEADERS, ALL_HEADERS, STREAM, &noise(3, 200)))),
    ("settings of a wrong length", |c| c.say(&frame(SETTINGS, 0, 0, &[0; 7]))),
    ("a ping of a wrong length", |c| c.say(&frame(PING, 0, 0, &[0; 3]))),
    ("a window that overflows", |c| {
        (0..3).for_each(|_| c.say(&frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])));
    }),
    ("headers without an end", |c| {
        c.say(&frame(HEADERS, 0, STREAM, &field(":method", "POST")));
        let more: Vec<u8> = (0..100).flat_map(|n| field(&format!("x-{n}"), &"y".repeat(100))).collect();
        (0..3000).for_each(|_| c.say(&frame(CONTINUATION, 0, STREAM, &more)));
    }),
    ("streams opened and reset", |c| {
        for number in 0..5000 {
            c.call(2 * number + 1, ATTACH);
            c.say(&frame(RESET, 0, 2 * number + 1, &[0, 0, 0, 8]));
        }
        c.say(&frame(GOAWAY, 0, 0, &[0; 8]));
    }),
    ("pings by the thousand, then the end", |c| {
        (0..20_000).for_each(|_| c.say(&frame(PING, 0, 0, &[7; 8])));
        c.say(&frame(GOAWAY, 0, 0, &[0; 8]));
    }),
];

/// What is no message of gRPC or of the link. Each begins where the first message would.
const MESSAGES: &[(&str, Says)] = &[
    ("noise in a message", |c| c.pour(&message(0, &noise(4, 500)), false)),
    ("a message cut by the end of its stream", |c| c.pour(&promised(0, 5000, &noise(5, 100)), true)),
    ("half of a head", |c| c.pour(&[0, 0, 0], true)),
    ("a message of 4 GB", |c| c.pour(&promised(0, u32::MAX, &[0; 60_000]), false)),
    ("a message of 65 MB", |c| c.pour(&promised(0, (64 << 20) + 1, &[0; 60_000]), false)),
    ("a message that says it is compressed", |c| c.pour(&message(1, &registration("compressed")), false)),
    ("a flag that there isn't", |c| c.pour(&message(0xff, &registration("flagged")), false)),
    ("no message at all", |c| c.say(&frame(DATA, END, STREAM, &[]))),
    ("more than its window", |c| (0..40).for_each(|_| c.say(&frame(DATA, 0, STREAM, &[0; 16_000])))),
];

/// No message of the link begins with these; a master refuses them, an agent passes over them.
const MEANINGLESS: &[(&str, Says)] = &[
    ("an empty message", |c| c.pour(&message(0, &[]), false)),
    ("only unknown fields", |c| c.pour(&message(0, &unknown_field()), false)),
];

/// A connection of an agent whose stream is open.
fn attached(to: SocketAddr) -> Connection {
    let mut connection = Connection::to(to);
    connection.begin().call(STREAM, ATTACH);
    connection
}

/// An agent that has registered; the master's answer tells.
#[track_caller]
fn registered(to: SocketAddr, name: &str, more: &[u8]) -> Connection {
    let mut connection = attached(to);
    connection.pour(&message(0, &[&registration(name), more].concat()), false);
    let answer = connection.message().or_fail("an answer to a registration");
    let answer = FromMaster::decode(answer.as_slice()).or_fail("a message of the link");
    assert!(matches!(answer.body, Some(link::from_master::Body::Registered(_))), "{answer:?}");
    connection
}

#[test]
fn hostile_agents() {
    needs!();
    let mut cluster = Cluster::start();
    let (to, pid) = (cluster.master(), cluster.master_process().pid());
    let good = cluster.agent_id();
    let (before, open) = (memory(pid), descriptors(pid));
    for (what, says) in FRAMES {
        let mut connection = Connection::to(to);
        says(connection.begin());
        connection.end().or_fail(what);
    }
    for (what, says) in MESSAGES.iter().chain(MEANINGLESS) {
        let mut connection = attached(to);
        says(&mut connection);
        connection.end().or_fail(what);
    }
    // The same from agents that were admitted.
    for (number, (what, says)) in MESSAGES.iter().enumerate() {
        let mut connection = registered(to, &format!("hostile-{number}"), &[]);
        says(&mut connection);
        connection.end().or_fail(what);
    }
    // Fields of a later version are passed over, and so are messages of kinds that there aren't yet.
    let mut later = registered(to, "later", &unknown_field());
    (0..1000).for_each(|_| later.pour(&message(0, &unknown_field()), false));
    drop(later);
    // Many that promise much and send little of it.
    let promising: Vec<Connection> = (0..200)
        .map(|_| {
            let mut connection = attached(to);
            connection.pour(&promised(0, 60 << 20, &[0; 60_000]), false);
            connection
        })
        .collect();
    let grown = memory(pid).saturating_sub(before);
    assert!(grown < MOST_MB, "the master has grown by {grown} MB");
    let mut scheduler = cluster.scheduler();
    // Whoever promised something more is no agent that could be offered.
    scheduler.start(|offer| task("meanwhile", offer, shell("true")));
    assert_eq!(scheduler.end_of("meanwhile")["state"], "TASK_FINISHED");
    drop(promising);
    has_let_go(pid, open);
    let log = cluster.master_process().log();
    assert!(!log.contains("panicked"), "{log}");
    // The good agent's link is the one that it was.
    let agent_log = cluster.agent_process().log();
    assert_eq!(agent_log.matches("connected to the master").count(), 1, "{agent_log}");
    assert!(!log.contains(&format!("{good} re-registered")), "{log}");
    well(&mut cluster);
}

/// A master that says something else to each connection of an agent, and is a line to a real one afterwards.
fn hostile_master(
    listener: TcpListener,
    scripts: Vec<(&'static str, Says, bool)>,
    good: SocketAddr,
    told: &mpsc::Sender<&'static str>,
) {
    let accept = || Connection::on(listener.accept().or_fail("an agent").0);
    for (what, says, welcomes) in scripts {
        let mut connection = accept();
        let begun = if welcomes { connection.welcome() } else { connection.greet() };
        begun.or_fail(what);
        says(&mut connection);
        connection.end().or_fail(what);
        told.send(what).or_fail("the test listens");
    }
    let near = accept().into_socket();
    let far = TcpStream::connect(good).or_fail("the good master");
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        from.set_read_timeout(None).or_fail("no timeout");
        std::thread::spawn(move || std::io::copy(&mut from, &mut to))
    };
    copy(near.try_clone().or_fail("a socket"), far.try_clone().or_fail("a socket"));
    copy(far, near);
}

/// What an agent hears from a master that means ill.
fn scripts() -> Vec<(&'static str, Says, bool)> {
    const MORE: &[(&str, Says)] = &[
        ("an answer in HTTP/1.1", |c| c.say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")),
        ("the end at once", |c| c.say(&frame(GOAWAY, 0, 0, &[0; 8]))),
    ];
    const TASKS: &[(&str, Says)] = &[
        ("orders before any registration, then noise", |c| {
            let run = link::RunTask { framework: None, task: None };
            let kill = link::KillTask { task_id: "../../x".to_owned(), ..Default::default() };
            for body in
                [FromMaster::new(9, run), FromMaster::new(9, kill), FromMaster::new(9, link::Ping::default())]
            {
                c.pour(&message(0, &body.encode_to_vec()), false);
            }
            c.pour(&message(0, &noise(8, 99)), false);
        }),
        ("empty messages by the thousand, then noise", |c| {
            c.pour(&message(0, &[]).repeat(50_000), false);
            c.pour(&message(0, &unknown_field()).repeat(1000), false);
            c.pour(&message(0, &noise(9, 99)), false);
        }),
    ];
    // Only clients open streams; and an agent's window is so large that zeros are passed over for ever.
    let to_clients =
        |(what, _): &&(&str, Says)| !["streams opened", "more than"].iter().any(|no| what.contains(no));
    let before = FRAMES.iter().filter(to_clients).chain(MORE).map(|(what, says)| (*what, *says, false));
    let after = MESSAGES.iter().filter(to_clients).chain(TASKS).map(|(what, says)| (*what, *says, true));
    before.chain(after).collect()
}

#[test]
fn hostile_masters() {
    needs!();
    let all = scripts();
    // Several agents share the work: each waits longer and longer before it tries again.
    let parts: Vec<Vec<_>> = all.chunks(all.len().div_ceil(4)).map(<[_]>::to_vec).collect();
    std::thread::scope(|threads| {
        for part in parts {
            threads.spawn(move || one_agent(part));
        }
    });
}

fn one_agent(scripts: Vec<(&'static str, Says, bool)>) {
    let mut cluster = Cluster::empty(Options::default());
    cluster.start_master();
    let listener = TcpListener::bind("127.0.0.1:0").or_fail("an address");
    cluster.options().link = Some(listener.local_addr().or_fail("an address"));
    let (told, hear) = mpsc::channel();
    let (good, count) = (cluster.master(), scripts.len());
    std::thread::spawn(move || hostile_master(listener, scripts, good, &told));
    cluster.start_agent();
    let (to, pid) = (cluster.agent(), cluster.agent_process().pid());
    let (before, open) = (memory(pid), descriptors(pid));
    for _ in 0..count {
        let what = hear.recv_timeout(2 * PATIENCE).or_fail("the agent ends its link and makes another");
        assert!(cluster.agent_process().runs(), "{what}");
        get(to, "/health").expect(200);
        get(to, "/state").expect(200);
        let grown = memory(pid).saturating_sub(before);
        assert!(grown < MOST_MB, "{what}: the agent has grown by {grown} MB");
    }
    // As if nothing had been.
    cluster.agent_id();
    let mut scheduler = cluster.scheduler();
    scheduler.start(|offer| task("after", offer, shell("true")));
    assert_eq!(scheduler.end_of("after")["state"], "TASK_FINISHED");
    has_let_go(pid, open + 8);
    let log = cluster.agent_process().log();
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn peers_that_send_much_before_they_say_who_they_are_take_turns() {
    needs!();
    const EACH: usize = 6 << 20;
    let mut cluster = Cluster::empty(Options::default());
    cluster.start_master();
    let (to, pid) = (cluster.master(), cluster.master_process().pid());
    let before = memory(pid);
    let crowd: Vec<Connection> = std::thread::scope(|scope| {
        let pouring = |_| {
            scope.spawn(|| {
                let mut connection = attached(to);
                connection.patience(Duration::from_secs(2));
                connection.pour(&promised(0, 60 << 20, &vec![0; EACH]), false);
                connection
            })
        };
        let crowd: Vec<_> = (0..40).map(pouring).collect();
        crowd.into_iter().map(|peer| peer.join().or_fail("a peer")).collect()
    });
    let grown = memory(pid).saturating_sub(before);
    // Eight of them may; of the others there is what needs no turn.
    assert!(grown < 120, "{grown} MB");
    // Meanwhile others come in as long as they are small, and then large ones do, too.
    registered(to, "small", &[]);
    drop(crowd);
    let many: Vec<u8> = std::iter::repeat_with(unknown_field).take(20_000).flatten().collect();
    registered(to, "large", &many);
}

#[test]
fn an_agent_that_says_nothing_is_cut() {
    needs!();
    let cluster = Cluster::start();
    let mut silent = attached(cluster.master());
    silent.patience(Duration::from_secs(40));
    silent.end().or_fail("the master waits for a registration no longer than it should");
}
