//! Where the agent stands with the master: registration with back-off, pings, epochs, and leaving.

use std::sync::Arc;
use std::time::Duration;

use model::{AgentId, Timestamp};
use prost::Message as _;
use wire::link::from_master::Body;
use wire::{link, v1};

use super::effect::{Effect, Write};
use super::event::LinkId;
use super::state::{Leaving, Stage, Standing, State, TaskKey, Waiting};

/// Longest back-off of a registration. Mesos: 1 min.
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// Shortest ping timeout that a master can set: a zero would make the agent reconnect for ever.
const SHORTEST_PING_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a leaving agent waits for its tasks beyond their grace period.
const LEAVING_MARGIN: Duration = Duration::from_secs(30);
/// How long it then waits until the schedulers have heard of their ends.
const LAST_ACKNOWLEDGEMENTS: Duration = Duration::from_secs(5);

impl State {
    /// The link on which the agent is registered.
    pub(super) fn registered_link(&self) -> Option<LinkId> {
        match self.standing {
            Standing::Registered { link, .. } => Some(link),
            _ => None,
        }
    }

    fn link(&self) -> Option<LinkId> {
        match self.standing {
            Standing::Apart => None,
            Standing::Linked { link, .. } | Standing::Registered { link, .. } => Some(link),
        }
    }

    /// Registers at once: the back-off before the first try has passed before the link was made.
    pub(super) fn link_up(&mut self, now: Timestamp, link: LinkId) {
        self.standing = Standing::Linked { link, tries: 0, next: now };
    }

    pub(super) fn link_lost(&mut self, link: LinkId) {
        if self.link() == Some(link) {
            self.part();
        }
    }

    /// Without a master nothing is sent, and so nothing is sent again.
    fn part(&mut self) {
        self.standing = Standing::Apart;
        self.streams.values_mut().for_each(super::updates::Stream::pause);
    }

    /// Random in [0, factor * 2^tries], at most a minute.
    fn backoff(&mut self, tries: u32) -> Duration {
        let factor = self.settings.registration_backoff;
        let most = factor.saturating_mul(1u32 << tries.min(16)).min(LONGEST_BACKOFF);
        most.mul_f64(self.random.unit())
    }

    pub(super) fn master_says(
        &mut self,
        now: Timestamp,
        link: LinkId,
        epoch: u64,
        body: Body,
        out: &mut Vec<Effect>,
    ) {
        if self.link() != Some(link) {
            return;
        }
        if epoch < self.epoch {
            out.push(Effect::Warn(format!(
                "Ignoring a master of epoch {epoch}, for this agent has obeyed one of epoch {}. If the master's \
                 registry was wiped, restart the agent",
                self.epoch
            )));
            self.part();
            return out.push(Effect::Reconnect { link });
        }
        self.epoch = epoch;
        match body {
            Body::Registered(registered) => self.registered(now, link, &registered, out),
            Body::Refused(refused) => {
                out.push(Effect::Warn(format!("The master refuses the registration: {}", refused.message)));
            }
            Body::Ping(ping) => self.ping(now, link, &ping, out),
            Body::Shutdown(shutdown) => self.leave(now, false, shutdown.message, out),
            body => self.obey(now, body, out),
        }
    }

    fn obey(&mut self, now: Timestamp, body: Body, out: &mut Vec<Effect>) {
        match body {
            Body::RunTask(run) => self.run_task(now, *run, out),
            Body::KillTask(kill) => self.kill_task(now, &kill, out),
            Body::Acknowledge(ack) => {
                self.acknowledge(now, &ack.framework_id, &ack.task_id, &ack.uuid, out);
            }
            Body::UpdateFramework(update) => {
                if let Some(info) = update.framework {
                    self.update_framework(info, out);
                }
            }
            Body::ShutdownFramework(shutdown) => {
                self.shut_framework_down(now, &shutdown.framework_id, out);
            }
            Body::ReconcileTasks(reconcile) => self.reconcile(now, &reconcile, out),
            Body::Registered(_) | Body::Refused(_) | Body::Ping(_) | Body::Shutdown(_) => {}
        }
    }

