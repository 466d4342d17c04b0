//! A scheduler that does what a test tells it, over `/api/v1/scheduler` in JSON.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Next, Reply, Request, Stream};
use crate::eventually::PATIENCE;
use crate::task::is_terminal;
use crate::{OrFail, eventually};

/// The endpoint.
pub const PATH: &str = "/api/v1/scheduler";

/// A subscribed framework. Dropping it closes its stream and nothing more.
#[derive(Debug)]
pub struct Scheduler {
    master: SocketAddr,
    info: Value,
    stream_id: String,
    stream: Option<Stream>,
    offers: Vec<Value>,
    /// Every event so far but heartbeats.
    pub seen: Vec<Value>,
    /// Whether updates are acknowledged as they come; from the start they are.
    pub acknowledging: bool,
}

impl Scheduler {
    /// Subscribes and waits for SUBSCRIBED.
    #[track_caller]
    pub fn subscribe(master: SocketAddr, info: Value) -> Scheduler {
        let mut scheduler = Scheduler {
            master,
            info,
            stream_id: String::new(),
            stream: None,
            offers: Vec::new(),
            seen: Vec::new(),
            acknowledging: true,
        };
        scheduler.resubscribe();
        scheduler
    }

    /// Subscribes again, with its id when it has one, as soon as the master takes it.
    #[track_caller]
    pub fn resubscribe(&mut self) {
        self.disconnect();
        let call = self.subscription();
        let (reply, stream) = eventually("the master takes a subscription", || {
            let (reply, stream) = Request::post(PATH, &call).stream(self.master).ok()?;
            assert!([200, 503].contains(&reply.status), "{} {}", reply.status, reply.text());
            Some((reply, stream?))
        });
        self.listen(&reply, stream);
        let id = self.wait("SUBSCRIBED", subscribed);
        self.is_called(id);
    }

    fn subscription(&self) -> Value {
        let mut call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": self.info}});
        if let Some(id) = self.info.get("id") {
            call["framework_id"] = id.clone();
        }
        call
    }

    #[track_caller]
    fn listen(&mut self, reply: &Reply, stream: Stream) {
        self.stream_id = reply.header("mesos-stream-id").or_fail("Mesos-Stream-Id").to_owned();
        self.stream = Some(stream);
    }

    #[track_caller]
    fn is_called(&mut self, id: Value) {
        assert!(self.info.get("id").is_none_or(|own| *own == id), "another framework id: {id}");
        self.info["id"] = id;
    }

    /// Tries once to subscribe to a master, with its id: whether that is done within the limit.
    #[track_caller]
    pub fn tries(&mut self, master: SocketAddr, limit: Duration) -> bool {
        self.disconnect();
        self.master = master;
        let request = Request::post(PATH, &self.subscription()).within(limit);
        let Ok((reply, Some(stream))) = request.stream(master) else { return false };
        self.listen(&reply, stream);
        while let Next::Record(event) = self.next(limit) {
            if let Some(id) = subscribed(&event) {
                self.is_called(id);
                return true;
            }
        }
        self.disconnect();
        false
    }

    /// Subscribes to another master, with its id.
    #[track_caller]
    pub fn move_to(&mut self, master: SocketAddr) {
        self.master = master;
        self.resubscribe();
    }

    /// Closes the stream; the framework lives on.
    pub fn disconnect(&mut self) {
        self.stream = None;
        self.offers.clear();
    }

    /// Whether it has a stream, as far as it knows.
    pub fn is_connected(&self) -> bool {
        self.stream.is_some()
    }

    /// The master that it subscribed to last.
    pub fn master(&self) -> SocketAddr {
        self.master
    }

    /// Its framework id.
    pub fn id(&self) -> &str {
        self.info["id"]["value"].as_str().unwrap_or_default()
    }

    /// The id of its stream.
    pub fn stream_id(&self) -> &str {
        &self.stream_id
    }

    /// Sends a call; framework id and stream id are added.
    #[track_caller]
    pub fn call(&self, call: Value) -> Reply {
        let what = format!("sending {}", call["type"]);
        self.attempt(call, PATIENCE).or_fail(what)
    }

    /// Sends a call that may find nobody.
    ///
    /// # Errors
    /// Nobody answers within the limit.
    pub fn attempt(&self, mut call: Value, limit: Duration) -> io::Result<Reply> {
        call["framework_id"] = self.info["id"].clone();
        let request = Request::post(PATH, &call).header("Mesos-Stream-Id", self.stream_id.as_str());
        request.within(limit).send(self.master)
    }

    /// Sends a call that the master must take.
    #[track_caller]
    pub fn tell(&self, call: Value) {
        self.call(call).expect(202);
    }

    /// The next event, at most after `limit`. Updates are acknowledged on the way, heartbeats left out.
    #[track_caller]
    pub fn next(&mut self, limit: Duration) -> Next {
        let start = Instant::now();
        loop {
            let stream = self.stream.as_ref().or_fail("a stream");
            let next = stream.next(limit.saturating_sub(start.elapsed()));
            let Next::Record(event) = &next else { return next };
            if event["type"] == "HEARTBEAT" {
                continue;
            }
            self.seen.push(event.clone());
            for offer in event["offers"]["offers"].as_array().into_iter().flatten() {
                self.offers.push(offer.clone());
            }
            if let Some(rescind) = event.get("rescind") {
                self.offers.retain(|offer| offer["id"] != rescind["offer_id"]);
            }
            let status = &event["update"]["status"];
            if self.acknowledging && status.get("uuid").is_some() {
                self.acknowledge(status);
            }
            return next;
        }
    }

