//! What goes wrong, and how a world is made, brought to rest and judged.

use std::time::Duration;

use master::logic::{CallId, Event, OperatorAction};
use model::AgentId;
use wire::v1::framework_info::capability::Type as Capability;

use crate::agent_node::AgentNode;
use crate::faults::Fault;
use crate::messages::framework_info;
use crate::network::Peer;
use crate::scheduler::Scheduler;
use crate::world::{Happening, World};

impl World {
    /// A few agents and schedulers, all of them chosen by the seed.
    pub fn populate(&mut self) {
        let agents = 2 + self.pick(3);
        for index in 0..agents {
            let total =
                ["cpus:4;mem:2048;ports:[31000-31099]", "cpus:2;mem:1024", "cpus:8;mem:4096;disk:9000"];
            let total = total[self.pick(3)];
            let growing = self.percent(50);
            self.agents.push(AgentNode::new(index, total, growing));
            let pause = self.within(20);
            self.after(pause, Happening::AgentStarts(index));
        }
        let capabilities = [Capability::PartitionAware, Capability::TaskKillingState];
        for name in ["a", "b"] {
            let mut info = framework_info(name, &capabilities);
            info.failover_timeout = Some(1e6);
            self.schedulers.push(Scheduler::new(info));
        }
        let mut plain = framework_info("plain", &[]);
        plain.failover_timeout = Some([30.0, 1e6][self.pick(2)]);
        self.schedulers.push(Scheduler::new(plain));
        let mut forgetful = framework_info("forgetful", &[Capability::PartitionAware]);
        forgetful.checkpoint = None;
        forgetful.failover_timeout = [None, Some(1e6)][self.pick(2)];
        self.schedulers.push(Scheduler::new(forgetful));
        let mut bare = framework_info("bare", &[]);
        bare.checkpoint = None;
        bare.failover_timeout = [Some(20.0), Some(1e6)][self.pick(2)];
        self.schedulers.push(Scheduler::new(bare));
        for index in 0..self.schedulers.len() {
            let pause = self.within(20);
            self.subscribe(index, pause);
            self.after(pause, Happening::SchedulerTick(index));
        }
        let pause = self.within(5);
        self.after(pause, Happening::Elected);
        self.after(Duration::from_secs(20), Happening::Chaos);
        self.chaotic = true;
    }

    pub(crate) fn chaos(&mut self) {
        self.compare_hosts();
        if !self.chaotic {
            return;
        }
        let pause = self.within(60);
        self.after(pause, Happening::Chaos);
        let agent = self.pick(self.agents.len());
        let scheduler = self.pick(self.schedulers.len());
        match self.random.below(100) {
            0..12 => self.break_links(agent),
            12..22 => self.storage_fails(agent),
            22..38 => self.cut_off(agent),
            38..58 if self.agents[agent].state.is_some() => self.crash_agent(agent),
            58..70 if self.ensemble.is_some() => self.cut_front(),
            58..70 => self.kill_leader(),
            70..80 => self.break_streams(scheduler),
            80..85 => self.flap(scheduler),
            85..95 => {
                let pause = self.within(3);
                self.subscribe(scheduler, pause);
            }
            95 => self.wipe(agent),
            96 => self.leave(agent),
            97 => self.mark_gone(agent),
            _ => {}
        }
    }

    pub(crate) fn break_links(&mut self, agent: usize) {
        for id in self.network.standing(|peer| matches!(peer, Peer::Agent(index, _) if index == agent)) {
            self.break_connection(id);
        }
    }

    /// A scheduler comes and goes, more often than its failover timeout is long.
    fn flap(&mut self, scheduler: usize) {
        for _ in 0..4 {
            let pause = self.within(50);
            self.after(pause, Happening::StreamsBreak(scheduler));
        }
    }

    pub(crate) fn break_streams(&mut self, scheduler: usize) {
        for id in
            self.network.standing(|peer| matches!(peer, Peer::Scheduler(index, _) if index == scheduler))
        {
            self.break_connection(id);
        }
    }

    /// The network to an agent is gone for a while.
    fn cut_off(&mut self, agent: usize) {
        let most = if self.percent(30) { 900 } else { 60 };
        let length = self.within(most);
        self.faults.add(Fault::Partitioned);
        self.note(|| format!("agent {agent} is cut off for {length:?}"));
        self.agents[agent].cut_off_until = self.now + length;
        self.break_links(agent);
    }

    /// The disk of a host is wiped: what comes back at its address is another agent.
    fn wipe(&mut self, agent: usize) {
        self.faults.add(Fault::Wiped);
        self.note(|| format!("host {agent} is wiped"));
        self.agents[agent].host.wipe();
        if self.agents[agent].state.is_some() {
            self.crash_agent(agent);
            self.agents[agent].host.wipe();
        }
    }

