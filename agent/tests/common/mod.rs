//! A master that a test plays, and a small HTTP client.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};
use wire::link::agent_link_server::{AgentLink, AgentLinkServer};
use wire::link::{self, FromAgent, FromMaster, from_agent, from_master};
use wire::v1;

/// Nothing a test waits for takes longer, on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

type Outbox = mpsc::Sender<Result<FromMaster, Status>>;

/// A master of one agent.
pub struct TestMaster {
    pub address: SocketAddr,
    said: mpsc::UnboundedReceiver<from_agent::Body>,
    outbox: Arc<Mutex<Option<Outbox>>>,
    server: tokio::task::JoinHandle<()>,
}

struct Link {
    said: mpsc::UnboundedSender<from_agent::Body>,
    outbox: Arc<Mutex<Option<Outbox>>>,
}

#[tonic::async_trait]
impl AgentLink for Link {
    type AttachStream = ReceiverStream<Result<FromMaster, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<FromAgent>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let mut incoming = request.into_inner();
        let (outbox, outgoing) = mpsc::channel(64);
        *self.outbox.lock().unwrap() = Some(outbox.clone());
        let said = self.said.clone();
        tokio::spawn(async move {
            while let Ok(Some(message)) = incoming.message().await {
                let _ = said.send(message.body.unwrap());
            }
            drop(outbox);
        });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

impl TestMaster {
    pub async fn start() -> TestMaster {
        TestMaster::at("127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn at(address: SocketAddr) -> TestMaster {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (say, said) = mpsc::unbounded_channel();
        let outbox = Arc::default();
        let link = AgentLinkServer::new(Link { said: say, outbox: Arc::clone(&outbox) });
        let server = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            tonic::transport::Server::builder()
                .add_service(link)
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        TestMaster { address, said, outbox, server }
    }

    /// The detector that leads here.
    pub fn detector(&self) -> Arc<coordination::Standalone> {
        Arc::new(coordination::Standalone::at(self.address.to_string().parse().unwrap()))
    }

    /// Cuts the link.
    pub fn cut(&self) {
        let outbox = self.outbox.lock().unwrap().take().expect("a link");
        outbox.try_send(Err(Status::unavailable("cut"))).unwrap();
    }

    pub async fn say(&self, body: impl Into<from_master::Body>) {
        let found = async {
            loop {
                // A link that was cut is made again.
                let outbox = self.outbox.lock().unwrap().clone();
                let Some(outbox) = outbox else {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                };
                break outbox;
            }
        };
        let outbox = tokio::time::timeout(PATIENCE, found).await.expect("a link");
        outbox.send(Ok(FromMaster::new(1, body))).await.unwrap();
    }

    /// The next thing the agent says but for registrations, which it may repeat while the answer is on its way.
    pub async fn hear(&mut self) -> from_agent::Body {
        loop {
            let body = self.hear_all().await;
            if !matches!(body, from_agent::Body::Register(_) | from_agent::Body::Reregister(_)) {
                return body;
            }
        }
    }

    /// Throws away what an agent said that is gone.
    pub fn forget(&mut self) {
        while self.said.try_recv().is_ok() {}
    }

    async fn hear_all(&mut self) -> from_agent::Body {
        let said = tokio::time::timeout(PATIENCE, self.said.recv()).await;
        said.expect("the agent says something in time").expect("the server runs")
    }

    /// Waits for a registration, and accepts it.
    pub async fn register(&mut self) -> from_agent::Body {
        let hello = loop {
            let body = self.hear_all().await;
            if matches!(body, from_agent::Body::Register(_) | from_agent::Body::Reregister(_)) {
                break body;
            }
        };
        self.say(link::Registered {
            agent_id: "A-S0".to_owned(),
            master_id: "M".to_owned(),
            ping_timeout_seconds: 600.0,
            protocol: link::PROTOCOL_VERSION,
        })
        .await;
        hello
    }

    /// The next status, acknowledged.
    pub async fn status(&mut self) -> v1::TaskStatus {
        loop {
            if let from_agent::Body::Status(message) = self.hear().await {
                let status = message.status.unwrap();
                self.say(link::Acknowledge {
                    framework_id: message.framework_id,
                    task_id: status.task_id.value.clone(),
                    uuid: status.uuid.clone().unwrap(),
                })
                .await;
                return status;
            }
        }
    }

    /// The statuses up to the end of a task, acknowledged, one line each; repeated ones are left out.
    pub async fn until_end(&mut self) -> Vec<v1::TaskStatus> {
        let mut all: Vec<v1::TaskStatus> = Vec::new();
        loop {
            let status = self.status().await;
            if all.last().is_some_and(|last| last.uuid == status.uuid) {
                continue;
            }
            let state = model::TaskState::from(status.state());
            all.push(status);
            if state.is_terminal() {
                return all;
            }
        }
    }

    pub async fn run(&self, framework: &v1::FrameworkInfo, task: v1::TaskInfo) {
        self.say(link::RunTask { framework: Some(framework.clone()), task: Some(task) }).await;
    }

    pub async fn stop(self) {
        self.server.abort();
        let _ = self.server.await;
    }
}

pub fn lines(statuses: &[v1::TaskStatus]) -> Vec<String> {
    let line = |s: &v1::TaskStatus| {
        let mut line = s.state().as_str_name().to_owned();
        if s.reason.is_some() {
            line = format!("{line} {}", s.reason().as_str_name());
        }
        match &s.message {
            Some(message) => format!("{line}: {message}"),
            None => line,
        }
    };
    statuses.iter().map(line).collect()
}

pub fn framework(id: &str, checkpoint: bool) -> v1::FrameworkInfo {
    v1::FrameworkInfo {
        user: "root".to_owned(),
        name: id.to_owned(),
        id: Some(v1::FrameworkId { value: id.to_owned() }),
        checkpoint: Some(checkpoint),
        ..Default::default()
    }
}

pub fn task(id: &str, command: &str) -> v1::TaskInfo {
    let resources = model::resources::parse("cpus:0.1;mem:64", &model::Role::any()).unwrap();
    v1::TaskInfo {
        name: id.to_owned(),
        task_id: v1::TaskId { value: id.to_owned() },
        agent_id: v1::AgentId { value: "A-S0".to_owned() },
        resources: resources.to_wire(),
        command: Some(v1::CommandInfo { value: Some(command.to_owned()), ..Default::default() }),
        ..Default::default()
    }
}

/// An answer over HTTP.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

pub async fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, &format!("GET {path} HTTP/1.1\r\n"), b"").await
}

/// With one more line in the head.
pub async fn get_with(address: SocketAddr, path: &str, header: &str) -> Answer {
    request(address, &format!("GET {path} HTTP/1.1\r\n{header}"), b"").await
}

/// With the two lines of a call in the head: nothing of a line that is empty.
pub async fn call_with(address: SocketAddr, content_type: &str, more: &str, body: &[u8]) -> Answer {
    let of_type =
        if content_type.is_empty() { String::new() } else { format!("Content-Type: {content_type}\r\n") };
    let head = format!("POST /api/v1 HTTP/1.1\r\n{of_type}{more}Content-Length: {}\r\n", body.len());
    request(address, &head, body).await
}

pub async fn post(address: SocketAddr, path: &str, content_type: &str, body: &[u8]) -> Answer {
    let head =
        format!("POST {path} HTTP/1.1\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
    request(address, &head, body).await
}

async fn request(address: SocketAddr, head: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{head}Host: a\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
    let mut body = bytes[end + 4..].to_vec();
    if head.contains("transfer-encoding: chunked") {
        body = unchunk(&body);
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body }
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = bytes.windows(2).position(|w| w == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return whole;
        }
        whole.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 2 + size + 2..];
    }
}

/// Waits until something holds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
