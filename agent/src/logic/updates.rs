//! Status updates on their way to the scheduler: a queue per task, of which only the head is in flight.
//!
//! Mesos: an update is checkpointed before it is sent (when its framework checkpoints), sent again after 10 s and then
//! after twice as long each time up to 10 min, not while disconnected, and followed by the next one only after its
//! acknowledgement. Acknowledgements that don't name the head are ignored.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::{FrameworkId, TaskId, TaskState, Timestamp};
use wire::{link, v1};

use super::effect::{Effect, Run, Write};
use super::event::RecoveredUpdate;
use super::say::state_of;
use super::state::{Framework, State, TaskKey, Waiting};

/// Time until an update is sent for the second time.
pub const FIRST_RETRY: Duration = Duration::from_secs(10);
/// Longest time between two sendings.
pub const LONGEST_RETRY: Duration = Duration::from_secs(600);

/// The updates of one task that are not acknowledged yet, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// Where they are checkpointed, if they are.
    run: Option<Arc<Run>>,
    queue: VecDeque<Pending>,
    /// The head was sent: when it is sent again, and how long that wait is.
    retry: Option<(Timestamp, Duration)>,
    /// The acknowledgement of the head is being written.
    acknowledging: bool,
}

#[derive(Clone, Debug)]
struct Pending {
    status: Arc<v1::TaskStatus>,
    saved: bool,
}

impl Stream {
    fn new(run: Option<Arc<Run>>) -> Stream {
        Stream { run, queue: VecDeque::new(), retry: None, acknowledging: false }
    }

    /// What a restarted agent still has to deliver; none when everything is.
    pub(super) fn recovered(run: &Arc<Run>, updates: &[RecoveredUpdate]) -> Option<Stream> {
        let mut stream = Stream::new(Some(run.clone()));
        // Updates are acknowledged in order: a later acknowledgement answers for one that could not be written.
        let heard = updates.iter().rposition(|u| u.acknowledged).map_or(0, |last| last + 1);
        let waiting = updates[heard..].iter();
        stream.queue.extend(waiting.map(|u| Pending { status: u.status.clone(), saved: true }));
        (!stream.queue.is_empty()).then_some(stream)
    }

    /// The update that is in flight or next.
    pub(super) fn head(&self) -> Option<&Arc<v1::TaskStatus>> {
        self.queue.front().map(|p| &p.status)
    }

    /// The newest state in the queue.
    fn latest(&self) -> TaskState {
        self.queue.back().map_or(TaskState::Unknown, |p| state_of(&p.status))
    }

    /// Nothing is in flight any more: the head is sent when the agent is registered again.
    pub(super) fn pause(&mut self) {
        self.retry = None;
    }

    pub(super) fn due(&self) -> Option<Timestamp> {
        self.retry.map(|(at, _)| at)
    }

    fn is_head(&self, uuid: &[u8]) -> bool {
        self.head().is_some_and(|status| status.uuid() == uuid)
    }
}

impl State {
    /// Queues an update. `run` says where to checkpoint it, if the framework wants that.
    pub(super) fn queue_update(
        &mut self,
        now: Timestamp,
        key: &TaskKey,
        run: Option<&Arc<Run>>,
        status: Arc<v1::TaskStatus>,
        out: &mut Vec<Effect>,
    ) {
        self.counts.said(state_of(&status));
        let stream = self.streams.entry(key.clone()).or_insert_with(|| Stream::new(run.cloned()));
        let saved = stream.run.is_none();
        stream.queue.push_back(Pending { status: status.clone(), saved });
        match stream.run.clone() {
            None => self.saved_update(now, key, &status, out),
            Some(run) => {
                let waiting = Waiting::Update(key.clone(), status.uuid.clone().unwrap_or_default());
                self.checkpoint(waiting, Write::Update { run, status }, out);
            }
        }
    }

    /// An update is on disk, or never will be: from now on it may be sent.
    pub(super) fn update_checkpointed(
        &mut self,
        now: Timestamp,
        key: &TaskKey,
        uuid: &[u8],
        outcome: Result<(), String>,
        out: &mut Vec<Effect>,
    ) {
        if let Err(why) = outcome {
            // Room is set aside for updates when a task starts, so this is a broken disk rather than a full one; the
            // master still has to hear how the task does.
            out.push(Effect::Warn(format!(
                "Could not checkpoint an update of task '{}', which is sent all the same: {why}",
                key.1
            )));
        }
        let Some(stream) = self.streams.get_mut(key) else { return };
        let Some(pending) = stream.queue.iter_mut().find(|p| p.status.uuid() == uuid) else { return };
        pending.saved = true;
        let status = pending.status.clone();
        self.saved_update(now, key, &status, out);
    }

