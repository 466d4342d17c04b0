//! The loop: the only one that changes the state. It takes events in, and carries effects out in order.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::Duration;

use model::AgentId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use super::checkpoint::Order;
use super::clock::Clock;
use super::collector::Collector;
use super::master_link::LinkOrder;
use crate::AgentError;
use crate::containerizer::{Containerizer, Reports};
use crate::logic::{Effect, Event, Recovered, State, View};

/// How long the removal of containers is waited for at the end.
const LONGEST_SETTLING: Duration = Duration::from_secs(60);

/// What goes into the loop.
#[derive(Debug)]
pub(crate) enum Input {
    /// Something happened.
    Event(Event),
    /// Somebody wants to read.
    View(oneshot::Sender<Arc<View>>),
}

/// Gets views of the state, and hands on what operators want.
#[derive(Clone, Debug)]
pub(crate) struct Reader(mpsc::Sender<Input>);

impl Reader {
    pub(crate) fn new(inputs: mpsc::Sender<Input>) -> Reader {
        Reader(inputs)
    }

    /// Tells the loop what an operator wants; false when the agent has ended.
    pub(crate) async fn tell(&self, event: Event) -> bool {
        self.0.send(Input::Event(event)).await.is_ok()
    }

    /// The state as it is now; none when the agent has ended.
    pub(crate) async fn view(&self) -> Option<Arc<View>> {
        let (answer, view) = oneshot::channel();
        self.0.send(Input::View(answer)).await.ok()?;
        view.await.ok()
    }
}

/// The loop with all that it drives.
pub(crate) struct Driver {
    pub(crate) state: State,
    pub(crate) clock: Clock,
    pub(crate) work_dir: PathBuf,
    pub(crate) link: mpsc::UnboundedSender<LinkOrder>,
    pub(crate) link_task: JoinHandle<()>,
    pub(crate) disk: blocking::Sender<Order>,
    pub(crate) disk_thread: std::thread::JoinHandle<()>,
    pub(crate) containers: Arc<dyn Containerizer>,
    pub(crate) reports: Reports,
    pub(crate) agent_id: watch::Sender<Option<AgentId>>,
    pub(crate) registered: watch::Sender<bool>,
    pub(crate) disk_watch_interval: Duration,
    pub(crate) collector: Collector,
    /// Looks at the disk usage of tasks, if that is wanted.
    pub(crate) disk_watch: Option<JoinHandle<()>>,
    /// The epoch of the master obeyed last, as the log has told it.
    pub(crate) obeyed: u64,
}

/// What the loop listens to.
pub(crate) struct Ears {
    /// From the link, the disk, the API.
    pub(crate) inputs: mpsc::Receiver<Input>,
    /// From the link alone, bounded so that a master can't flood the agent.
    pub(crate) link: mpsc::Receiver<Event>,
    /// From containers: a few for each.
    pub(crate) containers: mpsc::UnboundedReceiver<Event>,
    /// The operator wants the agent to leave for good.
    pub(crate) shut_down: mpsc::Receiver<()>,
    /// The process ends.
    pub(crate) stop: oneshot::Receiver<()>,
}

/// How the loop ended.
enum End {
    /// The logic wants it.
    Exit { clean: bool, why: String },
    /// The process was told to.
    Stop,
}

impl Driver {
    /// Runs until the end.
    pub(crate) async fn run(mut self, recovered: Recovered, mut ears: Ears) -> Result<(), AgentError> {
        let mut effects = Vec::new();
        self.state.step(self.clock.now(), Event::Recovered(Box::new(recovered)), &mut effects);
        let mut disk_watch = tokio::time::interval(self.disk_watch_interval);
        disk_watch.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let end = loop {
            if let Some(end) = self.carry_out(&mut effects) {
                break end;
            }
            self.publish();
            let event = tokio::select! {
                Some(event) = ears.containers.recv() => event,
                Some(input) = ears.inputs.recv() => match input {
                    Input::Event(event) => event,
                    Input::View(answer) => {
                        // Whoever asked may have gone.
                        let _ = answer.send(Arc::new(self.state.view()));
                        continue;
                    }
                },
                Some(event) = ears.link.recv() => event,
                () = sleep_until(&self.clock, self.state.next_wakeup()) => Event::Tick,
                _ = disk_watch.tick() => match crate::resources::disk_usage(&self.work_dir) {
                    Some(used) => Event::DiskUsage { used },
                    None => continue,
                },
                Some(()) = ears.shut_down.recv() => Event::ShutdownRequested,
                _ = &mut ears.stop => break End::Stop,
            };
            tracing::debug!(?event, "event");
            self.state.step(self.clock.now(), event, &mut effects);
            self.tell_epoch();
        };
        drop(ears);
        self.end(end).await
    }

