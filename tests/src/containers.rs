//! Containers of a host: started, found again, killed and removed, as an agent's process asks for it.

use std::time::Duration;

use agent::logic::{Event, Exit, ExitStatus, KillCause, Launch, LaunchFailure, LaunchFailureKind};
use model::ContainerId;

use crate::host::{Container, Stage};
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
        self.agents[index]
            .host
            .containers
            .insert(container.clone(), Container { run, stage: Stage::Preparing });
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
        let Some(found) = self.agents[index].host.containers.get(container) else { return };
        let event = match &found.stage {
            Stage::Preparing => return,
            Stage::Running => ContainerEvent::Started,
            Stage::Exited(exit) => ContainerEvent::Exited(*exit),
            Stage::Failed(_) => ContainerEvent::Failed,
        };
        let pause = delay(&mut self.random);
        self.after(pause, Happening::Container(index, container.clone(), event));
    }

    pub(crate) fn kill(&mut self, index: usize, container: ContainerId, grace: Duration) {
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
        let Some(container) = self.agents[index].host.containers.get_mut(id) else { return };
        let failure =
            || LaunchFailure { kind: LaunchFailureKind::Failed, message: "no such image".to_owned() };
        let over = matches!(container.stage, Stage::Exited(_) | Stage::Failed(_));
        let event = match event {
            ContainerEvent::Exited(_) if over => match container.stage.clone() {
                Stage::Exited(exit) => Event::ContainerExited { container: id.clone(), exit },
                _ => return,
            },
            ContainerEvent::Failed => {
                container.stage = Stage::Failed(failure());
                Event::ContainerFailed { container: id.clone(), failure: failure() }
            }
            _ if over => return,
            ContainerEvent::Prepared => Event::ContainerPrepared { container: id.clone() },
            ContainerEvent::Started => {
                container.stage = Stage::Running;
                Event::ContainerStarted { container: id.clone(), pid: 4711 }
            }
            ContainerEvent::Exited(exit) => {
                container.stage = Stage::Exited(exit);
                Event::ContainerExited { container: id.clone(), exit }
            }
        };
        self.step_agent(index, event);
    }
}