    fn saved_update(
        &mut self,
        now: Timestamp,
        key: &TaskKey,
        status: &v1::TaskStatus,
        out: &mut Vec<Effect>,
    ) {
        if state_of(status).is_terminal() {
            self.end_is_safe(key, out);
        }
        self.send_head(now, key, out);
    }

    /// Sends the head of a queue unless it is in flight, not on disk yet, heard, or nobody is there to hear it.
    pub(super) fn send_head(&mut self, now: Timestamp, key: &TaskKey, out: &mut Vec<Effect>) {
        self.send(now, key, FIRST_RETRY, out);
    }

    fn send(&mut self, now: Timestamp, key: &TaskKey, wait: Duration, out: &mut Vec<Effect>) {
        let Some(link) = self.registered_link() else { return };
        // Mesos: no updates of a framework that is being shut down. To a master that doesn't know that it was, its tasks are
        // gone, for they are not reported.
        let ends = |framework: &Framework| framework.terminating && framework.tasks.contains_key(&key.1);
        if self.frameworks.get(&key.0).is_some_and(ends) {
            return;
        }
        let Some(stream) = self.streams.get_mut(key) else { return };
        let latest = stream.latest();
        let idle = stream.retry.is_none() && !stream.acknowledging;
        let Some(head) = stream.queue.front().filter(|head| head.saved && idle) else { return };
        let body = link::Status {
            framework_id: key.0.as_str().to_owned(),
            status: Some((*head.status).clone()),
            latest_state: v1::TaskState::from(latest).into(),
        };
        stream.retry = Some((now + wait, wait));
        out.push(Effect::ToMaster { link, body: Box::new(body.into()) });
    }

    /// Sends every head: the agent has just registered.
    pub(super) fn resume_updates(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        for key in self.streams.keys().cloned().collect::<Vec<_>>() {
            if let Some(stream) = self.streams.get_mut(&key) {
                stream.pause();
            }
            self.send_head(now, &key, out);
        }
    }

    /// Sends again what is overdue.
    pub(super) fn retry_updates(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let overdue: Vec<TaskKey> = self
            .streams
            .iter()
            .filter(|(_, s)| s.due().is_some_and(|d| d <= now))
            .map(|(k, _)| k.clone())
            .collect();
        for key in overdue {
            let Some(stream) = self.streams.get_mut(&key) else { continue };
            let waited = stream.retry.take().map_or(FIRST_RETRY, |(_, wait)| wait);
            self.send(now, &key, (waited * 2).min(LONGEST_RETRY), out);
        }
    }

    /// The scheduler has the update with this uuid.
    pub(super) fn acknowledge(
        &mut self,
        now: Timestamp,
        framework: &str,
        task: &str,
        uuid: &Bytes,
        out: &mut Vec<Effect>,
    ) {
        let key = (FrameworkId::new(framework), TaskId::new(task));
        let Some(stream) = self.streams.get_mut(&key) else { return };
        // An update that is not on disk yet was never sent, so nobody can have it.
        let sent = stream.queue.front().is_some_and(|head| head.saved);
        if !sent || !stream.is_head(uuid) || stream.acknowledging {
            return;
        }
        let ends = stream.queue.len() == 1 && stream.latest().is_terminal();
        let Some(run) = stream.run.clone() else { return self.acknowledged(now, &key, uuid, out) };
        let write = Write::Acknowledged { run, uuid: uuid.clone() };
        if ends {
            // The scheduler may use the id again at once. What is written for that comes after this on disk, so a
            // restart never mistakes one run for the other.
            self.checkpoint(Waiting::Nothing, write, out);
            self.acknowledged(now, &key, uuid, out);
        } else {
            stream.acknowledging = true;
            self.checkpoint(Waiting::Acknowledged(key, uuid.clone()), write, out);
        }
    }

    /// An acknowledgement is on disk (or never will be: then a restart sends the update once more).
    pub(super) fn acknowledged(&mut self, now: Timestamp, key: &TaskKey, uuid: &[u8], out: &mut Vec<Effect>) {
        let Some(stream) = self.streams.get_mut(key).filter(|s| s.is_head(uuid)) else { return };
        stream.acknowledging = false;
        stream.retry = None;
        stream.queue.pop_front();
        if stream.queue.is_empty() {
            // The stream of a task that goes on is made again by its next update.
            self.streams.remove(key);
        }
        if !self.streams.contains_key(key) && self.ended(key) {
            self.complete(now, key, out);
        } else {
            self.send_head(now, key, out);
        }
    }
}
