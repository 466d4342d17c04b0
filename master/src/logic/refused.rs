//! Refusals of calls as data, and the one place that says what HTTP code and text each becomes.

use model::{AgentId, FrameworkId};

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No such framework.
    UnknownFramework(FrameworkId),
    /// The framework is another one's.
    OtherPrincipal {
        /// Who asks.
        asks: String,
        /// Whose it is.
        says: String,
    },
    /// The framework has no stream now.
    NotSubscribed(FrameworkId),
    /// No `Mesos-Stream-Id` header.
    NoStreamId,
    /// A `Mesos-Stream-Id` that is not the current one.
    OtherStreamId(String),
    /// No such agent.
    UnknownAgent(AgentId),
    /// Another change of the agent is being written.
    InTransition(AgentId),
    /// The call can't be carried out as it stands.
    Invalid(String),
}

impl Refused {
    /// The HTTP status code.
    pub fn status(&self) -> u16 {
        match self {
            // Mesos: 400 "cannot be found"; operator TEARDOWN of an unknown framework is 400 too.
            Refused::UnknownFramework(_) | Refused::Invalid(_) => 400,
            // Mesos: 400.
            Refused::OtherPrincipal { .. } => 400,
            // Mesos: 403 while the framework isn't connected.
            Refused::NotSubscribed(_) => 403,
            // Mesos: a missing or other stream id is 400.
            Refused::NoStreamId | Refused::OtherStreamId(_) => 400,
            // Mesos: MARK_AGENT_GONE of an unknown agent is 404, during another transition 503.
            Refused::UnknownAgent(_) => 404,
            Refused::InTransition(_) => 503,
        }
    }

    /// The text of the answer.
    pub fn text(&self) -> String {
        match self {
            Refused::UnknownFramework(id) => format!("Framework '{id}' cannot be found"),
            Refused::OtherPrincipal { asks, says } => {
                format!(
                    "Authenticated principal '{asks}' does not match principal '{says}' set in `FrameworkInfo`"
                )
            }
            Refused::NotSubscribed(id) => format!("Framework '{id}' is not subscribed"),
            Refused::NoStreamId => {
                "All non-subscribe calls should include the 'Mesos-Stream-Id' header".to_owned()
            }
            Refused::OtherStreamId(given) => {
                format!(
                    "The stream ID '{}' included in this request is not the current one",
                    given.escape_default()
                )
            }
            Refused::UnknownAgent(id) => format!("Agent '{id}' cannot be found"),
            Refused::InTransition(id) => format!("Agent '{id}' is being changed by another call; try again"),
            Refused::Invalid(why) => why.clone(),
        }
    }
}
