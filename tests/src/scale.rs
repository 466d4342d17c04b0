//! One large cluster in one process: what a step costs must not grow with what it doesn't concern.

use std::time::{Duration, Instant};

use master::logic::{
    AgentHello, CallId, Effect, Event, LinkId, OfferOut, SchedulerAction, SchedulerEvent, State, StreamId,
};
use model::{AgentId, FrameworkId, OfferId, TaskId, TaskState, Timestamp};
use wire::link::from_master::Body;
use wire::v1;
use wire::v1::framework_info::capability::Type as Capability;

use crate::master_node::settings;
use crate::messages::{framework_info, launch, resources, task};

const AGENTS: u64 = 5_000;
const FRAMEWORKS: u64 = 20;
const TASKS_PER_AGENT: usize = 4;
/// Far more than it takes on a slow machine without optimisation.
const LIMIT: Duration = Duration::from_secs(240);

struct Cluster {
    state: State,
    now: Timestamp,
    calls: u64,
    offers: Vec<(StreamId, OfferOut)>,
    runs: Vec<(LinkId, FrameworkId, TaskId)>,
    /// The longest step of each kind.
    longest: Duration,
}

impl Cluster {
    fn new() -> Cluster {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let mut cluster = Cluster {
            state: State::new(settings(1, 1), 1, now),
            now,
            calls: 0,
            offers: Vec::new(),
            runs: Vec::new(),
            longest: Duration::ZERO,
        };
        cluster.step(Event::Elected(Box::default()));
        cluster
    }

    /// One step; answers how long it took.
    fn step(&mut self, event: Event) -> Duration {
        let mut out = Vec::new();
        let started = Instant::now();
        self.state.step(self.now, event, &mut out);
        let took = started.elapsed();
        self.longest = self.longest.max(took);
        for effect in out {
            match effect {
                Effect::Persist { ticket, .. } => {
                    self.step(Event::Persisted { ticket, done: true });
                }
                Effect::ToFramework { stream, event: SchedulerEvent::Offers(offers) } => {
                    self.offers.extend(offers.into_iter().map(|offer| (stream, offer)));
                }
                Effect::ToAgent { link, message } => self.remember(link, *message),
                Effect::Answer { outcome, .. } => assert_eq!(outcome, Ok(())),
                _ => {}
            }
        }
        took
    }

    fn remember(&mut self, link: LinkId, message: Body) {
        if let Body::RunTask(run) = message {
            let framework = run.framework.and_then(|info| info.id).expect("an id");
            let task = run.task.expect("a task").task_id;
            self.runs.push((link, FrameworkId::from(&framework), TaskId::from(&task)));
        }
    }

    fn call(&mut self, stream: StreamId, action: SchedulerAction) -> Duration {
        self.calls += 1;
        let framework = FrameworkId::new(format!("m1-{:04}", stream.0));
        let stream_token = Some(format!("token-{}", stream.0));
        self.step(Event::Scheduler { call: CallId(self.calls), framework, stream_token, action })
    }

    fn agent(&mut self, number: u64) {
        let total = resources("cpus:16;mem:65536;disk:100000;ports:[31000-32000]");
        let hello = AgentHello {
            version: "1.12.0".to_owned(),
            info: v1::AgentInfo {
                hostname: format!("host{number}"),
                resources: total.to_wire(),
                ..Default::default()
            },
            total,
            address: format!("10.{}.{}.{}:5051", number >> 16, (number >> 8) & 255, number & 255),
            capabilities: Vec::new(),
            incarnation: "1".to_owned(),
        };
        self.step(Event::AgentRegisters { link: LinkId(number), hello: Box::new(hello) });
    }

    fn subscribe(&mut self, number: u64) -> Duration {
        let stream = StreamId(number);
        let info = framework_info(&format!("f{number}"), &[Capability::PartitionAware]);
        let stream_token = format!("token-{number}").into();
        self.step(Event::Subscribe {
            stream,
            stream_token,
            info: Box::new(info),
            suppressed_roles: Vec::new(),
        })
    }

