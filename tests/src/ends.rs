//! What a framework may hear of the end of a task, by its capabilities.
//!
//! | PARTITION_AWARE | checkpoint | rule |
//! |---|---|---|
//! | yes | yes | exactly one terminal state |
//! | no | yes | LOST by the master for an agent that is away (or asked about) is no end: the task may be back, and then has exactly one terminal state |
//! | yes | no | as the first, but what the master says because the agent's link was lost (or when it is asked afterwards) counts only while it leads: the next one knows only what the agent reports |
//! | no | no | both exceptions |
//!
//! With all of them the answer to a question (reason RECONCILIATION) may say of a task that is over that it is not
//! known any more; and to one that was said to be so by the master, its agent may add that it doesn't know it either. An agent whose disk refused the end of a task says it all the same; should its process then die
//! before the acknowledgement is written, the next one tells what it finds, and that may be another end.

use model::TaskState;
use wire::v1;
use wire::v1::framework_info::capability::Type as Capability;
use wire::v1::task_status::{Reason, Source};

/// What a scheduler has heard of the end of a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum End {
    /// Nothing.
    #[default]
    Open,
    /// An end that may be taken back.
    Loose(TaskState),
    /// An end that may be taken back when another master leads than the one of this life.
    UnderMaster(TaskState, u64),
    /// An end for good.
    Firm(TaskState),
}

impl End {
    /// Whether any end was heard.
    pub fn heard(self) -> bool {
        self != End::Open
    }

    /// Takes in another status, said by the master of this life.
    ///
    /// # Errors
    /// The framework may not hear this after what it heard before.
    pub fn hears(self, info: &v1::FrameworkInfo, status: &v1::TaskStatus, life: u64) -> Result<End, String> {
        let state = TaskState::from(status.state());
        let asked = status.source() == Source::Master && status.reason() == Reason::Reconciliation;
        let unknown_to_agent = state.seen_by(false) == TaskState::Lost
            && status.source() == Source::Agent
            && status.reason() == Reason::Reconciliation;
        match self {
            End::Firm(end) | End::UnderMaster(end, _) if state == end => return Ok(self),
            End::Firm(end) | End::UnderMaster(end, _) if is_unknown(end) && unknown_to_agent => {
                return Ok(self);
            }
            End::Firm(_) if asked && is_unknown(state) => return Ok(self),
            End::UnderMaster(_, of) if of == life && asked && is_unknown(state) => return Ok(self),
            End::Firm(end) => return Err(format!("was {end:?} for good and is {state:?} now")),
            End::UnderMaster(end, of) if of == life => {
                return Err(format!("was {end:?} by the master that still leads and is {state:?} now"));
            }
            _ => {}
        }
        if !state.is_terminal() {
            return Ok(End::Open);
        }
        let aware = info.capabilities.iter().any(|c| c.r#type() == Capability::PartitionAware);
        let by_master = status.source() == Source::Master;
        let away = matches!(status.reason(), Reason::AgentRemoved | Reason::Reconciliation);
        if !aware && state == TaskState::Lost && by_master && away {
            return Ok(End::Loose(state));
        }
        let cut = matches!(status.reason(), Reason::AgentDisconnected | Reason::Reconciliation);
        if !info.checkpoint() && by_master && cut {
            return Ok(End::UnderMaster(state, life));
        }
        Ok(End::Firm(state))
    }
}

/// What is said of tasks that are not known (any more).
fn is_unknown(state: TaskState) -> bool {
    use TaskState::{Gone, GoneByOperator, Lost, Unknown, Unreachable};
    matches!(state, Gone | GoneByOperator | Unknown | Unreachable | Lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: TaskState, source: Source, reason: Option<Reason>) -> v1::TaskStatus {
        let mut status = v1::TaskStatus { reason: reason.map(Into::into), ..Default::default() };
        status.set_state(state.into());
        status.set_source(source);
        status
    }

    fn framework(aware: bool, checkpoint: bool) -> v1::FrameworkInfo {
        let capabilities: &[Capability] = if aware { &[Capability::PartitionAware] } else { &[] };
        let info = crate::messages::framework_info("f", capabilities);
        v1::FrameworkInfo { checkpoint: Some(checkpoint), ..info }
    }

    #[test]
    fn what_may_follow_an_end() {
        use TaskState::{Failed, Finished, Gone, Lost, Running};
        let finished = status(Finished, Source::Executor, None);
        let removed = |state| status(state, Source::Master, Some(Reason::AgentRemoved));
        let cut = status(Gone, Source::Master, Some(Reason::AgentDisconnected));
        let asked = status(Gone, Source::Master, Some(Reason::Reconciliation));
        let running = status(Running, Source::Executor, None);
        for (aware, checkpoint) in [(true, true), (false, true), (true, false), (false, false)] {
            let info = framework(aware, checkpoint);
            let ended = End::Open.hears(&info, &finished, 1).unwrap();
            assert_eq!(ended, End::Firm(Finished));
            assert_eq!(ended.hears(&info, &finished, 1), Ok(ended), "an end may be repeated");
            assert_eq!(ended.hears(&info, &asked, 1), Ok(ended), "and be forgotten");
            assert!(ended.hears(&info, &running, 2).is_err());
            assert!(ended.hears(&info, &status(Failed, Source::Agent, None), 1).is_err());
            let lost = End::Open.hears(&info, &removed(Lost), 1).unwrap();
            assert_eq!(lost.hears(&info, &running, 1).is_ok(), !aware);
            let cut = End::Open.hears(&info, &cut, 1).unwrap();
            assert!(cut.hears(&info, &running, 1).is_err());
            assert_eq!(cut.hears(&info, &running, 2).is_ok(), !checkpoint);
        }
    }
}
