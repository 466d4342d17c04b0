//! Truncated, damaged and random bytes on every route that there is, with every type that a body may claim to be.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use integration::client::{Reply, Request};
use integration::vitals::well;
use integration::{Cluster, OrFail, needs, routes};
use model::random::Random;

use super::hostile_http::{code, talk};

/// Types that a body may claim to be.
const TYPES: [&str; 6] = [
    "application/json",
    "application/x-protobuf",
    "application/recordio",
    "application/json; charset=utf-8",
    "application/x-www-form-urlencoded",
    "no type at all",
];
const METHODS: [&str; 6] = ["POST", "GET", "PUT", "DELETE", "HEAD", "OPTIONS"];
/// Requests of noise for each route; some are answered twice a second only.
const ROUNDS: usize = 9;

/// A server with all its routes; half of them in the spelling that begins with the name of the process.
struct Server {
    to: SocketAddr,
    paths: Vec<String>,
}

fn servers(cluster: &Cluster) -> [Server; 2] {
    let spelt = |server: &str, process: &str| {
        let paths = routes::of(server).into_iter().enumerate();
        paths.map(|(n, path)| if n % 2 == 0 { path } else { format!("/{process}{path}") }).collect()
    };
    [
        Server { to: cluster.master(), paths: spelt("master", "master") },
        Server { to: cluster.agent(), paths: spelt("agent", "slave(1)") },
    ]
}

impl Server {
    /// Those that read bodies: the others take GET.
    fn posts(&self) -> Vec<&String> {
        let answer = |path: &str| Request::new("GET", path).send(self.to).or_fail(path);
        let posts: Vec<_> = self.paths.iter().filter(|path| answer(path).status == 405).collect();
        assert!(!posts.is_empty(), "{} has no route for POST", self.to);
        posts
    }
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
    let mut seeds: Vec<Vec<u8>> =
        all.map(|path| fs::read(&path).or_fail(path.display())[1..].to_vec()).collect();
    seeds.push(b"frameworkId=some-framework-0000&x=%41".to_vec());
    seeds
}

fn below(random: &mut Random, end: usize) -> usize {
    usize::try_from(random.below(end as u64)).or_fail("a number")
}

fn noise(random: &mut Random, most: usize) -> Vec<u8> {
    (0..below(random, most)).map(|_| random.next_u64().to_be_bytes()[0]).collect()
}

/// One POST with a type and a body.
#[track_caller]
fn post(to: SocketAddr, path: &str, kind: &str, body: &[u8]) -> Reply {
    let request = Request::new("POST", path).header("Content-Type", kind).body(body);
    request.send(to).or_fail(format!("an answer to {} bytes of {kind} to {path}", body.len()))
}

/// A part of every good message, with every type, to every route that reads bodies.
#[test]
fn truncated_bodies_are_refused_on_every_route_with_every_type() {
    needs!();
    let mut cluster = Cluster::start();
    let before = cluster.state("/state")["frameworks"].clone();
    let mut random = Random::new(11);
    for server in servers(&cluster) {
        for path in server.posts() {
            for kind in TYPES {
                for seed in seeds() {
                    let body = &seed[..below(&mut random, seed.len())];
                    let reply = post(server.to, path, kind, body);
                    let refused = |code: u16| (400..500).contains(&code) || code == 501;
                    let told = || String::from_utf8_lossy(body).into_owned();
                    assert!(refused(reply.status), "{path} {kind}: {} {:?}", reply.status, told());
                    // The whole, with a length that is never reached: no answer, or a refusal.
                    let length = seed.len() + 1;
                    let head = format!(
                        "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
                    );
                    let answer = talk(server.to, &[head.as_bytes(), &seed].concat());
                    assert!(code(&answer).is_none_or(refused), "{path} {kind}: {:?}", code(&answer));
                }
            }
        }
    }
    assert_eq!(cluster.state("/state")["frameworks"], before);
    well(&mut cluster);
}

/// One byte of a good message is another one: refused, or something else that makes sense.
#[test]
fn damaged_bodies_do_no_harm_on_any_route() {
    needs!();
    let mut cluster = Cluster::start();
    let before = cluster.state("/state")["frameworks"].clone();
    let mut random = Random::new(12);
    for server in servers(&cluster) {
        for path in server.posts() {
            for kind in &TYPES[..3] {
                for mut seed in seeds() {
                    let at = below(&mut random, seed.len());
                    seed[at] ^= 1 << random.below(8);
                    seed.truncate(seed.len() - below(&mut random, 3).min(seed.len()));
                    let reply = post(server.to, path, kind, &seed);
                    let harmless = reply.status < 500 || reply.status == 501;
                    assert!(harmless, "{path} {kind}: {} {:?}", reply.status, String::from_utf8_lossy(&seed));
                }
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
    let servers = servers(&cluster);
    std::thread::scope(|all| {
        for (seed, (to, path)) in
            servers.iter().flat_map(|server| server.paths.iter().map(|path| (server.to, path))).enumerate()
        {
            all.spawn(move || {
                let mut random = Random::new(seed as u64);
                for round in 0..ROUNDS {
                    let body = noise(&mut random, 600);
                    let query: String = noise(&mut random, 40)
                        .iter()
                        .map(|byte| format!("{}=%{byte:02x}&", char::from(b'a' + byte % 26)))
                        .collect();
                    let accept: String =
                        noise(&mut random, 30).iter().map(|byte| char::from(b' ' + byte % 95)).collect();
                    let full = format!("{path}?{query}");
                    let reply = Request::new(METHODS[round % METHODS.len()], &full)
                        .header("Content-Type", TYPES[round % TYPES.len()])
                        .header("Accept", accept)
                        .body(body)
                        .send(to)
                        .or_fail(&full);
                    let harmless = reply.status < 500 || [501, 503].contains(&reply.status);
                    assert!(harmless, "{full}: {} {}", reply.status, reply.text());
                }
            });
        }
    });
    well(&mut cluster);
}