    fn registered(
        &mut self,
        now: Timestamp,
        link: LinkId,
        message: &link::Registered,
        out: &mut Vec<Effect>,
    ) {
        if let Err(other) = link::check_protocol(message.protocol) {
            // It may be another master's turn soon, or this one is upgraded: tried again with back-off.
            return out.push(Effect::Warn(format!("Not registering with this master: {other}")));
        }
        let id = AgentId::new(message.agent_id.as_str());
        match &self.agent {
            // Mesos: an agent that is given another id than it has ends.
            Some(have) if *have != id => {
                let why = format!("The master registered this agent as {id}, but it is {have}");
                self.left = true;
                return out.push(Effect::Exit { clean: false, why });
            }
            Some(_) => {}
            None if id.check().is_err() => {
                return out.push(Effect::Warn("The master gave this agent an invalid id".to_owned()));
            }
            None => {
                let mut info = self.settings.info.clone();
                info.id = Some((&id).into());
                self.agent = Some(id);
                self.checkpoint(Waiting::Agent, Write::Agent(Box::new(info)), out);
            }
        }
        self.master = Some(message.master_id.clone());
        let told = Duration::try_from_secs_f64(message.ping_timeout_seconds).unwrap_or(LONGEST_BACKOFF);
        let ping_timeout = told.max(SHORTEST_PING_TIMEOUT);
        self.standing = Standing::Registered { link, ping_timeout, pinged: now };
        self.resume_updates(now, out);
    }

    fn ping(&mut self, now: Timestamp, link: LinkId, message: &link::Ping, out: &mut Vec<Effect>) {
        let pong = link::Pong { sequence: message.sequence };
        out.push(Effect::ToMaster { link, body: Box::new(pong.into()) });
        let Standing::Registered { pinged, .. } = &mut self.standing else { return };
        *pinged = now;
        if !message.connected {
            self.part();
            let next = now + self.backoff(0);
            self.standing = Standing::Linked { link, tries: 0, next };
        }
    }

    /// Registers when its time has come, and looks for the master anew when it has been silent too long.
    pub(super) fn check_standing(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        match self.standing {
            Standing::Linked { link, tries, next } if next <= now => {
                let next = now + self.backoff(tries + 1);
                self.standing = Standing::Linked { link, tries: tries + 1, next };
                let body = Box::new(self.introduction());
                out.push(Effect::ToMaster { link, body });
            }
            Standing::Registered { link, ping_timeout, pinged } if pinged + ping_timeout <= now => {
                out.push(Effect::Warn(format!("No ping from the master for {} s", ping_timeout.as_secs())));
                self.part();
                out.push(Effect::Reconnect { link });
            }
            _ => {}
        }
    }

    pub(super) fn standing_due(&self) -> Option<Timestamp> {
        match self.standing {
            Standing::Apart => None,
            Standing::Linked { next, .. } => Some(next),
            Standing::Registered { ping_timeout, pinged, .. } => Some(pinged + ping_timeout),
        }
    }

    fn introduction(&self) -> link::from_agent::Body {
        let settings = &self.settings;
        let mut info = settings.info.clone();
        let Some(id) = &self.agent else {
            return link::Register {
                version: settings.version.clone(),
                agent: Some(info),
                address: settings.address.clone(),
                capabilities: settings.capabilities.clone(),
                checkpointed_resources: Vec::new(),
                incarnation: settings.incarnation.clone(),
                protocol: link::PROTOCOL_VERSION,
            }
            .into();
        };
        info.id = Some(id.into());
        // A framework that is being shut down here is over for every master: a new one need not hear of it.
        let frameworks = || self.frameworks.values().filter(|f| !f.terminating);
        let tasks = frameworks().flat_map(|f| f.tasks.values());
        link::Reregister {
            version: settings.version.clone(),
            agent: Some(info),
            address: settings.address.clone(),
            capabilities: settings.capabilities.clone(),
            checkpointed_resources: Vec::new(),
            incarnation: settings.incarnation.clone(),
            tasks: tasks.map(|task| self.reported(task)).collect(),
            frameworks: frameworks().map(|f| (*f.info).clone()).collect(),
            epoch: self.epoch,
            protocol: link::PROTOCOL_VERSION,
            completed: self.history(),
        }
        .into()
    }

