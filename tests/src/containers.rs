//! Containers of a host: started, found again, killed and removed, as an agent's process asks for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agent::logic::{Event, Exit, ExitStatus, KillCause, Launch, LaunchFailure, LaunchFailureKind, Run};
use model::{ContainerId, FrameworkId, Resources};
use wire::v1;

use crate::host::{Container, Host, Stage};
use crate::network::delay;
use crate::world::{Happening, World};

/// What happens to a container.
#[derive(Clone, Debug)]
pub enum ContainerEvent {
    /// Image and sandbox are there.
    Prepared,
    /// The command runs.
    Started,
    /// It could not be started.
    Failed,
    /// The command ended.
    Exited(Exit),
}

impl World {
    pub(crate) fn launch(&mut self, index: usize, launch: Launch) {
        let run = launch.run;
        let key = (run.framework.clone(), run.task.clone());
        if launch.framework.checkpoint() && !self.agents[index].host.has(&run) {
            self.broken(format!("task {key:?} is started but it is not on disk"));
        }
        if !self.started.insert(key.clone()) {
            self.broken(format!("task {key:?} is started twice"));
        }
        let container = run.container.clone();
        let elsewhere = self.agents.iter().any(|node| {
            node.host.containers.values().any(|c| c.run.task == run.task && c.run.framework == run.framework)
        });
        if elsewhere {
            self.broken(format!("task {key:?} runs twice"));
        }
        let node = &mut self.agents[index];
        node.host.begins(run, launch.task);
        let postman = &node.postman;
        if let Err(why) = node.host.holds(&node.total(), |framework| postman.is_over(framework)) {
            self.broken(format!("host {index}, after the launch of {key:?}: {why}"));
        }
        let prepared = self.within(2);
        let started = prepared + self.within(1);
        if self.percent(8) {
            return self.after(prepared, Happening::Container(index, container, ContainerEvent::Failed));
        }
        self.after(prepared, Happening::Container(index, container.clone(), ContainerEvent::Prepared));
        self.after(started, Happening::Container(index, container.clone(), ContainerEvent::Started));
        let most = if self.percent(30) { 20 } else { 900 };
        let ended = started + self.within(most);
        let status = ExitStatus::Code(i32::from(self.percent(25)));
        let exit = Exit { status, out_of_memory: false, killed: None };
        self.after(ended, Happening::Container(index, container, ContainerEvent::Exited(exit)));
    }

    pub(crate) fn reattach(&mut self, index: usize, container: &ContainerId) {
        let Some(event) = self.agents[index].host.last_of(container) else { return };
        let pause = delay(&mut self.random);
        self.after(pause, Happening::Container(index, container.clone(), event));
    }

    pub(crate) fn kill(&mut self, index: usize, container: ContainerId, grace: Duration) {
        if self.is_wanted(index, &container) {
            self.broken(format!("host {index} kills {container}, and nobody asked for it"));
        }
        let slow = self.percent(20);
        let pause = if slow { grace } else { self.within(1).min(grace) };
        let signal = if slow { 9 } else { 15 };
        let exit = Exit {
            status: ExitStatus::Signal(signal),
            out_of_memory: false,
            killed: Some(KillCause::Requested),
        };
        self.after(pause, Happening::Container(index, container, ContainerEvent::Exited(exit)));
    }

    /// Whether a task should go on whatever happens to masters: its framework is patient, its scheduler wants it, and its
    /// agent neither leaves nor has forgotten it.
    fn is_wanted(&self, index: usize, container: &ContainerId) -> bool {
        let node = &self.agents[index];
        let Some(run) = node.host.containers.get(container).map(|container| container.run.clone()) else {
            return false;
        };
        let owner = self.schedulers.iter().find(|scheduler| scheduler.id.as_ref() == Some(&run.framework));
        let wanted = owner.is_some_and(|owner| owner.is_patient() && !owner.unwanted.contains(&run.task));
        wanted && node.host.has(&run) && !node.leaving
    }

