//! A stage for single stories: the real logic of the master, and players whose lines are written in a script.

use std::collections::BTreeMap;
use std::time::Duration;

use master::logic::{
    AgentHello, CallId, Change, Contents, Effect, Event, Framework, LinkId, OfferOut, OperatorAction,
    OperatorEvent, ReportedTask, SchedulerAction, SchedulerEvent, State, StreamId, Ticket,
};
use model::{AgentId, FrameworkId, Resources, TaskState, Timestamp};
use wire::link::from_master::Body;
use wire::v1;

use crate::master_node::settings;

/// An agent of the script.
#[derive(Clone, Debug, Default)]
pub struct Player {
    /// Its link while it has one.
    pub link: Option<LinkId>,
    /// Once it was told.
    pub id: Option<AgentId>,
    /// What it has.
    pub total: String,
    /// The region of its domain.
    pub region: Option<String>,
    /// It doesn't answer pings.
    pub silent: bool,
    /// Where it is.
    pub address: String,
}

/// A scheduler of the script.
#[derive(Clone, Debug)]
pub struct Cast {
    /// As it last described itself.
    pub info: v1::FrameworkInfo,
    /// Its stream while it has one.
    pub stream: Option<StreamId>,
    /// What its calls name.
    pub token: String,
    /// Once it was told.
    pub id: Option<FrameworkId>,
    /// The update that waits for its acknowledgement, by task.
    pub unacknowledged: BTreeMap<String, (AgentId, Vec<u8>)>,
}

/// See the module.
pub struct Stage {
    state: State,
    now: Timestamp,
    start: Timestamp,
    masters: u64,
    contents: Contents,
    writes: Vec<(Ticket, Change)>,
    /// Writes are done only when the script says so.
    pub registry_waits: bool,
    /// Pings and heartbeats are shown.
    pub verbose: bool,
    /// By name.
    pub agents: BTreeMap<String, Player>,
    /// By name.
    pub schedulers: BTreeMap<String, Cast>,
    /// Streams of operators that watch, by name.
    pub operators: BTreeMap<String, StreamId>,
    last: u64,
    lines: Vec<String>,
    ends: Vec<Event>,
}

impl Stage {
    /// A master just elected with an empty registry.
    pub fn new() -> Stage {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let mut stage = Stage {
            state: State::new(settings(1, 1), 1, now),
            now,
            start: now,
            masters: 0,
            contents: Contents::default(),
            writes: Vec::new(),
            registry_waits: false,
            verbose: false,
            agents: BTreeMap::new(),
            schedulers: BTreeMap::new(),
            operators: BTreeMap::new(),
            last: 0,
            lines: Vec::new(),
            ends: Vec::new(),
        };
        stage.restart(|_| {});
        stage
    }

    /// Another master takes over: links and streams end, the registry stays.
    pub fn restart(&mut self, change: impl FnOnce(&mut master::logic::Settings)) {
        self.masters += 1;
        self.contents.epoch += 1;
        self.writes.clear();
        self.agents.values_mut().for_each(|agent| agent.link = None);
        self.schedulers.values_mut().for_each(|scheduler| scheduler.stream = None);
        self.operators.clear();
        let mut settings = settings(self.masters, self.contents.epoch);
        change(&mut settings);
        self.state = State::new(settings, 1, self.now);
        self.step(Event::Elected(Box::new(self.contents.clone())));
    }

    /// What was said since the last time.
    pub fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    /// A number that was never used.
    pub fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The id of an agent of the script.
    pub fn agent_id(&self, name: &str) -> AgentId {
        let known = self.agents.get(name).and_then(|agent| agent.id.clone());
        known.unwrap_or_else(|| AgentId::from(name))
    }

    /// Lets something happen.
    pub fn step(&mut self, event: Event) {
        let mut out = Vec::new();
        self.state.step(self.now, event, &mut out);
        if let Err(why) = self.state.audit() {
            self.lines.push(format!("BROKEN: {why}"));
        }
        for effect in out {
            self.show(effect);
        }
        // The service tells the end of what it closed, too.
        for end in std::mem::take(&mut self.ends) {
            self.step(end);
        }
        if !self.registry_waits {
            self.registry_writes(true);
        }
    }

    /// The registry answers the writes that are under way.
    pub fn registry_writes(&mut self, done: bool) {
        for (ticket, change) in std::mem::take(&mut self.writes) {
            if done {
                self.contents.apply(&change);
            }
            self.step(Event::Persisted { ticket, done });
        }
    }

