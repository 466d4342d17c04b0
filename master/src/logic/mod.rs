//! The brain of the master: one [`State`], one closed list of [`Event`]s, one of [`Effect`]s, and [`State::step`].
//!
//! Nothing here does I/O, reads a clock or draws randomness without a seed. What must wait for the registry waits as
//! data ([`After`](waits::After)) under the ticket of its write.

mod accept;
mod agents;
mod amend;
mod audit;
mod calls;
mod departures;
mod effect;
mod event;
#[cfg(test)]
mod fixture;
mod frameworks;
mod history;
mod identity;
mod inner;
mod ledger;
mod offers;
mod pings;
mod readmission;
mod reconcile;
mod recovery;
mod refused;
mod registry;
mod removals;
mod state;
mod status;
mod subscription;
mod table;
mod tally;
mod tasks;
mod timers;
mod validate;
mod waits;
mod watch;

use std::sync::Arc;

use model::Timestamp;
use model::random::Random;

pub use audit::Audited;
pub use effect::{Effect, OfferOut, SchedulerEvent};
pub use event::{
    AgentHello, CallId, Event, LinkId, Offer, OperatorAction, ReportedTask, SchedulerAction, StreamId, Ticket,
};
pub use identity::{Identity, Proof};
pub(crate) use inner::Inner;
pub use refused::Refused;
pub use registry::{Change, Contents};
pub use state::{Agent, AgentFacts, Framework, Settings, State, Task};
pub use table::Table;
pub use tally::{Count, FrameworkTally, Tally};
pub use watch::OperatorEvent;

use frameworks::Subscriber;
use timers::{DUE, Timer};
use waits::Report;

impl State {
    /// The state of a master that has just been elected, before [`Event::Elected`]. `seed` decides every random choice.
    pub fn new(settings: Settings, seed: u64, now: Timestamp) -> State {
        let inner = Inner::new(now, settings.allocation_interval);
        State {
            settings: Arc::new(settings),
            agents: Table::new(),
            recovered: Default::default(),
            unreachable: Default::default(),
            gone: Default::default(),
            frameworks: Table::new(),
            completed_frameworks: Default::default(),
            tasks: Table::new(),
            unreachable_tasks: Table::new(),
            offers: Table::new(),
            random: Random::new(seed),
            elected: now,
            tally: Tally::default(),
            inner,
        }
    }

    /// Lets one thing happen: changes the state and appends what is to be done to `out`, to be carried out in order.
    pub fn step(&mut self, now: Timestamp, event: Event, out: &mut Vec<Effect>) {
        if self.begin(now, event, out) {
            self.settle(now, out);
        }
    }

    /// The first half of a step: takes the event in. Answers whether the other half, [`State::settle`], is to follow.
    pub(crate) fn begin(&mut self, now: Timestamp, event: Event, out: &mut Vec<Effect>) -> bool {
        // What comes before the election or after the registry failed finds nobody who may act on it.
        if self.inner.stepped_down || !(self.inner.elected || matches!(event, Event::Elected(_))) {
            return false;
        }
        let before = out.len();
        self.take_in(now, event, out);
        self.count_events(&out[before..]);
        true
    }

    /// When [`Event::Tick`] is due next; earlier ones do no harm. Still due after one when more than [`DUE`] timers were.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        if self.inner.stepped_down {
            return None;
        }
        match (self.inner.timers.next(), self.inner.allocator.next_batch()) {
            (Some(timer), Some(batch)) => Some(timer.min(batch)),
            (timer, batch) => timer.or(batch),
        }
    }

    fn take_in(&mut self, now: Timestamp, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Elected(contents) => recovery::elected(self, now, *contents),
            Event::AgentRegisters { link, hello } => agents::register(self, now, link, *hello, out),
            Event::AgentReregisters { link, agent, hello, tasks, frameworks, completed } => {
                let report = Report { hello: *hello, tasks, frameworks, completed };
                agents::reregister(self, now, link, agent, report, out);
            }
            Event::AgentUnregisters { link } => departures::unregister(self, link, out),
            Event::TaskUpdate { link, framework, status, latest } => {
                tasks::update(self, link, framework, *status, latest, out);
            }
            Event::Pong { link } => pings::pong(self, link),
            Event::LinkLost { link } => pings::link_lost(self, now, link, out),
            Event::Subscribe { stream, stream_token: token, info, suppressed_roles: suppressed } => {
                frameworks::subscribe(self, now, Subscriber { stream, token, info: *info, suppressed }, out);
            }
            Event::Scheduler { call, framework, principal, stream_token, action } => {
                let caller = calls::Caller { call, framework, principal, stream_token };
                calls::scheduler(self, now, caller, action, out);
            }
            Event::StreamLost { stream } => {
                watch::lost(self, stream);
                frameworks::stream_lost(self, now, stream);
            }
            Event::Watch { stream } => watch::subscribe(self, now, stream, out),
            Event::Operator { call, action } => calls::operator(self, now, call, action, out),
            Event::Persisted { ticket, done } => recovery::persisted(self, now, ticket, done, out),
            Event::Tick => self.fire_timers(now, out),
        }
    }

    fn fire_timers(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        for _ in 0..DUE {
            let Some(timer) = self.inner.timers.pop_due(now) else { break };
            match timer {
                Timer::Heartbeat(stream) => frameworks::heartbeat(self, now, stream, out),
                Timer::Failover(framework) => frameworks::failover_over(self, now, &framework, out),
                Timer::Ping(agent, generation) => pings::due(self, now, &agent, generation, out),
                Timer::Reregister(agent, lost) => pings::away_too_long(self, now, &agent, lost, out),
                Timer::RecoveryOver => recovery::recovery_over(self, now, out),
                Timer::Missing(after) => recovery::missing(self, now, Some(after), out),
                Timer::OfferExpires(offer) => offers::rescind(self, &offer, out),
                Timer::Prune => recovery::prune(self, now, out),
                Timer::Removal => removals::due(self, now, out),
                Timer::OperatorHeartbeat(stream) => watch::heartbeat(self, now, stream, out),
            }
        }
        if self.inner.allocator.next_batch().is_some_and(|batch| batch <= now) {
            self.inner.allocator.hurry();
        }
    }

    /// What follows from a step as a whole: agents whose free resources changed, and offers of them.
    pub(crate) fn settle(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let before = out.len();
        for agent in std::mem::take(&mut self.inner.touched) {
            let free = self.free_of(&agent);
            self.inner.allocator.agent_gives(&agent, free.as_ref().map(|free| &free.resources));
        }
        if self.inner.allocator.is_urgent() {
            offers::round(self, now, out);
        }
        self.inner.allocator.plan_batch(now);
        self.count_events(&out[before..]);
    }

    /// Counts what schedulers are sent.
    fn count_events(&mut self, effects: &[Effect]) {
        for effect in effects {
            if let Effect::ToFramework { stream, event } = effect
                && let Some(framework) = self.inner.streams.get(stream)
            {
                self.tally.framework(framework, |tally| *tally.events.entry(event.kind()).or_default() += 1);
            }
        }
    }

    /// Writes under way.
    pub fn queued_writes(&self) -> usize {
        self.inner.waiting.len()
    }

    /// How long the last round of the allocator was waited for, and how many filters stand by role.
    pub(crate) fn allocator(&self) -> &crate::allocator::Allocator {
        &self.inner.allocator
    }
}