    /// The operator ends an agent for good (SIGUSR1).
    fn leave(&mut self, agent: usize) {
        self.faults.add(Fault::Left);
        self.agents[agent].leaving = true;
        self.step_agent(agent, agent::logic::Event::ShutdownRequested);
    }

    fn mark_gone(&mut self, agent: usize) {
        let Some(state) = &self.agents[agent].state else { return };
        if let Some(agent) = state.view().agent {
            self.faults.add(Fault::Gone);
            self.call_gone(agent);
        }
    }

    /// Nothing goes wrong any more and schedulers end what they have; after this time all is quiet.
    ///
    /// # Errors
    /// What broke.
    pub fn come_to_rest(&mut self) -> Result<(), String> {
        self.chaotic = false;
        self.calm_ensemble();
        let now = self.now;
        for agent in &mut self.agents {
            agent.cut_off_until = now;
        }
        for index in 0..self.schedulers.len() {
            self.schedulers[index].ending = true;
        }
        // Updates are sent again after ten minutes at the latest, and lost agents noticed after as long.
        let mut rounds = 60;
        loop {
            let until = self.now + Duration::from_secs(60);
            self.run(until)?;
            self.compare_hosts();
            self.tear_down_orphans();
            self.give_up_lost_agents();
            rounds -= 1;
            match self.judge() {
                Err(why) if rounds == 0 => return Err(why),
                Err(_) => {}
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Mesos: frameworks that only agents have told of stay until an operator ends them.
    fn tear_down_orphans(&mut self) {
        let Some(master) = self.leader() else { return };
        let orphans: Vec<_> = master
            .state
            .frameworks
            .values()
            .filter(|row| row.recovered && self.schedulers.iter().all(|s| s.id.as_ref() != Some(&row.id)))
            .map(|row| row.id.clone())
            .collect();
        for framework in orphans {
            self.note(|| format!("operator: framework {framework} is torn down"));
            self.last_call += 1;
            let action = OperatorAction::Teardown { framework };
            self.tell_leader(Event::Operator { call: CallId(self.last_call), action });
        }
    }

    /// The operator knows which hosts came back as other agents.
    fn give_up_lost_agents(&mut self) {
        let Some(master) = self.leader() else { return };
        let known = |id: &AgentId| {
            let hosts = self.agents.iter().filter_map(|node| node.state.as_ref()?.view().agent);
            hosts.into_iter().any(|agent| agent == *id)
        };
        let lost: Vec<_> = master.state.unreachable.keys().filter(|id| !known(id)).cloned().collect();
        lost.into_iter().for_each(|agent| self.call_gone(agent));
    }

    fn call_gone(&mut self, agent: AgentId) {
        if let Some(life) = self.leading() {
            let event = self.call_to_mark_gone(life, agent);
            self.tell_master(life, event);
        }
    }

    /// An operator asks that master to mark an agent gone.
    pub(crate) fn call_to_mark_gone(&mut self, life: u64, agent: AgentId) -> Event {
        self.note(|| format!("operator to master {life}: agent {agent} is gone"));
        self.last_call += 1;
        let call = CallId(self.last_call);
        let asked = self.masters.get_mut(&life).map(|master| &mut master.asked_gone);
        asked.into_iter().for_each(|asked| drop(asked.insert(call, agent.clone())));
        Event::Operator { call, action: OperatorAction::MarkAgentGone { agent } }
    }

    /// What must hold once all is quiet.
    fn judge(&self) -> Result<(), String> {
        self.judge_ensemble()?;
        let master = &self.leader().ok_or("there is no master")?.state;
        for (index, agent) in self.agents.iter().enumerate() {
            let view = agent.state.as_ref().ok_or(format!("agent {index} does not run"))?.view();
            if !view.registered {
                return Err(format!("agent {index} is not registered"));
            }
            if let Some((framework, left)) = view.frameworks.iter().find(|(_, f)| !f.tasks.is_empty()) {
                return Err(format!("agent {index} still has {:?} of {framework}", left.tasks.keys()));
            }
            if let Some(container) = agent.host.containers.values().next() {
                return Err(format!("host {index} still has {container:?}"));
            }
        }
        if let Some(task) = master.tasks.values().chain(master.unreachable_tasks.values()).next() {
            return Err(format!("the master still has {task:?}"));
        }
        let agents: Vec<AgentId> = master.agents.keys().cloned().collect();
        for (index, scheduler) in self.schedulers.iter().enumerate() {
            for (id, known) in scheduler.open() {
                // Its host came back as another agent, so nobody will ever say more.
                let silent = known.last == Some(model::TaskState::Unknown) && !agents.contains(&known.agent);
                if !silent {
                    return Err(format!("scheduler {index} never heard the end of {id}: {known:?}"));
                }
            }
        }
        Ok(())
    }
}
