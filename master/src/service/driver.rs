//! The loop: one task owns the state, lets one thing happen after another and carries out the effects in order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use coordination::{Leadership, Tenure};
use model::{Resources, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use wire::link::{FromMaster, RunTask, from_master};

use super::clock;
use super::handle::{Ends, Handle, Input, LinkEnd, StreamEnd, WatchEnd};
use super::lending::{Lending, Lent};
use super::outbox::Outbox;
use super::registrar::{self, Registrar, Written};
use super::server::Lifeline;
use super::vitals::Turn;
use super::watchers::{Record, Told};
use crate::MasterError;
use crate::logic::{
    CallId, Change, Contents, Count, Effect, Event, LinkId, OperatorEvent, Refused, SchedulerEvent, State,
    StreamId, Ticket,
};
use crate::view::View;

/// Things that happen in one turn, at most; and for how long, but for the last of them. Then writes go out and the loop
/// looks whether it still leads.
const TURN: usize = 128;
const TURN_TIME: Duration = Duration::from_millis(1);
/// Who waits for less than this is woken by every single message, each of which stops the thread that sends it. After such
/// a turn the loop rests, and then takes what came meanwhile in one turn: what waits in a rest costs next to nothing.
const SHORT_WAIT: Duration = Duration::from_micros(100);
const REST: Duration = Duration::from_micros(300);
/// A turn that is worth a warning.
const LONG_TURN: Duration = Duration::from_millis(500);
/// When nothing is due. Any time will do.
const IDLE: Duration = Duration::from_secs(3600);

/// The one task that owns the state.
pub struct Driver {
    state: State,
    epoch: u64,
    handle: Handle,
    ends: Ends,
    registrar: Registrar,
    written: mpsc::UnboundedReceiver<Written>,
    /// Writes that are done, of which the state has yet to hear. They came together, and go one by one.
    done: VecDeque<Ticket>,
    links: BTreeMap<LinkId, LinkEnd>,
    streams: BTreeMap<StreamId, StreamEnd>,
    watchers: BTreeMap<StreamId, WatchEnd>,
    calls: BTreeMap<CallId, oneshot::Sender<Result<(), Refused>>>,
    effects: Vec<Effect>,
    /// Peers that were cut during a step; the state hears of them after it.
    cut: VecDeque<Event>,
    /// Writes asked for in this turn.
    writes: Vec<(Ticket, Change)>,
    view: Option<Arc<Lent>>,
    lending: Lending,
    tenure: Tenure,
    left: Option<Left>,
}

/// How a tenure ended.
#[derive(Debug)]
pub enum Left {
    /// As ordered.
    Stopped,
    /// Another leads now, or may: nothing of this tenure counts any more.
    Lost(String),
    /// This master can't go on.
    Failed(MasterError),
}

/// What a turn begins with.
enum Work {
    Input(Input),
    LostStream(StreamId),
    Written(Written),
    Done(Ticket),
    /// Something may be due.
    Time,
    Stop,
    LostLeadership,
}

impl Driver {
    /// A driver that has not yet led.
    pub fn new(
        state: State,
        epoch: u64,
        handle: Handle,
        ends: Ends,
        registrar: registrar::Start,
        tenure: Tenure,
    ) -> Driver {
        let (report, written) = mpsc::unbounded_channel();
        Driver {
            state,
            epoch,
            handle,
            ends,
            registrar: registrar.start(report),
            written,
            done: VecDeque::new(),
            links: BTreeMap::new(),
            streams: BTreeMap::new(),
            watchers: BTreeMap::new(),
            calls: BTreeMap::new(),
            effects: Vec::new(),
            cut: VecDeque::new(),
            writes: Vec::new(),
            view: None,
            lending: Lending::new(),
            tenure,
            left: None,
        }
    }

    /// Hands the registry to the state.
    pub fn elected(&mut self, contents: Contents) {
        self.step(Event::Elected(Box::new(contents)));
        self.flush();
    }

    /// Leads until told to stop, or until it can't.
    pub async fn run(
        &mut self,
        leadership: &mut watch::Receiver<Leadership>,
        stop: &mut oneshot::Receiver<()>,
    ) -> Left {
        loop {
            let asked = Instant::now();
            let work = self.wait(leadership, stop).await;
            let busy = asked.elapsed() < SHORT_WAIT;
            match work {
                Work::Stop => return Left::Stopped,
                Work::LostLeadership => return Left::Lost("another master leads".to_owned()),
                work => self.turn(work),
            }
            if let Some(left) = self.left.take() {
                return left;
            }
            if busy && self.ends.inputs.is_empty() && self.done.is_empty() {
                // For no condition, on a thread of its own.
                #[allow(clippy::disallowed_methods)]
                std::thread::sleep(REST);
            }
        }
    }

    /// Closes all streams and links, after what was sent unless the leadership is `lost`, and waits for the last write.
    /// Gives the loop's ends back.
    pub async fn finish(self, lost: bool) -> Ends {
        let Driver { registrar, links, streams, watchers, calls, ends, .. } = self;
        if lost {
            // What waits was said by a leader; it must not arrive after that has ended.
            links.into_values().for_each(|end| cut(end.outbox, &end.lifeline));
            streams.into_values().for_each(|end| cut(end.outbox, &end.lifeline));
            watchers.into_values().for_each(|end| cut(end.outbox, &end.lifeline));
            registrar.abandon();
        } else {
            drop((links, streams, watchers));
            registrar.finish().await;
        }
        drop(calls);
        ends
    }

    async fn wait(
        &mut self,
        leadership: &mut watch::Receiver<Leadership>,
        stop: &mut oneshot::Receiver<()>,
    ) -> Work {
        let due = self.state.next_wakeup().map_or(IDLE, |when| self.handle.clock().until(when));
        tokio::select! {
            biased;
            _ = stop => Work::Stop,
            // A contest without a sender is never lost; the pattern then leaves this branch out.
            Ok(_) = leadership.wait_for(|now| !is_in(&self.tenure, now)) => Work::LostLeadership,
            // The turn takes them.
            () = std::future::ready(()), if !self.done.is_empty() => Work::Time,
            Some(written) = self.written.recv() => Work::Written(written),
            Some(stream) = self.ends.lost_streams.recv() => Work::LostStream(stream),
            Some(input) = self.ends.inputs.recv() => Work::Input(input),
            () = self.lending.due() => Work::Time,
            () = tokio::time::sleep(due) => Work::Time,
        }
    }

    fn turn(&mut self, work: Work) {
        let (began, ran) = (Instant::now(), clock::of_thread());
        // A process that was stopped for a while may have been succeeded meanwhile.
        if !self.may_act() {
            return;
        }
        self.work(work);
        if self.state.next_wakeup().is_some_and(|when| when <= self.handle.clock().now()) {
            self.step(Event::Tick);
        }
        let mut left = TURN;
        while left > 0 && began.elapsed() < TURN_TIME && self.left.is_none() {
            let Some(work) = self.next() else { break };
            self.work(work);
            left -= 1;
        }
        self.flush();
        self.lending.shed();
        let took = began.elapsed();
        if took > LONG_TURN {
            tracing::warn!(?took, things = TURN - left, "one turn of the loop held up all others");
        }
        let ran = clock::of_thread().saturating_sub(ran);
        self.handle.vitals().turn(Turn { took, ran, ended: Some(SystemTime::now()) });
    }

    /// What waits, without waiting for it.
    fn next(&mut self) -> Option<Work> {
        if let Some(ticket) = self.done.pop_front() {
            return Some(Work::Done(ticket));
        }
        // Not `try_recv`, which waits for a sender that was preempted in the midst of it.
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(Some(written)) = self.written.poll_recv(&mut context) {
            return Some(Work::Written(written));
        }
        if let Poll::Ready(Some(stream)) = self.ends.lost_streams.poll_recv(&mut context) {
            return Some(Work::LostStream(stream));
        }
        match self.ends.inputs.poll_recv(&mut context) {
            Poll::Ready(input) => input.map(Work::Input),
            Poll::Pending => None,
        }
    }

    fn work(&mut self, work: Work) {
        match work {
            Work::Input(input) => self.input(input),
            Work::LostStream(stream) => {
                // Cut ones are no longer here: the state has heard of them.
                if self.streams.remove(&stream).is_some() || self.watchers.remove(&stream).is_some() {
                    self.step(Event::StreamLost { stream });
                }
            }
            // Mesos: a failed write ends the leading master. Where others can lead, they get the chance first.
            Work::Written(Written { done: false, .. }) if self.tenure.session.is_some() => {
                self.left = Some(Left::Lost("the registry could not be written".to_owned()));
            }
            Work::Written(Written { tickets, done: true }) => self.done.extend(tickets),
            Work::Written(Written { tickets, done: false }) => {
                for ticket in tickets {
                    self.step(Event::Persisted { ticket, done: false });
                }
            }
            Work::Done(ticket) => self.step(Event::Persisted { ticket, done: true }),
            Work::Time | Work::Stop | Work::LostLeadership => {}
        }
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Event(Event::LinkLost { link }) => {
                if self.links.remove(&link).is_some() {
                    self.step(Event::LinkLost { link });
                }
            }
            Input::Event(event) => self.step(event),
            Input::Link(link, end, event) => {
                self.links.insert(link, end);
                self.step(event);
            }
            Input::Stream(stream, end, event) => {
                // The subscriber has gone again; its loss was or will be told, and means nothing.
                if end.outbox.as_ref().is_some_and(|outbox| outbox.is_closed()) {
                    return;
                }
                self.streams.insert(stream, end);
                self.step(event);
            }
            Input::Watch(stream, end, event) => {
                if end.outbox.as_ref().is_some_and(|outbox| outbox.is_closed()) {
                    return;
                }
                self.watchers.insert(stream, end);
                self.step(event);
            }
            Input::Call(call, answer, event) => {
                self.calls.insert(call, answer);
                self.step(event);
            }
            Input::View(answer) => {
                // Who asked may have left.
                let _ = answer.send(self.view());
            }
        }
    }

    /// Whether this master leads; asked before anything leaves it.
    fn may_act(&mut self) -> bool {
        if self.tenure.lease.holds() {
            return true;
        }
        self.left = Some(Left::Lost("its lease ran out".to_owned()));
        false
    }

    fn view(&mut self) -> Arc<Lent> {
        let (state, lending) = (&self.state, &self.lending);
        self.view.get_or_insert_with(|| lending.lend(View::of(state))).clone()
    }

    fn step(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next {
            // Only readers keep an older view: what nobody reads need not be copied before it changes.
            self.view = None;
            let mut effects = std::mem::take(&mut self.effects);
            let now = self.handle.clock().now();
            if self.state.begin(now, event, &mut effects) {
                self.settle(now, &mut effects);
            }
            if effects.is_empty() || self.may_act() {
                for effect in effects.drain(..) {
                    self.carry_out(effect);
                }
            }
            effects.clear();
            self.effects = effects;
            next = self.cut.pop_front();
        }
    }

    /// The second half of a step; rounds of the allocator are in it.
    fn settle(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let (began, rounds) = (Instant::now(), self.state.tally.get(Count::AllocationRuns));
        self.state.settle(now, effects);
        if self.state.tally.get(Count::AllocationRuns) != rounds {
            let latency = self.state.allocator().latency();
            self.handle.vitals().allocated(now, began.elapsed(), latency);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Persist { ticket, change } => self.writes.push((ticket, change)),
            Effect::ToAgent { link, message } => self.send_to_agent(link, *message),
            Effect::CloseLink { link } => {
                // It stays listed until its connection has ended, so that the state hears of that.
                if let Some(end) = self.links.get_mut(&link)
                    && let Some(outbox) = end.outbox.take()
                {
                    end.lifeline.end_within(outbox);
                }
            }
            Effect::ToFramework { stream, event } => self.send_to_framework(stream, event),
            Effect::CloseStream { stream } => self.close_stream(stream),
            Effect::ToOperators(event) => self.send_to_operators(event),
            Effect::ToOperator { stream, event } => self.send_to_operator(stream, event),
            Effect::Answer { call, outcome } => {
                if let Some(answer) = self.calls.remove(&call) {
                    // Who asked may have left.
                    let _ = answer.send(outcome);
                }
            }
            Effect::StepDown { why } => {
                tracing::error!(why, "stepping down");
                self.left = Some(Left::Failed(MasterError::SteppedDown(why)));
            }
        }
    }

    fn send_to_agent(&mut self, link: LinkId, body: from_master::Body) {
        let Some(LinkEnd { outbox: Some(outbox), .. }) = self.links.get(&link) else { return };
        if let from_master::Body::RunTask(launch) = &body {
            log_launch(self.epoch, launch);
        }
        let message = FromMaster { epoch: self.epoch, body: Some(body) };
        if outbox.push(Box::new(message)).is_err()
            && let Some(LinkEnd { outbox: Some(outbox), lifeline }) = self.links.remove(&link)
        {
            tracing::warn!(link = link.0, peer = %lifeline.peer(), "an agent doesn't read its link: cut");
            outbox.cut();
            lifeline.cut();
            self.cut.push_back(Event::LinkLost { link });
        }
    }

    fn send_to_framework(&mut self, stream: StreamId, event: SchedulerEvent) {
        let Some(StreamEnd { outbox: Some(outbox), .. }) = self.streams.get(&stream) else { return };
        if outbox.push(event).is_err()
            && let Some(StreamEnd { outbox: Some(outbox), lifeline }) = self.streams.remove(&stream)
        {
            tracing::warn!(stream = stream.0, peer = %lifeline.peer(), "a scheduler doesn't read its stream: cut");
            outbox.cut();
            lifeline.cut();
            self.cut.push_back(Event::StreamLost { stream });
        }
    }

    fn close_stream(&mut self, stream: StreamId) {
        if let Some(end) = self.streams.get_mut(&stream)
            && let Some(outbox) = end.outbox.take()
        {
            end.lifeline.end_within(outbox);
        }
        if let Some(end) = self.watchers.get_mut(&stream)
            && let Some(outbox) = end.outbox.take()
        {
            end.lifeline.end_within(outbox);
        }
    }

    fn record(&mut self, event: OperatorEvent) -> Told {
        match event {
            OperatorEvent::Subscribed => Told::State(self.view()),
            OperatorEvent::Heartbeat => Told::Heartbeat,
            event => {
                let has_sums =
                    matches!(event, OperatorEvent::FrameworkAdded(_) | OperatorEvent::FrameworkUpdated(_));
                let view = has_sums.then(|| self.view());
                Told::Event(Arc::new(Record::new(event, view, self.handle.watch_growth())))
            }
        }
    }

    /// One record for all, however many there are.
    fn send_to_operators(&mut self, event: OperatorEvent) {
        let told = self.record(event);
        let slow: Vec<StreamId> = self
            .watchers
            .iter()
            .filter(|(_, end)| end.outbox.as_ref().is_some_and(|outbox| outbox.push(told.clone()).is_err()))
            .map(|(stream, _)| *stream)
            .collect();
        slow.into_iter().for_each(|stream| self.cut_operator(stream));
    }

    fn send_to_operator(&mut self, stream: StreamId, event: OperatorEvent) {
        let told = self.record(event);
        let Some(WatchEnd { outbox: Some(outbox), .. }) = self.watchers.get(&stream) else { return };
        if outbox.push(told).is_err() {
            self.cut_operator(stream);
        }
    }

    fn cut_operator(&mut self, stream: StreamId) {
        if let Some(WatchEnd { outbox: Some(outbox), lifeline }) = self.watchers.remove(&stream) {
            tracing::warn!(stream = stream.0, peer = %lifeline.peer(), "an operator doesn't read its stream: cut");
            outbox.cut();
            lifeline.cut();
            self.cut.push_back(Event::StreamLost { stream });
        }
    }

    fn flush(&mut self) {
        if !self.writes.is_empty() {
            self.registrar.write(std::mem::take(&mut self.writes));
        }
    }
}

/// Whether a tenure is the one that goes on.
fn is_in(tenure: &Tenure, now: &Leadership) -> bool {
    now.tenure().is_some_and(|now| now.lease.is(&tenure.lease))
}

/// Said where it leaves: what a step wants after its master has lost the leadership is not done.
fn log_launch(epoch: u64, launch: &RunTask) {
    let (Some(framework), Some(task)) = (&launch.framework, &launch.task) else { return };
    let framework_id = framework.id.as_ref().map_or("", |id| id.value.as_str());
    let (task_id, agent_id) = (task.task_id.value.as_str(), task.agent_id.value.as_str());
    let resources = Resources::from_wire(&task.resources).unwrap_or_default();
    tracing::info!(%framework_id, %task_id, %agent_id, epoch, %resources, "task launched");
}

fn cut<T>(outbox: Option<Outbox<T>>, lifeline: &Lifeline) {
    if let Some(outbox) = outbox {
        outbox.cut();
    }
    lifeline.cut();
}
