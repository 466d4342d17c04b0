//! Saying something of a task: from what is to be said to a status with its ids, time and uuid.

use std::sync::Arc;

use bytes::Bytes;
use model::{TaskState, Timestamp};
use wire::v1;

use super::effect::{Effect, Run};
use super::state::{Framework, Stage, State, TaskKey};
use super::status::Say;

impl State {
    /// Says the end of a task that has not ended yet.
    pub(super) fn end(&mut self, now: Timestamp, key: &TaskKey, say: Say, out: &mut Vec<Effect>) {
        let terminating = self.frameworks.get(&key.0).is_some_and(|f| f.terminating);
        let Some(task) = self.task_mut(key).filter(|t| t.stage != Stage::Ended) else { return };
        task.stage = Stage::Ended;
        task.kill = None;
        self.counts.executors_terminated += 1;
        let Some(task) = self.task_mut(key) else { return };
        if terminating {
            task.state = say.state;
            let container = task.run.container.clone();
            self.streams.remove(key);
            out.push(Effect::Destroy { container });
            self.complete(now, key, out);
        } else {
            self.say(now, key, say, out);
        }
    }

    /// Says something of a task, checkpointed if its framework wants that.
    pub(super) fn say(&mut self, now: Timestamp, key: &TaskKey, say: Say, out: &mut Vec<Effect>) {
        let saves = self.frameworks.get(&key.0).is_some_and(Framework::checkpoints);
        self.say_of(now, key, say, saves, out);
    }

    /// Says the end of a task of which nothing is on disk.
    pub(super) fn say_unsaved(&mut self, now: Timestamp, key: &TaskKey, say: Say, out: &mut Vec<Effect>) {
        if let Some(task) = self.task_mut(key) {
            task.stage = Stage::Ended;
        }
        self.say_of(now, key, say, false, out);
    }

    fn say_of(&mut self, now: Timestamp, key: &TaskKey, say: Say, saves: bool, out: &mut Vec<Effect>) {
        let uuid = Bytes::copy_from_slice(&self.random.uuid());
        let ip = self.settings.host_ip.clone();
        let Some(task) = self.task_mut(key) else { return };
        task.state = say.state;
        let run = task.run.clone();
        let mut status = to_status(now, key, &run.agent, uuid, say);
        status.executor_id = Some((&run.executor).into());
        status.container_status = Some(container_status(&run, &ip, task.pid));
        let status = Arc::new(status);
        if task.statuses.last().is_some_and(|last| last.state == status.state) {
            task.statuses.pop();
        }
        task.statuses.push(status.clone());
        self.queue_update(now, key, saves.then_some(&run), status, out);
    }

    /// Says something of a task that this agent does not have. It is repeated until acknowledged all the same.
    pub(super) fn say_of_unknown(&mut self, now: Timestamp, key: &TaskKey, say: Say, out: &mut Vec<Effect>) {
        let Some(agent) = self.agent.clone() else { return };
        let uuid = Bytes::copy_from_slice(&self.random.uuid());
        let status = to_status(now, key, &agent, uuid, say);
        self.queue_update(now, key, None, Arc::new(status), out);
    }

    /// The end of a task is on disk, so what its container left behind is not needed any more.
    pub(super) fn end_is_safe(&mut self, key: &TaskKey, out: &mut Vec<Effect>) {
        if let Some(task) = self.task(key).filter(|t| t.stage == Stage::Ended) {
            out.push(Effect::Destroy { container: task.run.container.clone() });
        }
    }
}

/// The state in a status.
pub(super) fn state_of(status: &v1::TaskStatus) -> TaskState {
    status.state().into()
}

fn to_status(now: Timestamp, key: &TaskKey, agent: &model::AgentId, uuid: Bytes, say: Say) -> v1::TaskStatus {
    let limitation = (!say.limitation.is_empty())
        .then(|| v1::TaskResourceLimitation { resources: say.limitation.clone() });
    v1::TaskStatus {
        task_id: (&key.1).into(),
        state: v1::TaskState::from(say.state).into(),
        message: say.message,
        source: Some(say.source.into()),
        reason: say.reason.map(Into::into),
        agent_id: Some(agent.into()),
        timestamp: Some(now.as_secs_f64()),
        uuid: Some(uuid),
        limitation,
        ..Default::default()
    }
}

fn container_status(run: &Run, ip: &str, pid: Option<u32>) -> v1::ContainerStatus {
    let protocol =
        if ip.contains(':') { v1::network_info::Protocol::IPv6 } else { v1::network_info::Protocol::IPv4 };
    let address =
        v1::network_info::IpAddress { protocol: Some(protocol.into()), ip_address: Some(ip.to_owned()) };
    v1::ContainerStatus {
        container_id: Some((&run.container).into()),
        network_infos: vec![v1::NetworkInfo { ip_addresses: vec![address], ..Default::default() }],
        cgroup_info: None,
        executor_pid: pid,
    }
}
