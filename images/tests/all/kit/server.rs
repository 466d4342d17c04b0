//! A server that says whatever a test wants, also what no honest registry would.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::layout::{Blobs, Built, OCI_MANIFEST, sha256};

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// With the query.
    pub path: String,
    pub authorization: Option<String>,
    pub range: Option<String>,
    /// What was sent with it, e.g. a form.
    pub body: String,
}

/// One answer; a connection carries one request.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// `Content-Length`, when it is to differ; `None` for none at all.
    pub length: Option<Option<u64>>,
    /// Keep the connection open and silent after this many bytes of the body.
    pub stall_after: Option<usize>,
    /// Close the connection after this many bytes of the body.
    pub close_after: Option<usize>,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { status, headers: Vec::new(), body, length: None, stall_after: None, close_after: None }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn redirect(to: impl Into<String>) -> Self {
        Self::new(307, "").header("Location", to)
    }
}

type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

/// A running server. Its threads end with the test's process.
pub struct Server {
    pub address: String,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn start(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1:0", handler)
    }

    pub fn start_on(address: &str, handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (handler, requests): (Arc<Handler>, _) = (Arc::new(handler), log.clone());
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (handler, requests) = (handler.clone(), requests.clone());
                std::thread::spawn(move || serve(connection, &*handler, &requests));
            }
        });
        Self { address, log }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// Requests whose path contains `part`.
    pub fn count(&self, part: &str) -> usize {
        self.requests().iter().filter(|request| request.path.contains(part)).count()
    }

    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }
}

fn serve(connection: TcpStream, handler: &Handler, log: &Mutex<Vec<Request>>) -> Option<()> {
    let mut reader = BufReader::new(connection.try_clone().ok()?);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut request = Request { path, authorization: None, range: None, body: String::new() };
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        match name.to_ascii_lowercase().as_str() {
            "authorization" => request.authorization = Some(value.trim().to_owned()),
            "range" => request.range = Some(value.trim().to_owned()),
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    reader.take(length).read_to_string(&mut request.body).ok()?;
    log.lock().unwrap().push(request.clone());
    answer(connection, &handler(&request))
}

fn answer(mut connection: TcpStream, answer: &Answer) -> Option<()> {
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", answer.status);
    match answer.length {
        None => head += &format!("Content-Length: {}\r\n", answer.body.len()),
        Some(Some(length)) => head += &format!("Content-Length: {length}\r\n"),
        Some(None) => {}
    }
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    connection.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    let end = answer.stall_after.or(answer.close_after).unwrap_or(answer.body.len()).min(answer.body.len());
    connection.write_all(&answer.body[..end]).ok()?;
    connection.flush().ok()?;
    if answer.stall_after.is_some() {
        // Until the client gives up.
        connection.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        let _ = connection.read(&mut [0; 1]);
    }
    Some(())
}

/// Answers as an honest registry does, for one image under any name.
pub fn honest(image: &Built, request: &Request) -> Answer {
    let blobs = Blobs::of(image);
    let path = request.path.as_str();
    if let Some((_, target)) = path.split_once("/manifests/") {
        let wanted =
            if target.starts_with("sha256:") { target.to_owned() } else { image.digest().to_string() };
        return match blobs.0.get(&wanted) {
            Some(bytes) => manifest(bytes),
            None => Answer::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
        };
    }
    match path.split_once("/blobs/").and_then(|(_, digest)| blobs.0.get(digest)) {
        Some(bytes) => Answer::new(200, bytes.clone()),
        None => Answer::new(404, ""),
    }
}

/// A manifest with all the headers that it should have.
pub fn manifest(bytes: &[u8]) -> Answer {
    Answer::new(200, bytes)
        .header("Content-Type", OCI_MANIFEST)
        .header("Docker-Content-Digest", sha256(bytes).to_string())
}
