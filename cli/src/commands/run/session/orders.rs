//! What moves a run besides the master's news: time, signals, and output that can't be read or written.

use std::time::Duration;

use anyhow::anyhow;
use sdk::http::Ask;
use sdk::launch;
use tokio::time::Instant;
use wire::v1::TaskId;

use super::super::ending::Ending;
use super::super::offers;
use super::task::Phase;
use super::{Run, Step};
use crate::print;

/// A KILL or RECONCILE without effect is repeated this often.
const REPEAT: Duration = Duration::from_secs(5);

impl Run {
    /// Every second: time-outs, and what the master may have missed.
    pub(super) async fn look_around(&mut self) -> Step {
        if self.framework.is_none() {
            return self.give_up_connecting();
        }
        if let Some(ending) = self.unexplained() {
            return Ok(Some(ending));
        }
        if self.kill_after_has_passed() {
            self.note(match self.away {
                None => "--kill_after has passed; killing the task",
                Some(_) => "--kill_after has passed; the task is killed as soon as the master answers",
            });
            return self.kill(1).await;
        }
        if self.away.is_some() {
            return self.wait_for_master();
        }
        match &self.phase {
            Phase::Wanting(since) if since.elapsed() > Duration::from_secs(2) => {
                return self.look_for_room().await;
            }
            Phase::Wanting(_) => {}
            Phase::Launched(placed) => {
                let silent = !placed.seen && self.asked.elapsed() >= REPEAT;
                if silent || self.killing.is_some_and(|(_, sent)| sent.elapsed() >= REPEAT) {
                    self.ask_again().await;
                }
            }
        }
        Ok(None)
    }

    /// The time runs whether the master is there or not.
    fn kill_after_has_passed(&self) -> bool {
        let Phase::Launched(placed) = &self.phase else { return false };
        let since = placed.running_since.filter(|_| self.killing.is_none());
        since.zip(self.job.kill_after).is_some_and(|(since, after)| since.elapsed() >= after)
    }

    /// Whether any agent is large enough; an error once that has not been so for `--wait`.
    async fn look_for_room(&mut self) -> Step {
        let Phase::Wanting(since) = self.phase else { return Ok(None) };
        let Some(master) = self.detector.leader().borrow().clone() else { return Ok(None) };
        let Ok(reply) = self.http.ask(&master.address, &Ask::get("/slaves")).await else { return Ok(None) };
        let Ok(answer) = serde_json::from_slice(&reply.body) else { return Ok(None) };
        let why = offers::too_large(&answer, &self.job.task.resources);
        match why {
            Some(why) if since.elapsed() >= self.job.wait => Err(anyhow!("{why}")),
            Some(why) => {
                self.note_once(&format!("{why}; waiting {} s for one that does", self.job.wait.as_secs()));
                Ok(None)
            }
            None if since.elapsed() > Duration::from_secs(5) => {
                self.note_once("waiting for resources: every agent that is large enough is in use");
                Ok(None)
            }
            None => Ok(None),
        }
    }

    fn note_once(&mut self, text: &str) {
        if !std::mem::replace(&mut self.noted, true) {
            self.note(text);
        }
    }

    /// After an interruption: says again what the master may not have heard.
    pub(super) async fn ask_again(&mut self) {
        let Phase::Launched(placed) = &self.phase else { return };
        let task = TaskId { value: self.job.task.id.clone() };
        let agent = Some(placed.agent.clone());
        self.asked = Instant::now();
        self.scheduler.call(launch::reconcile(vec![(task.clone(), agent.clone())])).await;
        if let Some((_, sent)) = &mut self.killing {
            *sent = Instant::now();
            self.scheduler.call(launch::kill(task, agent, self.job.task.kill_grace)).await;
        }
    }

    async fn kill(&mut self, code: u8) -> Step {
        self.killing = Some((code, Instant::now()));
        match &self.phase {
            Phase::Wanting(_) => Ok(Some(Ending { code, message: None })),
            Phase::Launched(placed) => {
                let task = TaskId { value: self.job.task.id.clone() };
                let kill = launch::kill(task, Some(placed.agent.clone()), self.job.task.kill_grace);
                self.scheduler.call(kill).await;
                Ok(None)
            }
        }
    }

    pub(super) async fn interrupted(&mut self, code: u8) -> Step {
        self.interrupted.get_or_insert_with(Instant::now);
        match (self.killing, &self.away) {
            (None, away) => {
                self.note(match away {
                    None => "killing the task; interrupt again to leave at once",
                    Some(_) => {
                        "the task is killed as soon as the master answers, who is waited for a few seconds; \
                         interrupt again to leave the task running"
                    }
                });
                self.kill(code).await
            }
            // Leaving tears the framework down, which ends the task without us.
            (Some(_), None) => {
                self.abandoned = true;
                Ok(Some(Ending { code, message: None }))
            }
            (Some(_), Some(_)) => Ok(Some(Ending { code, ..self.without_master() })),
        }
    }

    /// Our own output can't be written to, or the agent's not be read.
    pub(super) async fn unheard(&mut self, error: &anyhow::Error) -> Step {
        if self.killing.is_some() {
            return Ok(None);
        }
        if !print::is_closed_pipe(error) {
            self.note(&format!("{error:#}; killing the task"));
        }
        self.kill(1).await
    }
}
