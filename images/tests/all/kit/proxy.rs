//! A proxy before a real registry that breaks what passes through it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::server::Request;

/// What happens to one request or its answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing.
    None,
    /// The connection ends before an answer.
    Hang,
    /// This status and header lines instead of an answer.
    Status(u16, &'static str),
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// Silence after so many bytes of the body.
    Stall(usize),
    /// The request is passed on without its `Range`.
    NoRange,
    /// These bytes instead of the body, under the true headers and these.
    Body(Vec<u8>, &'static str),
    /// Another `Content-Range` than the true one.
    ContentRange(&'static str),
}

type Handler = dyn Fn(&Request, usize) -> Fault + Send + Sync;

/// A running proxy. Its threads end with the test's process.
pub struct Proxy {
    pub address: String,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Proxy {
    /// `handler` is told how often the same path was asked for before.
    pub fn start(to: &str, handler: impl Fn(&Request, usize) -> Fault + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let log = Arc::new(Mutex::new(Vec::new()));
        let counts = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
        let (handler, requests, to): (Arc<Handler>, _, _) = (Arc::new(handler), log.clone(), to.to_owned());
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (handler, log) = (handler.clone(), requests.clone());
                let (counts, to) = (counts.clone(), to.clone());
                std::thread::spawn(move || pass(connection, &to, &*handler, &log, &counts));
            }
        });
        Self { address, log }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// The `Range` of each request for a path with `part`, in order.
    pub fn ranges(&self, part: &str) -> Vec<Option<String>> {
        self.requests().into_iter().filter(|r| r.path.contains(part)).map(|r| r.range).collect()
    }

    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }
}

fn pass(
    mut client: TcpStream,
    to: &str,
    handler: &Handler,
    log: &Mutex<Vec<Request>>,
    counts: &Mutex<BTreeMap<String, usize>>,
) -> Option<()> {
    let (request, head) = read_request(&client)?;
    let before = {
        let mut counts = counts.lock().unwrap();
        let count = counts.entry(request.path.clone()).or_default();
        *count += 1;
        *count - 1
    };
    log.lock().unwrap().push(request.clone());
    let fault = handler(&request, before);
    match &fault {
        Fault::Hang => return None,
        Fault::Status(status, headers) => {
            let head =
                format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n{headers}\r\n");
            return client.write_all(head.as_bytes()).ok();
        }
        _ => {}
    }
    let keep =
        |line: &&String| !matches!(fault, Fault::NoRange) || !line.to_lowercase().starts_with("range:");
    let head: String = head.iter().filter(keep).map(String::as_str).collect();
    let mut upstream = TcpStream::connect(to).ok()?;
    upstream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).ok()?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let (head, body) = (String::from_utf8_lossy(&answer[..end]).into_owned(), &answer[end..]);
    reply(client, &fault, head, body)
}

fn reply(mut client: TcpStream, fault: &Fault, mut head: String, body: &[u8]) -> Option<()> {
    let without = |head: &str, name: &str| -> String {
        head.split_inclusive("\r\n").filter(|line| !line.to_lowercase().starts_with(name)).collect()
    };
    let with = |head: String, lines: &str| head.trim_end().to_owned() + "\r\n" + lines + "\r\n";
    let (mut count, mut body) = (body.len(), body);
    match fault {
        Fault::Cut(after) | Fault::Stall(after) => count = count.min(*after),
        Fault::Body(other, lines) => {
            body = other;
            count = body.len();
            let length = format!("Content-Length: {count}\r\n{lines}");
            head = with(without(&without(&head, "content-length:"), "etag:"), &length);
        }
        Fault::ContentRange(range) => {
            head = with(without(&head, "content-range:"), &format!("Content-Range: {range}\r\n"));
        }
        _ => {}
    }
    client.write_all(head.as_bytes()).ok()?;
    client.write_all(&body[..count]).ok()?;
    client.flush().ok()?;
    if matches!(fault, Fault::Stall(_)) {
        // Until the client gives up.
        client.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        let _ = client.read(&mut [0; 1]);
    }
    Some(())
}

/// The request, and its header lines as they came.
fn read_request(client: &TcpStream) -> Option<(Request, Vec<String>)> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if !line.to_lowercase().starts_with("connection:") {
            lines.push(line);
        }
    }
    let value = |name: &str| {
        let line = lines.iter().find(|line| line.to_lowercase().starts_with(name));
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
    };
    let path = lines.first()?.split(' ').nth(1)?.to_owned();
    let (authorization, range) = (value("authorization:"), value("range:"));
    Some((Request { path, authorization, range, body: String::new() }, lines))
}