    /// The newest of the ended tasks, oldest first, as far as one message should carry them.
    fn history(&self) -> Vec<v1::Task> {
        let frameworks = self.frameworks.values().chain(&self.completed_frameworks);
        let mut ended: Vec<&Arc<super::Task>> = frameworks.flat_map(|f| &f.completed).collect();
        let end =
            |task: &super::Task| task.statuses.last().and_then(|status| status.timestamp).unwrap_or(0.0);
        ended.sort_by(|a, b| end(a).total_cmp(&end(b)));
        let mut bytes = 0;
        let newest = ended.into_iter().rev().take(link::MAX_COMPLETED).map(|task| task.to_wire());
        let fitting = newest.take_while(|message| {
            bytes += message.encoded_len();
            bytes <= link::MAX_COMPLETED_BYTES
        });
        let mut told: Vec<v1::Task> = fitting.collect();
        told.reverse();
        told
    }

    fn reported(&self, task: &super::Task) -> v1::Task {
        let mut message = task.to_wire();
        let key: TaskKey = (task.run.framework.clone(), task.run.task.clone());
        if let Some(head) = self.streams.get(&key).and_then(|s| s.head()) {
            message.status_update_state = Some(head.state);
            message.status_update_uuid = head.uuid.clone();
        }
        message
    }

    /// Ends every task and then the process. `unregister`: the master does not know yet.
    pub(super) fn leave(&mut self, now: Timestamp, unregister: bool, why: String, out: &mut Vec<Effect>) {
        if self.leaving.is_some() {
            return;
        }
        let grace = self.settings.shutdown_grace;
        let deadline = now + grace + LEAVING_MARGIN;
        self.leaving = Some(Leaving { unregister, why, deadline, ended: None });
        for key in self.containers.values().cloned().collect::<Vec<_>>() {
            self.kill(now, &key, Some(grace.saturating_sub(Duration::from_secs(1))), out);
        }
    }

    /// Leaves once nothing runs any more, all of it is on disk and those who want to know have heard of it, or when
    /// that takes too long.
    pub(super) fn leave_when_empty(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let runs = self.frameworks.values().any(|f| f.tasks.values().any(|t| t.stage != Stage::Ended));
        let busy = runs || !self.tickets.is_empty();
        let unheard = self.registered_link().is_some() && !self.streams.is_empty();
        let Some(leaving) = &mut self.leaving else { return };
        if !busy && unheard && leaving.unregister {
            let soon = now + LAST_ACKNOWLEDGEMENTS;
            leaving.deadline = leaving.deadline.min(*leaving.ended.get_or_insert(soon));
        }
        if self.left || ((busy || unheard && leaving.unregister) && now < leaving.deadline) {
            return;
        }
        let (unregister, why) = (leaving.unregister, leaving.why.clone());
        self.left = true;
        if let (true, Some(link)) = (unregister, self.registered_link()) {
            out.push(Effect::ToMaster { link, body: Box::new(link::Unregister {}.into()) });
        }
        // Mesos: the next start registers as a new agent.
        out.push(Effect::ForgetAgent);
        out.push(Effect::Exit { clean: true, why });
    }

    pub(super) fn agent_checkpointed(&mut self, outcome: Result<(), String>, out: &mut Vec<Effect>) {
        if let Err(why) = outcome {
            self.left = true;
            out.push(Effect::Exit {
                clean: false,
                why: format!("The agent could not write its id to its work folder: {why}"),
            });
        }
    }
}
