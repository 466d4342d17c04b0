//! The task on its way: from an offer to an agent, from status to status, to its end.

use std::time::Duration;

use coordination::LeaderAddress;
use model::TaskState;
use sdk::launch;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wire::v1::scheduler::call;
use wire::v1::task_status::{Reason, Source};
use wire::v1::{AgentId, Offer, TaskStatus};

use super::super::ending::{self, Ending};
use super::super::offers;
use super::super::output::{self, Sandbox, Sink};
use super::{Run, Step};

/// Tries of a task whose launch was lost on the way, through no fault of its own.
const TRIES: u32 = 10;

/// Where the task is.
pub(super) enum Phase {
    /// It waits for an offer, since then.
    Wanting(Instant),
    /// ACCEPT was sent.
    Launched(Placed),
}

/// A task on an agent.
pub(super) struct Placed {
    pub(super) agent: AgentId,
    address: Option<LeaderAddress>,
    /// A status came from the agent itself.
    pub(super) seen: bool,
    pub(super) running_since: Option<Instant>,
    pub(super) output: Option<Output>,
    /// What the master answered about the end of the task, and when. How it ended, its own update tells, which the
    /// agent sends again every so often until it is acknowledged.
    answer: Option<Box<(TaskStatus, Instant)>>,
}

/// How long the update itself is waited for once the master has said that the task has ended: the agent's second
/// sending of it comes 10 s after the first.
const UPDATE_AFTER_ANSWER: Duration = Duration::from_secs(15);

/// The copying of its output.
pub(super) struct Output {
    pub(super) ended: watch::Sender<bool>,
    pub(super) copies: Vec<JoinHandle<()>>,
}

impl Run {
    pub(super) async fn offers(&mut self, offers: Vec<Offer>) {
        let wanting = matches!(self.phase, Phase::Wanting(_)) && self.killing.is_none();
        let chosen = offers::choose(&offers, &self.job.task.resources).filter(|_| wanting);
        let taken = chosen.as_ref().map(|(offer, _)| offer.id.clone());
        let pause =
            if taken.is_some() || !wanting { Duration::from_secs(3600) } else { Duration::from_secs(2) };
        if let Some((offer, given)) = chosen {
            let task = self.job.task.on(&offer.agent_id, &given);
            self.scheduler.call(launch::accept(offer, vec![task])).await;
            self.scheduler.call(launch::plain(call::Type::Suppress)).await;
            self.asked = Instant::now();
            self.phase = Phase::Launched(Placed {
                agent: offer.agent_id.clone(),
                address: address(offer),
                seen: false,
                running_since: None,
                output: None,
                answer: None,
            });
        }
        let rest: Vec<_> = offers.into_iter().map(|o| o.id).filter(|id| Some(id) != taken.as_ref()).collect();
        if !rest.is_empty() {
            self.scheduler.call(launch::decline(rest, pause)).await;
        }
    }

    pub(super) async fn update(&mut self, status: TaskStatus) -> Step {
        self.scheduler.acknowledge(&status).await;
        if status.task_id.value != self.job.task.id {
            return Ok(None);
        }
        let state = TaskState::from(status.state());
        let Phase::Launched(placed) = &mut self.phase else { return Ok(None) };
        let never_seen = !placed.seen;
        placed.seen |= status.uuid.is_some();
        if state.is_terminal() {
            if never_seen && self.killing.is_none() && self.tries < TRIES && lost_on_the_way(state, &status) {
                tracing::info!(
                    state = state.name(),
                    message = status.message(),
                    "the launch was lost; trying again"
                );
                self.want_again().await;
                return Ok(None);
            }
            if state == TaskState::Failed && is_answer(&status) {
                placed.answer.get_or_insert_with(|| Box::new((status, Instant::now())));
                return Ok(None);
            }
            return Ok(Some(self.ended(&status)));
        }
        if matches!(state, TaskState::Running) {
            self.running();
        }
        if matches!(state, TaskState::Unreachable) {
            self.note("the task's agent is unreachable; waiting for it");
        }
        Ok(None)
    }

    /// The end of a task of which nobody tells more than that it has ended.
    pub(super) fn unexplained(&mut self) -> Option<Ending> {
        let Phase::Launched(Placed { answer: Some(answer), .. }) = &self.phase else { return None };
        let (status, since) = &**answer;
        let status = (since.elapsed() >= UPDATE_AFTER_ANSWER).then(|| status.clone())?;
        Some(self.ended(&status))
    }

    fn running(&mut self) {
        let Phase::Launched(placed) = &mut self.phase else { return };
        placed.running_since.get_or_insert_with(Instant::now);
        let (Some(address), Some(framework)) = (&placed.address, &self.framework) else { return };
        if placed.output.is_some() {
            return;
        }
        let sandbox = Sandbox::of_run(address.clone(), framework, &self.job.task.id);
        let (ended, heard) = watch::channel(false);
        let copies = [Sink::Stdout, Sink::Stderr].map(|sink| {
            let copy = output::follow(self.http.clone(), sandbox.clone(), sink, 0, heard.clone());
            let errors = self.output_errors.clone();
            tokio::spawn(async move {
                if let Err(error) = copy.await {
                    // It is full when the other copy has said so already.
                    let _ = errors.try_send(error);
                }
            })
        });
        placed.output = Some(Output { ended, copies: copies.into() });
    }

    fn ended(&mut self, status: &TaskStatus) -> Ending {
        // A task that ended before RUNNING was heard may have written something all the same.
        if matches!(&self.phase, Phase::Launched(placed) if placed.seen) {
            self.running();
        }
        let ending = ending::of(status);
        match self.killing {
            Some((code, _)) => Ending { code, message: None },
            None => ending,
        }
    }
}

/// Whether a status is what the master answered when it was asked, which says no more than the state.
fn is_answer(status: &TaskStatus) -> bool {
    status.uuid.is_none() && status.reason == Some(Reason::Reconciliation.into())
}

/// Whether a launch never reached a container, so that another try does no harm.
fn lost_on_the_way(state: TaskState, status: &TaskStatus) -> bool {
    let lost = matches!(state, TaskState::Lost | TaskState::Dropped | TaskState::Gone);
    let passing = matches!(
        status.reason(),
        Reason::InvalidOffers
            | Reason::AgentRemoved
            | Reason::AgentDisconnected
            | Reason::AgentRestarted
            | Reason::Reconciliation
            | Reason::ResourcesUnknown
    );
    lost && passing && status.reason.is_some() && status.source() != Source::Executor
}

/// Where the agent of an offer answers.
fn address(offer: &Offer) -> Option<LeaderAddress> {
    let address = &offer.url.as_ref()?.address;
    let host =
        address.ip.clone().or_else(|| address.hostname.clone()).unwrap_or_else(|| offer.hostname.clone());
    Some(LeaderAddress { host, port: u16::try_from(address.port).ok()? })
}