    /// Said before anything that the new leader orders is done.
    fn tell_epoch(&mut self) {
        let epoch = self.state.epoch();
        if std::mem::replace(&mut self.obeyed, epoch) != epoch {
            tracing::info!(epoch, "obeying another leading master");
        }
    }

    fn publish(&self) {
        let view = (self.state.agent_id(), self.state.is_registered());
        self.agent_id.send_if_modified(|have| {
            let changed = have.as_ref() != view.0;
            if changed {
                *have = view.0.cloned();
            }
            changed
        });
        self.registered.send_if_modified(|have| std::mem::replace(have, view.1) != view.1);
    }

    fn carry_out(&self, effects: &mut Vec<Effect>) -> Option<End> {
        for effect in effects.drain(..) {
            tracing::debug!(?effect, "effect");
            match effect {
                Effect::Exit { clean, why } => return Some(End::Exit { clean, why }),
                other => self.perform(other),
            }
        }
        None
    }

    fn perform(&self, effect: Effect) {
        match effect {
            // It comes once, at the end of the recovery.
            Effect::Connect => {
                self.tell_disk(Order::Settle);
                self.tell_link(LinkOrder::Connect);
            }
            Effect::Reconnect { link } => self.tell_link(LinkOrder::Reconnect(link)),
            Effect::ToMaster { link, body } => self.tell_link(LinkOrder::Say(link, body)),
            Effect::Checkpoint { ticket, write } => self.tell_disk(Order::Write(ticket, write)),
            Effect::ForgetAgent => self.tell_disk(Order::ForgetAgent),
            Effect::Launch(launch) => {
                tracing::info!(task = %launch.run.task, framework = %launch.run.framework,
                    container = %launch.run.container, epoch = launch.epoch, "launching");
                self.containers.launch(*launch, self.reports.clone());
            }
            Effect::Reattach { run } => {
                tracing::info!(task = %run.task, container = %run.container, "found running");
                self.containers.reattach(run, self.reports.clone());
            }
            Effect::Kill { container, grace } => self.containers.kill(&container, grace),
            Effect::Evict { container } => self.containers.evict(&container),
            Effect::Destroy { container } => self.containers.destroy(&container),
            Effect::Collect { run } => self.collector.collect(run),
            Effect::Warn(text) => tracing::warn!("{text}"),
            Effect::Exit { .. } => {}
        }
    }

    fn tell_link(&self, order: LinkOrder) {
        if self.link.send(order).is_err() {
            tracing::debug!("the link has ended");
        }
    }

    fn tell_disk(&self, order: Order) {
        if self.disk.send(order).is_err() {
            tracing::error!("the checkpoint thread has ended");
        }
    }

    /// Lets everything that was begun come to its end.
    async fn end(self, end: End) -> Result<(), AgentError> {
        if let End::Stop = end {
            // Nobody will find these again: a restart destroys them unheard.
            for container in self.state.unsaved_containers() {
                self.containers.destroy(&container);
            }
        }
        if let Some(watch) = &self.disk_watch {
            watch.abort();
        }
        drop(self.collector);
        drop(self.link);
        if let Err(error) = self.link_task.await {
            tracing::debug!("the link ended: {error}");
        }
        if tokio::time::timeout(LONGEST_SETTLING, self.containers.settled()).await.is_err() {
            tracing::warn!("some containers could not be removed in time");
        }
        drop(self.disk);
        let thread = self.disk_thread;
        let joined = spawn_blocking(move || thread.join().is_ok()).await;
        if !matches!(joined, Ok(true)) {
            tracing::error!("the checkpoint thread failed");
        }
        match end {
            End::Exit { clean: false, why } => Err(AgentError::Ended(why)),
            End::Exit { clean: true, why } => {
                tracing::info!("ending: {why}");
                Ok(())
            }
            End::Stop => Ok(()),
        }
    }
}

async fn sleep_until(clock: &Clock, when: Option<model::Timestamp>) {
    match when {
        Some(when) => tokio::time::sleep(clock.until(when)).await,
        None => std::future::pending().await,
    }
}
