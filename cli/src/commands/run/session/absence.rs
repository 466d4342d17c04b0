//! A master that is away: for how long, what is said about it, and when nobody waits for it any longer.

use std::time::Duration;

use anyhow::anyhow;
use tokio::time::Instant;

use super::super::ending::Ending;
use super::task::Phase;
use super::{Run, Step};

/// How long the first connection to a master is tried.
const CONNECT: Duration = Duration::from_secs(3);
/// How long an ensemble is asked who leads.
const FINDING: Duration = Duration::from_secs(15);
/// How long a run that was interrupted waits for a master that could kill its task.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often it is said that the master is still away: the first time, and at most.
const FIRST_WORD: Duration = Duration::from_secs(5);
const MOST_SILENCE: Duration = Duration::from_secs(60);

/// A time without a master.
pub(super) struct Absence {
    since: Instant,
    /// Why the last try failed.
    why: Option<String>,
    /// After how long it is told of next.
    next_word: Duration,
}

impl Absence {
    pub(super) fn since(since: Instant) -> Absence {
        Absence { since, why: None, next_word: FIRST_WORD }
    }

    /// How long it has lasted.
    pub(super) fn seconds(&self) -> u64 {
        self.since.elapsed().as_secs()
    }

    /// Whether it is time to tell of it again; ever more seldom.
    fn is_to_be_told(&mut self, elapsed: Duration) -> bool {
        let due = elapsed >= self.next_word;
        if due {
            self.next_word += self.next_word.min(MOST_SILENCE);
        }
        due
    }
}

impl Run {
    /// The connection broke.
    pub(super) fn lost(&mut self, why: String) -> Step {
        let limit = self.job.reconnect_timeout.as_secs();
        let affected = match self.phase {
            Phase::Wanting(_) => "",
            Phase::Launched(_) => "; the task is not affected",
        };
        self.note(&format!(
            "lost the master at {} ({why}){affected}; trying again for {limit} s",
            self.job.master
        ));
        self.away = Some(Absence { why: Some(why), ..Absence::since(Instant::now()) });
        Ok(None)
    }

    /// A try to connect failed.
    pub(super) fn not_reached(&mut self, why: String) -> Step {
        if let Some(away) = &mut self.away {
            away.why = Some(why);
        }
        if self.framework.is_none() { self.give_up_connecting() } else { Ok(None) }
    }

    /// A master that has never answered is probably not there.
    pub(super) fn give_up_connecting(&self) -> Step {
        match &self.away {
            Some(Absence { since, why: Some(why), .. }) if since.elapsed() >= CONNECT => Err(anyhow!(
                "no master at {}: {why}; start one with `tepui master` or `tepui dev`, or name it with --master",
                self.job.master
            )),
            Some(Absence { since, why: None, .. })
                if since.elapsed() >= FINDING && self.detector.leader().borrow().is_none() =>
            {
                Err(anyhow!(
                    "{} names no leading master; look whether a majority of its servers runs, and whether masters with \
                     the same --zk do",
                    self.job.master
                ))
            }
            _ => Ok(None),
        }
    }

    /// Every second without a master: says so every now and then, and ends once it has been waited for long enough.
    pub(super) fn wait_for_master(&mut self) -> Step {
        let Some(away) = &mut self.away else { return Ok(None) };
        let since = away.since;
        let told = away.is_to_be_told(since.elapsed());
        let until = match self.interrupted {
            Some(at) => at.max(since) + FAREWELL.min(self.job.reconnect_timeout),
            None => since + self.job.reconnect_timeout,
        };
        if Instant::now() >= until {
            return Ok(Some(self.without_master()));
        }
        if told {
            self.note(&format!("{}; still trying", self.absence()));
        }
        Ok(None)
    }

    /// The end of a run whose master doesn't come back, or is not waited for.
    pub(super) fn without_master(&mut self) -> Ending {
        self.abandoned = true;
        let code = self.killing.map_or(1, |(code, _)| code);
        let message = match self.phase {
            Phase::Wanting(_) => format!("{}; the task was not started", self.absence()),
            Phase::Launched(_) => format!("{}; {}", self.absence(), self.left_running()),
        };
        Ending { code, message: Some(message) }
    }

    /// How to look after a task that may live on without us.
    pub(super) fn left_running(&self) -> String {
        let (id, master) = (&self.job.task.id, &self.job.master);
        format!(
            "task {id} may still run: once a master answers, `tepui task list --master={master}` shows it, and \
             `tepui task kill --master={master} {id}` ends it"
        )
    }

    fn absence(&self) -> String {
        let seconds = self.away.as_ref().map_or(0, Absence::seconds);
        let why = self.away.as_ref().and_then(|away| away.why.as_deref()).unwrap_or("no answer");
        format!("no master at {} for {seconds} s ({why})", self.job.master)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_of_ever_more_seldom() {
        let mut absence = Absence::since(Instant::now());
        let told: Vec<_> =
            (0..300).filter(|second| absence.is_to_be_told(Duration::from_secs(*second))).collect();
        assert_eq!(told, [5, 10, 20, 40, 80, 140, 200, 260]);
    }
}