    /// Time passes.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(wakeup) = self.state.next_wakeup().filter(|wakeup| *wakeup <= end) {
            self.now = self.now.max(wakeup);
            let before = self.lines.len();
            self.step(Event::Tick);
            let stamp = format!("[{}] ", seconds(self.now.since(self.start)));
            for line in &mut self.lines[before..] {
                line.insert_str(0, &stamp);
            }
        }
        self.now = end;
    }

    /// An agent of the script says who it is.
    pub fn hello(&self, name: &str, incarnation: &str) -> AgentHello {
        let agent = &self.agents[name];
        let total = crate::messages::resources(&agent.total);
        let info = v1::AgentInfo {
            hostname: format!("{name}.example"),
            resources: total.to_wire(),
            domain: agent.region.as_deref().map(crate::script::domain),
            ..Default::default()
        };
        AgentHello {
            version: "1.12.0".to_owned(),
            info,
            total,
            address: agent.address.clone(),
            capabilities: vec!["TASK_RESOURCE_LIMITS".to_owned()],
            incarnation: incarnation.to_owned(),
            proof: Default::default(),
        }
    }

    /// A task as a returning agent reports it: `cpus:1;mem:64`, latest state and that of the head of its updates.
    pub fn reported(
        &self,
        agent: &str,
        (framework, task): (&str, &str),
        uses: &str,
        latest: TaskState,
        head: Option<TaskState>,
    ) -> ReportedTask {
        let role = model::Role::any();
        let resources: Resources = crate::messages::resources(uses).allocated_to(Some(&role));
        let mut message = v1::Task {
            name: task.to_owned(),
            task_id: v1::TaskId { value: task.to_owned() },
            framework_id: self.schedulers[framework].id.as_ref().map(Into::into).unwrap_or_default(),
            agent_id: (&self.agent_id(agent)).into(),
            resources: resources.to_wire(),
            ..Default::default()
        };
        message.set_state(latest.into());
        if let Some(head) = head {
            message.set_status_update_state(head.into());
            message.status_update_uuid = Some(format!("{task}-{}", head.name()).into_bytes().into());
        }
        ReportedTask::new(message, resources, head)
    }

    /// The list of ended tasks, as pages show it.
    pub fn list_ended(&mut self, name: &str) {
        let framework = self.schedulers[name].id.clone().expect("an id");
        let row = self.state.frameworks.get(&framework).expect("a framework");
        let ended = row.completed.iter().map(|task| format!(" {} {}", task.id, task.latest.name()));
        self.lines.push(format!("{name} has ended:{}", ended.collect::<Vec<_>>().join(",")));
    }

    /// A call of a scheduler with the token of its stream.
    pub fn call(&mut self, name: &str, action: SchedulerAction) {
        let token = Some(self.schedulers[name].token.clone());
        self.call_with(name, token, action);
    }

    /// A call of a scheduler.
    pub fn call_with(&mut self, name: &str, stream_token: Option<String>, action: SchedulerAction) {
        let id = self.schedulers[name].id.clone();
        let framework = id.unwrap_or_else(|| FrameworkId::from(name));
        let call = CallId(self.next());
        self.step(Event::Scheduler { call, framework, principal: None, stream_token, action });
    }

    /// A call of an operator.
    pub fn operator(&mut self, action: OperatorAction) {
        let call = CallId(self.next());
        self.step(Event::Operator { call, action });
    }

    fn show(&mut self, effect: Effect) {
        let line = match effect {
            Effect::Persist { ticket, change } => {
                let line = format!("registry: {}", change_text(&change));
                self.writes.push((ticket, change));
                line
            }
            Effect::ToAgent { link, message } => return self.agent_hears(link, *message),
            Effect::CloseLink { link } => {
                let name = self.agent_of(link);
                self.after_close(&name, link);
                self.ends.push(Event::LinkLost { link });
                format!("{name}: link closed")
            }
            Effect::ToFramework { stream, event } => return self.scheduler_hears(stream, event),
            Effect::ToOperators(event) => format!("operators <- {}", told_text(&event)),
            Effect::ToOperator { event: OperatorEvent::Heartbeat, .. } if !self.verbose => return,
            Effect::ToOperator { stream, event } => {
                format!("{} <- {}", self.operator_of(stream), told_text(&event))
            }
            Effect::CloseStream { stream } if self.operators.values().any(|known| *known == stream) => {
                let name = self.operator_of(stream);
                self.operators.remove(&name);
                self.ends.push(Event::StreamLost { stream });
                format!("{name}: stream closed")
            }
            Effect::CloseStream { stream } => {
                let name = self.scheduler_of(stream);
                self.ends.push(Event::StreamLost { stream });
                if let Some(cast) = self.schedulers.get_mut(&name).filter(|cast| cast.stream == Some(stream))
                {
                    cast.stream = None;
                }
                format!("{name}: stream closed")
            }
            Effect::Answer { outcome: Ok(()), .. } => "answer: ok".to_owned(),
            Effect::Answer { outcome: Err(refused), .. } => {
                format!("answer: {} {}", refused.status(), refused.text())
            }
            Effect::StepDown { why } => format!("the master steps down: {why}"),
        };
        self.lines.push(line);
    }

    fn operator_of(&self, stream: StreamId) -> String {
        let found = self.operators.iter().find(|(_, known)| **known == stream);
        found.map_or_else(|| "an older stream".to_owned(), |(name, _)| name.clone())
    }

    fn after_close(&mut self, name: &str, link: LinkId) {
        if let Some(agent) = self.agents.get_mut(name).filter(|agent| agent.link == Some(link)) {
            agent.link = None;
        }
    }

    fn agent_of(&self, link: LinkId) -> String {
        let found = self.agents.iter().find(|(_, agent)| agent.link == Some(link));
        found.map_or_else(|| "an older link".to_owned(), |(name, _)| name.clone())
    }

    fn scheduler_of(&self, stream: StreamId) -> String {
        let found = self.schedulers.iter().find(|(_, cast)| cast.stream == Some(stream));
        found.map_or_else(|| "an older stream".to_owned(), |(name, _)| name.clone())
    }

    fn agent_hears(&mut self, link: LinkId, message: Body) {
        let name = self.agent_of(link);
        if let Body::Ping(_) = &message {
            if self.verbose {
                self.lines.push(format!("{name} <- Ping"));
            }
            if self.agents.get(&name).is_some_and(|agent| !agent.silent) {
                let mut out = Vec::new();
                self.state.step(self.now, Event::Pong { link }, &mut out);
                assert!(out.is_empty(), "a pong has no effect that shows");
            }
            return;
        }
        if let (Body::Registered(registered), Some(agent)) = (&message, self.agents.get_mut(&name)) {
            agent.id = Some(AgentId::from(registered.agent_id.as_str()));
        }
        self.lines.push(format!("{name} <- {}", message_text(&message)));
    }

    fn scheduler_hears(&mut self, stream: StreamId, event: SchedulerEvent) {
        let name = self.scheduler_of(stream);
        if matches!(event, SchedulerEvent::Heartbeat) && !self.verbose {
            return;
        }
        if let Some(cast) = self.schedulers.get_mut(&name) {
            match &event {
                SchedulerEvent::Subscribed { framework } => cast.id = Some(framework.clone()),
                SchedulerEvent::Update(status) => {
                    let agent = status.agent_id.as_ref().map(AgentId::from);
                    if let (Some(uuid), Some(agent)) = (&status.uuid, agent) {
                        cast.unacknowledged.insert(status.task_id.value.clone(), (agent, uuid.to_vec()));
                    }
                }
                _ => {}
            }
        }
        self.lines.push(format!("{name} <- {}", event_text(&event)));
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64()).trim_end_matches('0').trim_end_matches('.').to_owned() + "s"
}

