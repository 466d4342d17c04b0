//! The agents' links: a gRPC stream each way. What comes in is checked and made an event; what goes out waits in a
//! bounded outbox.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use model::{AgentId, FrameworkId, TaskState};
use security::{Gate, Guest, TlsSettings};
use tokio::sync::oneshot;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};
use wire::link::agent_link_server::{AgentLink, AgentLinkServer};
use wire::link::{self, FromAgent, FromMaster, from_agent};

use super::handle::Handle;
use super::hello::{self, Hello};
use super::outbox::Drain;
use super::server::Lifeline;
use super::toll::Introduction;
use crate::config::Config;
use crate::logic::{Event, Identity, LinkId, Proof};

/// An agent must introduce itself within this time.
const FIRST_MESSAGE: Duration = Duration::from_secs(15);
/// The response to a link waits for its first message for so long, at most.
const FIRST_ANSWER: Duration = Duration::from_secs(1);

/// The gRPC service as a tower service.
pub type LinkServer = AgentLinkServer<Links>;

/// The gRPC service of the agents' link.
#[derive(Debug)]
pub struct Links {
    handle: Arc<Handle>,
    door: Door,
}

/// What an agent must bring.
#[derive(Debug)]
pub struct Door {
    certificate: bool,
    takes_certificates: bool,
    login: bool,
    gate: Arc<Gate>,
}

impl Door {
    /// As the flags say.
    pub fn of(config: &Config, gate: Arc<Gate>) -> Door {
        let certificate = config.tls.as_ref().is_some_and(|tls| tls.require_agent_cert);
        let takes_certificates = config.tls.as_ref().is_some_and(TlsSettings::has_ca);
        Door { certificate, takes_certificates, login: config.authenticate_agents, gate }
    }

    /// Mesos: an agent that wants to be authenticated is, whether it has to be or not.
    fn admit(&self, guest: &Guest, metadata: &MetadataMap) -> Result<Proof, &'static str> {
        let names = match guest {
            Guest::Certified(names) => names.to_vec(),
            _ if self.certificate => {
                return Err(
                    "this master takes only agents with a certificate; give --ssl_cert_file and --ssl_key_file",
                );
            }
            _ => Vec::new(),
        };
        let principal = self.login(metadata)?;
        Ok(Proof {
            identity: Identity { principal, names },
            by_login: self.gate.authenticator().takes_logins(),
            by_certificate: self.takes_certificates,
        })
    }

    /// The principal of its login, if it has one.
    fn login(&self, metadata: &MetadataMap) -> Result<Option<String>, &'static str> {
        let authenticator = self.gate.authenticator();
        match metadata.get("authorization") {
            Some(said) if authenticator.takes_logins() => {
                let principal = said.to_str().ok().and_then(|said| authenticator.login(said));
                principal.map(Some).ok_or("the principal or the secret in --credential is wrong")
            }
            _ if self.login => Err("this master takes only agents with a login; give --credential"),
            _ => Ok(None),
        }
    }
}

/// The service for the port's dispatcher.
pub fn server(handle: Handle, door: Door) -> LinkServer {
    AgentLinkServer::new(Links { handle: Arc::new(handle), door })
        .max_decoding_message_size(link::MAX_FROM_AGENT)
        .max_encoding_message_size(link::MAX_FROM_MASTER)
}

/// What goes down a link.
#[derive(Debug)]
pub enum Down {
    /// What the loop says.
    Loop {
        /// From its outbox.
        drain: Drain<Box<FromMaster>>,
        /// Tells by being dropped that nothing goes down any more.
        _open: oneshot::Sender<()>,
    },
    /// One refusal, made here.
    Refusal(Option<Box<FromMaster>>),
}

impl Stream for Down {
    type Item = Result<FromMaster, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.get_mut() {
            Down::Loop { drain, .. } => {
                Poll::Ready(ready!(Pin::new(drain).poll_next(cx)).map(|message| Ok(*message)))
            }
            Down::Refusal(refusal) => Poll::Ready(refusal.take().map(|refusal| Ok(*refusal))),
        }
    }
}

#[tonic::async_trait]
impl AgentLink for Links {
    type AttachStream = Down;

    async fn attach(&self, request: Request<Streaming<FromAgent>>) -> Result<Response<Down>, Status> {
        let Some(lifeline) = request.extensions().get::<Lifeline>().cloned() else {
            return Err(Status::internal("the connection is unknown"));
        };
        let peer = lifeline.peer();
        let proof = match self.door.admit(lifeline.guest(), request.metadata()) {
            Ok(proof) => proof,
            Err(why) => {
                tracing::warn!(%peer, why, "an agent is refused");
                return Err(Status::unauthenticated(why));
            }
        };
        let not_leading = || Status::unavailable("this master is not leading");
        let epoch = self.handle.epoch().ok_or_else(not_leading)?;
        let introduction = request.extensions().get::<Introduction>().cloned();
        let mut up = request.into_inner();
        let first = tokio::time::timeout(FIRST_MESSAGE, up.message())
            .await
            .map_err(|_| Status::deadline_exceeded("the agent did not register in time"))??;
        if let Some(introduction) = introduction {
            introduction.over();
        }
        let hello = match hello::of(first.and_then(|message| message.body)) {
            Ok(mut hello) => {
                hello.hello.proof = proof;
                hello
            }
            Err(error) => {
                tracing::warn!(%peer, %error, "an agent's registration is refused");
                return Ok(Response::new(refusal(epoch, error.to_string())));
            }
        };
        if hello.epoch > epoch {
            let seen = hello.epoch;
            tracing::error!(%peer, seen, epoch, "an agent has obeyed a newer master: this one must not lead it");
            let why = format!("the agent has obeyed epoch {seen}, this master has {epoch}");
            return Err(Status::failed_precondition(why));
        }
        let (link, mut drain) =
            self.handle.link(lifeline, |link| first_event(link, hello)).await.map_err(|_| not_leading())?;
        let (_open, closed) = oneshot::channel();
        tokio::spawn(read(self.handle.clone(), link, Box::new(up), closed));
        // So that the loop's answer goes out with the response, in one write instead of two. Without one in that time the
        // agent is at least told that it is heard.
        let _ = tokio::time::timeout(FIRST_ANSWER, drain.filled()).await;
        Ok(Response::new(Down::Loop { drain, _open }))
    }
}

