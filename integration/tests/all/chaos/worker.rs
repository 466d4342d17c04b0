//! A scheduler that goes on working whatever fails: it follows the leaders, launches on every offer, acknowledges, asks
//! what became of its tasks, and keeps a record of all that it was told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use integration::Scheduler;
use integration::client::{Next, Request};
use integration::scheduler::PATH;
use integration::task::{framework, is_terminal, scalar, shell};
use serde_json::{Value, json};

/// How long a master may take to answer before somebody else is asked, while everything fails.
const ANSWER: Duration = Duration::from_secs(1);
/// And when nothing does any more: machines of tests are slow and shared.
const ANSWER_IN_PEACE: Duration = Duration::from_secs(15);
/// How long one round may take before others have theirs.
const TURN: Duration = Duration::from_millis(300);
/// How long a call waits in the socket of a master that is stopped.
const AFLOAT: Duration = Duration::from_secs(20);
/// The rest of an offer comes again after that many seconds: the pace of the launches.
const PACE: f64 = 4.0;
/// Between two questions what became of all tasks.
const RECONCILE: Duration = Duration::from_secs(3);
/// As many tasks, the first ones, run from the beginning to the end.
const LASTING: usize = 10;

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Finishes,
    Fails,
    /// Until it is killed.
    Lasts,
}

impl Kind {
    fn command(self) -> &'static str {
        match self {
            Kind::Finishes => "echo begun; exec sleep 0.3",
            Kind::Fails => "echo begun; exit 3",
            Kind::Lasts => "echo begun; exec sleep 100000",
        }
    }

    /// How it ends, once it has begun.
    pub fn end(self) -> &'static str {
        match self {
            Kind::Finishes => "TASK_FINISHED",
            Kind::Fails => "TASK_FAILED",
            Kind::Lasts => "TASK_KILLED",
        }
    }
}

/// What the scheduler knows of a task.
#[derive(Clone, Debug)]
pub struct Fate {
    pub kind: Kind,
    agent: Value,
    /// The state told last.
    pub state: String,
    /// All ends it was told of.
    pub ends: BTreeSet<String>,
    /// Those that it had to acknowledge, each once however often it came.
    pub final_updates: BTreeSet<String>,
    /// Everything told, for people.
    pub story: Vec<String>,
}

/// The scheduler.
pub struct Worker {
    scheduler: Scheduler,
    pub fates: BTreeMap<String, Fate>,
    /// Tasks that a master refused to launch.
    pub refused: BTreeSet<String>,
    /// When offers came, in microseconds of wall time, and from whom.
    pub offered: Vec<(u64, SocketAddr)>,
    /// Offers are kept for later, or no longer wanted.
    pub holding: bool,
    /// How long it waits for an answer.
    patience: Duration,
    asked: Instant,
}

/// Microseconds of wall time, as the logs have it.
pub fn wall() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

impl Worker {
    #[track_caller]
    pub fn hired(leader: SocketAddr) -> Worker {
        let mut info = framework();
        // Longer than any fault.
        info["failover_timeout"] = json!(86400.0);
        let mut scheduler = Scheduler::subscribe(leader, info);
        scheduler.acknowledging = false;
        Worker {
            scheduler,
            fates: BTreeMap::new(),
            refused: BTreeSet::new(),
            offered: Vec::new(),
            holding: false,
            patience: ANSWER_IN_PEACE,
            asked: Instant::now(),
        }
    }

    /// Its framework's id.
    pub fn id(&self) -> String {
        self.scheduler.id().to_owned()
    }

    /// One round of everything.
    #[track_caller]
    pub fn drive(&mut self, leader: Option<SocketAddr>) {
        if let Some(leader) = leader
            && (!self.scheduler.is_connected() || self.scheduler.master() != leader)
        {
            self.scheduler.tries(leader, self.patience);
            self.asked = Instant::now();
            self.reconcile();
        }
        let start = Instant::now();
        self.hear(start);
        if self.asked.elapsed() > RECONCILE {
            self.reconcile();
        }
        while !self.holding && start.elapsed() < TURN && self.scheduler.is_connected() {
            let Some(offer) = self.scheduler.take_offer() else { return };
            self.launch_on(&offer);
        }
    }

    fn launch_on(&mut self, offer: &Value) {
        let (name, call) = self.acceptance(offer);
        // Without an answer nobody knows whether it is launched.
        if self.call(call).is_some_and(|status| status != 202) {
            self.fates.remove(&name);
            self.refused.insert(name);
        }
    }

    /// Sends a call, and leaves a master that doesn't answer; the code of the answer. Whatever is lost is said again later.
    fn call(&mut self, call: Value) -> Option<u16> {
        if !self.scheduler.is_connected() {
            return None;
        }
        let reply = self.scheduler.attempt(call, self.patience);
        if reply.is_err() {
            self.scheduler.disconnect();
        }
        reply.ok().map(|reply| reply.status)
    }

    /// How many offers it holds.
    pub fn offers(&self) -> usize {
        self.scheduler.offers()
    }

    /// Launches on all offers that it holds, with calls whose answers nobody waits for.
    pub fn launch_into_silence(&mut self) {
        while let Some(offer) = self.scheduler.take_offer() {
            let (_, mut call) = self.acceptance(&offer);
            call["framework_id"] = json!({"value": self.scheduler.id()});
            let (to, stream) = (self.scheduler.master(), self.scheduler.stream_id().to_owned());
            std::thread::spawn(move || {
                let request = Request::post(PATH, &call).header("Mesos-Stream-Id", stream).within(AFLOAT);
                // It may be answered, refused, or cut.
                let _ = request.send(to);
            });
        }
    }

