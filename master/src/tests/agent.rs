//! An agent that speaks the real link and does nothing else.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use model::{Role, resources};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use wire::link::agent_link_client::AgentLinkClient;
use wire::link::{self, FromAgent, FromMaster, from_master};
use wire::v1;

use super::soon;

/// One link.
pub struct Agent {
    up: mpsc::Sender<FromAgent>,
    pub down: Streaming<FromMaster>,
    pub id: String,
    pub epoch: u64,
    /// Statuses told so far, one a second.
    told: AtomicU32,
}

pub fn info(hostname: &str) -> v1::AgentInfo {
    let all = resources::parse("cpus:4;mem:4096;disk:10000;ports:[31000-32000]", &Role::any()).unwrap();
    v1::AgentInfo {
        hostname: hostname.to_owned(),
        port: Some(5051),
        resources: all.to_wire(),
        attributes: model::attributes::parse("rack:r1;level:3").unwrap(),
        ..Default::default()
    }
}

pub fn register(hostname: &str) -> link::Register {
    link::Register {
        version: "1.12.0".to_owned(),
        agent: Some(info(hostname)),
        address: "127.0.0.1:5051".to_owned(),
        capabilities: vec!["MULTI_ROLE".to_owned()],
        checkpointed_resources: Vec::new(),
        incarnation: format!("first start of {hostname}"),
        protocol: link::PROTOCOL_VERSION,
    }
}

pub fn reregister(hostname: &str, id: &str) -> link::Reregister {
    let link::Register { version, agent, address, capabilities, incarnation, .. } = register(hostname);
    let mut agent = agent.unwrap();
    agent.id = Some(v1::AgentId { value: id.to_owned() });
    link::Reregister { version, agent: Some(agent), address, capabilities, incarnation, ..Default::default() }
}

impl Agent {
    /// Opens a link with a first message.
    pub async fn open(to: SocketAddr, first: impl Into<FromAgent>) -> Result<Agent, Status> {
        let (up, messages) = mpsc::channel(100);
        up.send(first.into()).await.unwrap();
        let mut client = AgentLinkClient::connect(format!("http://{to}")).await.unwrap();
        let down = soon(client.attach(ReceiverStream::new(messages))).await?.into_inner();
        Ok(Agent { up, down, id: String::new(), epoch: 0, told: AtomicU32::new(0) })
    }

    /// Opens a link and waits until the master has admitted the agent.
    pub async fn registered(to: SocketAddr, first: impl Into<FromAgent>) -> Agent {
        let mut agent = Agent::open(to, first).await.unwrap();
        let message = agent.message().await.expect("a registration is answered");
        let Some(from_master::Body::Registered(registered)) = message.body else { panic!("{message:?}") };
        agent.id = registered.agent_id;
        agent.epoch = message.epoch;
        agent
    }

    /// The next message that is no ping; pings are answered. None when the link has ended.
    pub async fn message(&mut self) -> Option<FromMaster> {
        let next = async {
            loop {
                let message = self.down.message().await.ok().flatten()?;
                let Some(from_master::Body::Ping(ping)) = &message.body else { return Some(message) };
                // The link may have ended meanwhile; then the next message tells.
                let _ = self.up.send(link::Pong { sequence: ping.sequence }.into()).await;
            }
        };
        soon(next).await
    }

    pub async fn say(&self, message: impl Into<FromAgent>) {
        self.up.send(message.into()).await.unwrap();
    }

    /// Tells a state of a task, a second after the last one.
    pub async fn status(&self, run: &link::RunTask, state: v1::TaskState, uuid: [u8; 16]) {
        let seconds = self.told.fetch_add(1, Ordering::Relaxed);
        let status = v1::TaskStatus {
            task_id: run.task.as_ref().unwrap().task_id.clone(),
            state: state.into(),
            source: Some(v1::task_status::Source::Executor.into()),
            agent_id: Some(v1::AgentId { value: self.id.clone() }),
            timestamp: Some(1_700_000_000.5 + f64::from(seconds)),
            uuid: Some(uuid.to_vec().into()),
            ..Default::default()
        };
        let framework_id = run.framework.as_ref().unwrap().id.clone().unwrap().value;
        self.say(link::Status { framework_id, status: Some(status), latest_state: state.into() }).await;
    }

    pub async fn run_task(&mut self) -> link::RunTask {
        let message = self.message().await.expect("the link is open");
        assert_eq!(message.epoch, self.epoch);
        let Some(from_master::Body::RunTask(run)) = message.body else { panic!("{message:?}") };
        *run
    }
}