fn refusal(epoch: u64, message: String) -> Down {
    Down::Refusal(Some(Box::new(FromMaster::new(epoch, link::Refused { message }))))
}

fn first_event(link: LinkId, hello: Hello) -> Event {
    let Hello { agent, hello, tasks, frameworks, completed, .. } = hello;
    match agent {
        Some(agent) => Event::AgentReregisters { link, agent, hello, tasks, frameworks, completed },
        None => Event::AgentRegisters { link, hello },
    }
}

/// Reads a link until either direction ends, and tells of that. A master has this once for each of its agents: messages
/// become events before anything is waited for, and what is passed in is small.
async fn read(
    handle: Arc<Handle>,
    link: LinkId,
    mut up: Box<Streaming<FromAgent>>,
    mut closed: oneshot::Receiver<()>,
) {
    loop {
        let said = poll_fn(|context| poll_event(link, &mut up, &mut closed, context)).await;
        let over = said.is_none();
        // Without a loop there is nobody to tell.
        if handle.tell(said.unwrap_or(Event::LinkLost { link })).await.is_err() || over {
            return;
        }
    }
}

/// The next thing that an agent says, or none when either direction ended.
fn poll_event(
    link: LinkId,
    up: &mut Streaming<FromAgent>,
    closed: &mut oneshot::Receiver<()>,
    context: &mut Context<'_>,
) -> Poll<Option<Event>> {
    loop {
        if Pin::new(&mut *closed).poll(context).is_ready() {
            return Poll::Ready(None);
        }
        let body = match ready!(Pin::new(&mut *up).poll_next(context)) {
            Some(Ok(message)) => message.body,
            Some(Err(status)) => {
                tracing::debug!(link = link.0, %status, "a link failed");
                return Poll::Ready(None);
            }
            None => return Poll::Ready(None),
        };
        match event(link, body) {
            Ok(Some(event)) => return Poll::Ready(Some(event)),
            // Mesos: an agent registers again and again until it is answered. On one link the first time is enough.
            Ok(None) => {
                tracing::debug!(link = link.0, "a registration said again while the first one is written");
            }
            // An agent sends a status again until it is acknowledged: ending the link would not make it better.
            Err(why) => {
                tracing::warn!(link = link.0, why, "a message of an agent makes no sense and is dropped");
            }
        }
    }
}

fn event(link: LinkId, body: Option<from_agent::Body>) -> Result<Option<Event>, String> {
    match body {
        Some(from_agent::Body::Pong(_)) => Ok(Some(Event::Pong { link })),
        Some(from_agent::Body::Unregister(_)) => Ok(Some(Event::AgentUnregisters { link })),
        Some(from_agent::Body::Status(status)) => update(link, status).map(Some),
        Some(from_agent::Body::Register(_) | from_agent::Body::Reregister(_)) => Ok(None),
        None => Err("a message of an unknown kind".to_owned()),
    }
}

fn update(link: LinkId, message: link::Status) -> Result<Event, String> {
    let framework = FrameworkId::from(message.framework_id.as_str());
    framework.check().map_err(|bad| format!("a status with a bad framework id: {bad}"))?;
    let mut status = message.status.ok_or("a status without its update")?;
    hello::detach(&mut status);
    model::ids::check(&status.task_id.value).map_err(|bad| format!("a status with a bad task id: {bad}"))?;
    if let Some(agent) = &status.agent_id {
        AgentId::from(agent).check().map_err(|bad| format!("a status with a bad agent id: {bad}"))?;
    }
    if status.uuid.as_ref().is_none_or(|uuid| uuid.len() != 16) {
        return Err("a status without a UUID of 16 bytes".to_owned());
    }
    let known = |state: i32| wire::v1::TaskState::try_from(state).map(TaskState::from).ok();
    if known(status.state).is_none() || status.timestamp.is_some_and(|at| !at.is_finite()) {
        return Err("a status of an unknown state, or at no time".to_owned());
    }
    let latest = known(message.latest_state).ok_or("a status with an unknown latest state")?;
    Ok(Event::TaskUpdate { link, framework, status: Box::new(status), latest })
}

#[cfg(test)]
mod tests {
    fn size<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn reading_a_link_takes_little_memory() {
        let size = size(super::read);
        assert!(size <= 1024, "{size} bytes");
    }
}