    /// A task on the offer: its name and the call that launches it.
    fn acceptance(&mut self, offer: &Value) -> (String, Value) {
        let number = self.fates.len() + self.refused.len();
        let kind = match number {
            number if number < LASTING || number % 8 == 0 => Kind::Lasts,
            number if number % 8 == 1 => Kind::Fails,
            _ => Kind::Finishes,
        };
        let name = format!("t{number}");
        // Little enough for an hour's lasting tasks to fit into the agents.
        let mut task = json!({
            "name": name, "task_id": {"value": name}, "agent_id": offer["agent_id"],
            "resources": [scalar("cpus", 0.05), scalar("mem", 32.0)],
        });
        task["command"] = shell(kind.command());
        let fate = Fate {
            kind,
            agent: offer["agent_id"].clone(),
            state: String::new(),
            ends: BTreeSet::new(),
            final_updates: BTreeSet::new(),
            story: Vec::new(),
        };
        self.fates.insert(name.clone(), fate);
        let call = json!({"type": "ACCEPT", "accept": {
            "offer_ids": [offer["id"]],
            "operations": [{"type": "LAUNCH", "launch": {"task_infos": [task]}}],
            "filters": {"refuse_seconds": PACE},
        }});
        (name, call)
    }

    #[track_caller]
    fn hear(&mut self, start: Instant) {
        while self.scheduler.is_connected() && start.elapsed() < TURN {
            match self.scheduler.next(Duration::ZERO) {
                Next::Record(event) => self.note(&event),
                Next::Silence => return,
                Next::End => self.scheduler.disconnect(),
            }
        }
    }

    #[track_caller]
    fn note(&mut self, event: &Value) {
        assert_ne!(event["type"], "ERROR", "{event}");
        if event["type"] == "OFFERS" {
            self.offered.push((wall(), self.scheduler.master()));
        }
        let status = &event["update"]["status"];
        let (Some(task), Some(state)) = (status["task_id"]["value"].as_str(), status["state"].as_str())
        else {
            return;
        };
        let known = self.fates.get_mut(task);
        assert!(known.is_some(), "an update of a task that nobody launched: {status}");
        if let Some(fate) = known {
            state.clone_into(&mut fate.state);
            let because = format!("{} {}", status["source"], status["reason"]);
            fate.story.push(format!("{state} {because} {} {}", status["message"], status["uuid"]));
            if is_terminal(state) {
                fate.ends.insert(state.to_owned());
                fate.final_updates.extend(status["uuid"].as_str().map(str::to_owned));
            }
        }
        if status.get("uuid").is_some() {
            let acknowledge = json!({"type": "ACKNOWLEDGE", "acknowledge": {
                "agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"],
            }});
            // The update comes again when the acknowledgement is lost.
            self.call(acknowledge);
        }
    }

    /// Asks for all tasks whose end it doesn't know.
    fn reconcile(&mut self) {
        self.asked = Instant::now();
        let open = self.fates.iter().filter(|(_, fate)| fate.ends.is_empty());
        let open = open.map(|(name, fate)| json!({"task_id": {"value": name}, "agent_id": fate.agent}));
        let call = json!({"type": "RECONCILE", "reconcile": {"tasks": open.collect::<Vec<Value>>()}});
        // With none named it asks for all of the framework's; that is as good.
        self.call(call);
    }

    /// Kills the newest task that lasts, but none of the first ones.
    pub fn kill_one(&mut self) {
        let name = (LASTING..self.fates.len()).rev().map(|number| format!("t{number}"));
        let lasts = |fate: &Fate| fate.kind == Kind::Lasts && fate.state == "TASK_RUNNING";
        let found = name.into_iter().find(|name| self.fates.get(name).is_some_and(lasts));
        found.into_iter().for_each(|name| self.kill(&name));
    }

    /// Kills all that run.
    pub fn kill_all(&mut self) {
        let running = self.fates.iter().filter(|(_, fate)| fate.ends.is_empty());
        let running: Vec<String> = running.map(|(name, _)| name.clone()).collect();
        running.iter().for_each(|name| self.kill(name));
    }

    fn kill(&mut self, name: &str) {
        let call =
            json!({"type": "KILL", "kill": {"task_id": {"value": name}, "agent_id": self.fates[name].agent}});
        self.call(call);
    }

    /// Tasks that should run from the beginning to the end.
    pub fn lasting(&self) -> Vec<String> {
        (0..LASTING).map(|number| format!("t{number}")).collect()
    }

    /// Those of them that don't run yet.
    pub fn missing(&self) -> Vec<String> {
        let runs = |task: &String| self.fates.get(task).is_some_and(|fate| fate.state == "TASK_RUNNING");
        self.lasting().into_iter().filter(|task| !runs(task)).collect()
    }

    /// Tasks that neither have ended nor run for long.
    pub fn unsettled(&self) -> Vec<String> {
        let settled =
            |fate: &Fate| !fate.ends.is_empty() || fate.kind == Kind::Lasts && fate.state == "TASK_RUNNING";
        let open = self.fates.iter().filter(|(_, fate)| !settled(fate));
        open.map(|(name, fate)| format!("{name} {fate:?}")).collect()
    }

    /// Tasks whose end is not known.
    pub fn unended(&self) -> Vec<String> {
        let open = self.fates.iter().filter(|(_, fate)| fate.ends.is_empty());
        open.map(|(name, fate)| format!("{name} {fate:?}")).collect()
    }

    /// From now on masters may fail.
    pub fn braces(&mut self) {
        self.patience = ANSWER;
    }

    /// Nothing fails any more, and offers are no longer wanted.
    pub fn retires(&mut self) {
        self.holding = true;
        self.patience = ANSWER_IN_PEACE;
        self.call(json!({"type": "SUPPRESS"}));
    }
}