fn change_text(change: &Change) -> String {
    match change {
        Change::Admit(agent, _, _) => format!("admit {agent}"),
        Change::Remove(agent) => format!("remove {agent}"),
        Change::MarkUnreachable(agent, _) => format!("mark {agent} unreachable"),
        Change::MarkGone(agent, _) => format!("mark {agent} gone"),
        Change::Prune { unreachable, gone } => format!("prune unreachable {unreachable:?} gone {gone:?}"),
    }
}

fn message_text(message: &Body) -> String {
    match message {
        Body::Registered(m) => format!("Registered {} ping timeout {} s", m.agent_id, m.ping_timeout_seconds),
        Body::Refused(m) => format!("Refused: {}", m.message),
        Body::RunTask(m) => {
            let task = m.task.as_ref().expect("a task");
            let resources = Resources::from_wire(&task.resources).expect("valid");
            let framework = m.framework.as_ref().and_then(|f| f.id.as_ref()).expect("an id");
            format!("RunTask {} of {} {resources}", task.task_id.value, framework.value)
        }
        Body::KillTask(m) => {
            let grace = m.grace_period_seconds.map(|s| format!(" grace {s} s")).unwrap_or_default();
            format!("KillTask {} of {}{grace}", m.task_id, m.framework_id)
        }
        Body::Acknowledge(m) => format!("Acknowledge {} of {}", m.task_id, m.framework_id),
        Body::Ping(_) => "Ping".to_owned(),
        Body::UpdateFramework(m) => {
            let info = m.framework.as_ref().expect("a framework");
            format!("UpdateFramework {}", info.id.as_ref().expect("an id").value)
        }
        Body::ShutdownFramework(m) => format!("ShutdownFramework {}", m.framework_id),
        Body::ReconcileTasks(m) => format!("ReconcileTasks {} of {}", m.task_ids.join(" "), m.framework_id),
        Body::Shutdown(m) => format!("Shutdown: {}", m.message),
    }
}