    fn launch_on_every_offer(&mut self) {
        for (stream, offer) in std::mem::take(&mut self.offers) {
            let agent = offer.offer.agent.clone();
            let tasks = (0..TASKS_PER_AGENT).map(|n| task(&format!("{agent}.{n}"), &agent, 1000, 1024));
            let action = SchedulerAction::Accept {
                offers: vec![offer.offer.id],
                operations: vec![launch(tasks.collect())],
                refuse_seconds: Some(3600.0),
            };
            self.call(stream, action);
        }
    }

    fn says(&mut self, (link, framework, task): &(LinkId, FrameworkId, TaskId), now: TaskState) -> Duration {
        let mut status = v1::TaskStatus { task_id: task.into(), ..Default::default() };
        status.uuid = Some(vec![7; 16].into());
        status.set_state(now.into());
        let (link, framework) = (*link, framework.clone());
        let took = self.step(Event::TaskUpdate { link, framework, status: Box::new(status), latest: now });
        let agent = self.agent_of(link);
        let stream = StreamId(self.stream_of(task));
        took + self
            .call(stream, SchedulerAction::Acknowledge { agent, task: task.clone(), uuid: vec![7; 16] })
    }

    fn agent_of(&self, link: LinkId) -> AgentId {
        AgentId::new(format!("m1-S{}", link.0))
    }

    fn stream_of(&self, task: &TaskId) -> u64 {
        let found = (0..FRAMEWORKS).find(|number| {
            let framework = FrameworkId::new(format!("m1-{number:04}"));
            self.state.tasks.contains(&(framework, task.clone()))
        });
        found.unwrap_or_default()
    }

    fn pass(&mut self, time: Duration) -> Duration {
        self.now = self.now + time;
        self.step(Event::Tick)
    }
}

#[test]
fn five_thousand_agents_and_twenty_thousand_tasks() {
    let started = Instant::now();
    let mut cluster = Cluster::new();
    (0..AGENTS).for_each(|number| cluster.agent(number));
    println!("{AGENTS} agents registered: {:?}, longest step {:?}", started.elapsed(), cluster.longest);

    let first = cluster.subscribe(0);
    println!("a framework subscribes and is offered {} agents: {first:?}", cluster.offers.len());
    assert_eq!(cluster.offers.len() as u64, AGENTS);
    // The others share what it gives back.
    for number in 1..FRAMEWORKS {
        cluster.subscribe(number);
    }
    let all: Vec<OfferId> = cluster.offers.drain(..).map(|(_, offer)| offer.offer.id).collect();
    cluster.call(StreamId(0), SchedulerAction::Decline { offers: all, refuse_seconds: Some(0.0) });
    let shared = cluster.pass(Duration::from_secs(1));
    println!("a round over {AGENTS} agents and {FRAMEWORKS} frameworks: {shared:?}");
    assert_eq!(cluster.offers.len() as u64, AGENTS);

    let before = Instant::now();
    cluster.launch_on_every_offer();
    let runs = std::mem::take(&mut cluster.runs);
    assert_eq!(runs.len(), usize::try_from(AGENTS).unwrap() * TASKS_PER_AGENT);
    for run in &runs {
        cluster.says(run, TaskState::Running);
    }
    println!("{} tasks launched and running: {:?}", runs.len(), before.elapsed());

    let rest = cluster.pass(Duration::from_secs(1));
    println!("what the tasks leave is offered to others: {rest:?}");
    assert_eq!(std::mem::take(&mut cluster.offers).len() as u64, AGENTS);

    let view = Instant::now();
    let tables = (cluster.state.agents.clone(), cluster.state.tasks.clone(), cluster.state.offers.clone());
    println!("a view of all tables: {:?}", view.elapsed());
    let ended = cluster.says(&runs[17], TaskState::Finished);
    assert_eq!(tables.1.len(), runs.len());
    assert_eq!(cluster.state.tasks.len(), runs.len() - 1);
    let one = cluster.pass(Duration::from_secs(1));
    println!("a task ends: {ended:?}; the round after it: {one:?}");
    assert_eq!(cluster.offers.len(), 1);

    let lost = cluster.step(Event::LinkLost { link: LinkId(4) });
    println!("an agent is lost: {lost:?}");
    cluster.state.audit().unwrap();
    assert!(started.elapsed() < LIMIT, "took {:?}", started.elapsed());
}
