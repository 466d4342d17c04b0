//! What the master believes to be used on a host, compared with what runs there, whenever nothing is on its way between
//! them. Neither the master's sums nor the agent's are asked: the containers of the host tell.

use std::collections::BTreeMap;

use master::logic::LinkId;
use model::{FrameworkId, Resources};

use crate::agent_node::AgentNode;
use crate::world::World;

impl World {
    /// Compares all hosts that are quiet.
    pub(crate) fn compare_hosts(&mut self) {
        for index in 0..self.agents.len() {
            match self.compare(&self.agents[index]) {
                Some(Ok(())) => self.compared += 1,
                Some(Err(why)) => self.broken(format!("host {index}, with nothing on its way: {why}")),
                None => {}
            }
        }
    }

    /// None while something is under way.
    fn compare(&self, node: &AgentNode) -> Option<Result<(), String>> {
        let (master, connection) = (self.leader().filter(|master| !master.down)?, node.connection?);
        let agent = node.state.as_ref().filter(|state| state.is_registered())?.agent_id()?;
        let row = master.state.agents.get(agent)?;
        let quiet = row.link == Some(LinkId(connection))
            && self.network.is_silent(connection, self.now)
            && node.host.writes.is_empty()
            && node.postman.owes_nothing();
        quiet.then(|| {
            if row.total != node.total() {
                return Err(format!("the master believes in {} of {}", row.total, node.total()));
            }
            let (mut believed, mut runs) = (row.used.clone(), node.host.uses());
            // Mesos: the resources of a framework that is over are free before its last commands have ended; and to a
            // new master it may come back under its id.
            believed.retain(|framework, _| !node.postman.is_over(framework));
            runs.retain(|framework, _| !node.postman.is_over(framework));
            same(&believed, &runs)
        })
    }
}

/// Compares what is believed to be used with what is.
///
/// # Errors
/// It is something else.
pub fn same(
    believed: &BTreeMap<FrameworkId, Resources>,
    used: &BTreeMap<FrameworkId, Resources>,
) -> Result<(), String> {
    if believed == used { Ok(()) } else { Err(format!("{believed:?} is believed to be used, {used:?} is")) }
}