fn told_text(event: &OperatorEvent) -> String {
    match event {
        OperatorEvent::Subscribed => "SUBSCRIBED".to_owned(),
        OperatorEvent::Heartbeat => "HEARTBEAT".to_owned(),
        OperatorEvent::TaskAdded(task) => {
            format!("TASK_ADDED {} of {} on {} {}", task.id, task.framework, task.agent, task.latest.name())
        }
        OperatorEvent::TaskUpdated { framework, state, status } => {
            format!("TASK_UPDATED of {framework} to {}: {}", state.name(), status_text(status))
        }
        OperatorEvent::AgentAdded(agent) => format!("AGENT_ADDED {}", agent.facts.id),
        OperatorEvent::AgentRemoved(agent) => format!("AGENT_REMOVED {agent}"),
        OperatorEvent::FrameworkAdded(row) => format!("FRAMEWORK_ADDED {}", framework_text(row)),
        OperatorEvent::FrameworkUpdated(row) => format!("FRAMEWORK_UPDATED {}", framework_text(row)),
        OperatorEvent::FrameworkRemoved(row) => format!("FRAMEWORK_REMOVED {}", row.id),
    }
}

fn framework_text(row: &Framework) -> String {
    let connected = if row.stream.is_some() { "connected" } else { "not connected" };
    let roles: Vec<String> = row.roles.iter().map(ToString::to_string).collect();
    format!("{} {} roles {}, {connected}", row.id, row.info.name, roles.join(" "))
}

fn event_text(event: &SchedulerEvent) -> String {
    match event {
        SchedulerEvent::Subscribed { framework } => format!("SUBSCRIBED {framework}"),
        SchedulerEvent::Offers(offers) => {
            let one = |o: &OfferOut| {
                let offer = &o.offer;
                format!(
                    "{} of {} for {}: {}",
                    offer.id,
                    offer.agent,
                    offer.role,
                    offer.resources.allocated_to(None)
                )
            };
            format!("OFFERS {}", offers.iter().map(one).collect::<Vec<_>>().join(" | "))
        }
        SchedulerEvent::Rescind(offer) => format!("RESCIND {offer}"),
        SchedulerEvent::Update(status) => format!("UPDATE {}", status_text(status)),
        SchedulerEvent::UpdateOperation(status) => {
            let id = status.operation_id.as_ref().map_or("-", |id| id.value.as_str());
            format!("UPDATE_OPERATION_STATUS {id} {:?}: {}", status.state(), status.message())
        }
        SchedulerEvent::Failure { agent, .. } => format!("FAILURE {agent}"),
        SchedulerEvent::Error(message) => format!("ERROR {message}"),
        SchedulerEvent::Heartbeat => "HEARTBEAT".to_owned(),
    }
}

fn status_text(status: &v1::TaskStatus) -> String {
    let mut text = format!("{} {}", status.task_id.value, status.state().as_str_name());
    if let Some(agent) = &status.agent_id {
        text += &format!(" on {}", agent.value);
    }
    if status.uuid.is_some() {
        text += " to be acknowledged";
    }
    if status.reason.is_some() {
        text += &format!(" {}", status.reason().as_str_name());
    }
    if status.source.is_some() {
        text += &format!(" {}", status.source().as_str_name());
    }
    if status.unreachable_time.is_some() {
        text += " with unreachable_time";
    }
    if let Some(message) = &status.message {
        text += &format!(": {message}");
    }
    text
}