    /// Waits for an event in which `wanted` finds something.
    #[track_caller]
    pub fn wait<T>(&mut self, what: &str, mut wanted: impl FnMut(&Value) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            match self.next(PATIENCE.saturating_sub(start.elapsed())) {
                Next::Record(event) => {
                    if let Some(found) = wanted(&event) {
                        return found;
                    }
                }
                other => panic!("waiting for {what}: {other:?} after\n{}", self.story()),
            }
        }
    }

    /// Checks that nothing but offers and their ends comes for a while: those come when the allocator likes.
    #[track_caller]
    pub fn hears_no_more(&mut self, span: Duration) {
        let start = Instant::now();
        loop {
            match self.next(span.saturating_sub(start.elapsed())) {
                Next::Record(event) if ["OFFERS", "RESCIND"].iter().any(|kind| event["type"] == *kind) => {}
                Next::Silence => return,
                other => panic!("{other:?} after\n{}", self.story()),
            }
        }
    }

    /// Everything heard so far, for a failed test.
    fn story(&self) -> String {
        self.seen.iter().map(|event| format!("{event}\n")).collect()
    }

    /// Acknowledges a status.
    #[track_caller]
    pub fn acknowledge(&self, status: &Value) {
        self.tell(json!({"type": "ACKNOWLEDGE", "acknowledge": {
            "agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"],
        }}));
    }

    /// An offer that was heard of, and not used yet nor rescinded, if there is one.
    pub fn take_offer(&mut self) -> Option<Value> {
        (!self.offers.is_empty()).then(|| self.offers.remove(0))
    }

    /// How many offers it could use.
    pub fn offers(&self) -> usize {
        self.offers.len()
    }

    /// An offer that was not used yet nor rescinded.
    #[track_caller]
    pub fn offer(&mut self) -> Value {
        while let Next::Record(_) = self.next(Duration::ZERO) {}
        while self.offers.is_empty() {
            self.wait("an offer", |event| event.get("offers").map(|_| ()));
        }
        self.offers.remove(0)
    }

    /// Launches tasks on an offer; the rest of it comes back at once.
    #[track_caller]
    pub fn launch(&mut self, offer: &Value, tasks: Vec<Value>) {
        self.tell(json!({"type": "ACCEPT", "accept": {
            "offer_ids": [offer["id"]],
            "operations": [{"type": "LAUNCH", "launch": {"task_infos": tasks}}],
            "filters": {"refuse_seconds": 0.0},
        }}));
    }

    /// Launches one task on the next offer and wants no more, so that others get the rest.
    #[track_caller]
    pub fn start_last(&mut self, task: impl FnOnce(&Value) -> Value) {
        let offer = self.offer();
        self.tell(json!({"type": "SUPPRESS"}));
        let task = task(&offer);
        self.launch(&offer, vec![task]);
    }

    /// Launches one task on the next offer.
    #[track_caller]
    pub fn start(&mut self, task: impl FnOnce(&Value) -> Value) {
        let offer = self.offer();
        let task = task(&offer);
        self.launch(&offer, vec![task]);
    }

    /// Waits for an update of a task in that state.
    #[track_caller]
    pub fn wait_for(&mut self, task: &str, state: &str) -> Value {
        self.wait(&format!("{task} in {state}"), |event| {
            let status = &event["update"]["status"];
            (status["task_id"]["value"] == task && status["state"] == state).then(|| status.clone())
        })
    }

    /// Waits for the end of a task; its last status. It may have been heard already.
    #[track_caller]
    pub fn end_of(&mut self, task: &str) -> Value {
        self.heard(&format!("the end of {task}"), task, is_terminal)
    }

    /// Waits until a task runs, which may have been heard already.
    #[track_caller]
    pub fn start_of(&mut self, task: &str) -> Value {
        self.heard(&format!("the start of {task}"), task, |state| state == "TASK_RUNNING")
    }

    #[track_caller]
    fn heard(&mut self, what: &str, task: &str, wanted: impl Fn(&str) -> bool) -> Value {
        let told = |event: &Value| {
            let status = &event["update"]["status"];
            let told = status["task_id"]["value"] == task && status["state"].as_str().is_some_and(&wanted);
            told.then(|| status.clone())
        };
        match self.seen.iter().find_map(told) {
            Some(status) => status,
            None => self.wait(what, told),
        }
    }

    /// Asks for a task's end.
    #[track_caller]
    pub fn kill(&mut self, task: &str) {
        self.tell(json!({"type": "KILL", "kill": {"task_id": {"value": task}}}));
    }

    /// States of a task in their order, each update once however often it came; without answers to questions.
    pub fn states(&self, task: &str) -> Vec<String> {
        let mut known = BTreeSet::new();
        let statuses = self.seen.iter().map(|event| &event["update"]["status"]);
        let own = statuses.filter(|status| status["task_id"]["value"] == task);
        let told =
            own.filter(|status| status.get("uuid").is_some() || status["reason"] != "REASON_RECONCILIATION");
        let fresh =
            told.filter(|status| status.get("uuid").is_none_or(|uuid| known.insert(uuid.to_string())));
        fresh.filter_map(|status| status["state"].as_str().map(str::to_owned)).collect()
    }

    /// How many updates of a task said that it has ended.
    pub fn ends(&self, task: &str) -> usize {
        self.states(task).iter().filter(|state| is_terminal(state)).count()
    }
}

/// The framework's id, where an event tells of the subscription.
#[track_caller]
fn subscribed(event: &Value) -> Option<Value> {
    assert_ne!(event["type"], "ERROR", "{event}");
    event["subscribed"].get("framework_id").cloned()
}