    /// What a container leaves behind goes. It is all that tells how its task ended until that is on disk.
    pub(crate) fn destroy(&mut self, index: usize, container: &ContainerId) {
        let node = &mut self.agents[index];
        let Some(gone) = node.host.containers.remove(container) else { return };
        let over = node.postman.is_over(&gone.run.framework);
        if !over && node.host.misses_end_of(&gone.run) {
            self.broken(format!(
                "container {container} of {:?} is removed before the end is on disk",
                gone.run
            ));
        }
    }

    pub(crate) fn container(&mut self, index: usize, id: &ContainerId, event: ContainerEvent) {
        if let Some(event) = self.agents[index].host.happens(id, event) {
            self.step_agent(index, event);
        }
    }
}

impl Host {
    /// A container is to be made for a task.
    pub fn begins(&mut self, run: Arc<Run>, task: Arc<v1::TaskInfo>) {
        let container = run.container.clone();
        self.containers.insert(container, Container { run, task, stage: Stage::Preparing });
    }

    /// Something happens to a container; what its agent, if it runs, is told of that.
    pub fn happens(&mut self, id: &ContainerId, event: ContainerEvent) -> Option<Event> {
        let container = self.containers.get_mut(id)?;
        let failure =
            || LaunchFailure { kind: LaunchFailureKind::Failed, message: "no such image".to_owned() };
        let over = matches!(container.stage, Stage::Exited(_) | Stage::Failed(_));
        Some(match event {
            ContainerEvent::Exited(_) if over => match container.stage.clone() {
                Stage::Exited(exit) => Event::ContainerExited { container: id.clone(), exit },
                _ => return None,
            },
            ContainerEvent::Failed => {
                container.stage = Stage::Failed(failure());
                Event::ContainerFailed { container: id.clone(), failure: failure() }
            }
            _ if over => return None,
            ContainerEvent::Prepared => Event::ContainerPrepared { container: id.clone() },
            ContainerEvent::Started => {
                container.stage = Stage::Running;
                Event::ContainerStarted { container: id.clone(), pid: 4711 }
            }
            ContainerEvent::Exited(exit) => {
                container.stage = Stage::Exited(exit);
                Event::ContainerExited { container: id.clone(), exit }
            }
        })
    }

    /// What a keeper tells again of a container whose agent is new.
    pub fn last_of(&self, container: &ContainerId) -> Option<ContainerEvent> {
        match &self.containers.get(container)?.stage {
            Stage::Preparing => None,
            Stage::Running => Some(ContainerEvent::Started),
            Stage::Exited(exit) => Some(ContainerEvent::Exited(*exit)),
            Stage::Failed(_) => Some(ContainerEvent::Failed),
        }
    }

    /// Containers whose command may run.
    pub fn live(&self) -> impl Iterator<Item = &Container> {
        self.containers.values().filter(|c| matches!(c.stage, Stage::Preparing | Stage::Running))
    }

    /// What these containers were given, by framework, allocated to its roles.
    pub fn uses(&self) -> BTreeMap<FrameworkId, Resources> {
        let mut used: BTreeMap<FrameworkId, Resources> = BTreeMap::new();
        for container in self.live() {
            let given = Resources::from_wire(&container.task.resources).unwrap_or_default();
            used.entry(container.run.framework.clone()).or_default().add(&given);
        }
        used
    }

    /// Whether all that runs here fits into what the host has, whatever masters and agents believe. Frameworks that are
    /// `over` don't count. Mesos: their resources are offered again while their last commands still end.
    ///
    /// # Errors
    /// More was given away than there is.
    pub fn holds(&self, total: &Resources, over: impl Fn(&FrameworkId) -> bool) -> Result<(), String> {
        let mut given = Resources::none();
        for (framework, used) in self.uses() {
            if !over(&framework) {
                given.add(&used.allocated_to(None));
            }
        }
        if total.contains(&given) {
            return Ok(());
        }
        let tasks: Vec<_> = self.live().map(|c| (&c.run.framework, &c.run.task, &c.stage)).collect();
        Err(format!("{given} of {total} run here: {tasks:?}"))
    }
}
