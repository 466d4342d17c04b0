//! Agents come: registration, re-registration, and what the registry has to write before either counts.

use model::{AgentId, Resources, Timestamp};
use wire::link;
use wire::link::from_master::Body;
use wire::v1;

use super::effect::Effect;
use super::event::{AgentHello, LinkId, Ticket};
use super::identity::{Identity, Proof};
use super::registry::Change;
use super::state::{Agent, AgentFacts, Settings, State};
use super::tally::Count;
use super::waits::{After, Cause, Report};
use super::{offers, pings, readmission};

/// Refusal of a second agent on one link.
const ONE_AGENT: &str = "this link is another agent's";

/// An agent without an id asks for one.
pub(super) fn register(
    state: &mut State,
    now: Timestamp,
    link: LinkId,
    hello: AgentHello,
    out: &mut Vec<Effect>,
) {
    state.tally.bump(Count::RegisterAgent);
    if let Err(why) = check(&state.settings, &hello) {
        return refuse(link, why, out);
    }
    if speaks_for_another(state, link, &hello) {
        return refuse(link, ONE_AGENT.to_owned(), out);
    }
    if let Some(ticket) = state.inner.admitting.get(&hello.address).copied() {
        return join_registration(state, ticket, link, hello, out);
    }
    let Some(known) = state.inner.addresses.get(&hello.address).cloned() else {
        return admit(state, link, hello, out);
    };
    if let Some(why) = impostor(state, &known, &hello) {
        return refuse(link, format!("agent '{known}' has this address, and {why}"), out);
    }
    let same = state.agents.get(&known).is_some_and(|agent| agent.incarnation == hello.incarnation);
    if state.inner.transitions.contains_key(&known) {
        refuse(link, format!("agent '{known}' at this address is being changed; try again"), out);
    } else if same {
        // The answer to its first try was lost on the way.
        let (tasks, frameworks, completed) = (Vec::new(), Vec::new(), Vec::new());
        let report = Report { hello, tasks, frameworks, completed };
        readmission::rejoin(state, now, &known, link, report, out);
    } else {
        // Mesos: the agent that was at this address is removed, then the new one is admitted.
        let address = hello.address.clone();
        let then = Some(Box::new((link, hello)));
        let change = Change::Remove(known.clone());
        let ticket = state.persist(
            &known.clone(),
            change,
            After::Remove { agent: known, cause: Cause::Replaced, then },
            out,
        );
        state.inner.admitting.insert(address, ticket);
        state.inner.joining.insert(link, ticket);
    }
}

/// Whether a link from which an agent without an id registers is that of another agent already.
fn speaks_for_another(state: &State, link: LinkId, hello: &AgentHello) -> bool {
    let inner = &state.inner;
    let admitting = inner.admitting.get(&hello.address);
    let changes = admitting.and_then(|ticket| inner.waiting.get(ticket)).and_then(After::agent);
    inner.joining.get(&link).is_some_and(|ticket| admitting != Some(ticket))
        || inner.links.get(&link).is_some_and(|owner| {
            inner.addresses.get(&hello.address) != Some(owner) || changes.is_some_and(|agent| agent != owner)
        })
}

/// An agent that has an id comes back.
pub(super) fn reregister(
    state: &mut State,
    now: Timestamp,
    link: LinkId,
    agent: AgentId,
    report: Report,
    out: &mut Vec<Effect>,
) {
    state.tally.bump(Count::ReregisterAgent);
    if let Err(why) =
        agent.check().map_err(|bad| bad.to_string()).and_then(|()| check(&state.settings, &report.hello))
    {
        return refuse(link, why, out);
    }
    let inner = &state.inner;
    let taken = inner.links.get(&link).is_some_and(|owner| *owner != agent)
        || inner.joining.get(&link).is_some_and(|ticket| inner.transitions.get(&agent) != Some(ticket));
    if taken {
        return refuse(link, ONE_AGENT.to_owned(), out);
    }
    if let Some(why) = impostor(state, &agent, &report.hello) {
        return refuse(link, format!("agent '{agent}' is another's: {why}"), out);
    }
    if let Some((other, why)) = usurped(state, &agent, &report.hello) {
        return refuse(link, format!("agent '{other}' has this address, and {why}"), out);
    }
    if state.gone.contains_key(&agent) {
        return shut_down(link, format!("Agent '{agent}' was marked gone and can't come back"), out);
    }
    if let Some(ticket) = state.inner.transitions.get(&agent).copied() {
        return join_reregistration(state, ticket, link, report, out);
    }
    let info = registered_info(&report.hello, &agent);
    let written = match state.agents.get(&agent) {
        Some(known) if moved(known, &report.hello) => {
            let message = format!("Agent '{agent}' may not change its IP address or hostname");
            return shut_down(link, message, out);
        }
        Some(known) => known.facts.info == info,
        None => state.recovered.get(&agent).is_some_and(|recovered| **recovered == info),
    };
    let owner = report.hello.proof.news(state.inner.owners.get(&agent).map(|owner| &**owner));
    if written && owner.is_none() {
        readmission::readmit(state, now, &agent, Some(link), report, out);
    } else {
        let after = After::Reregister { agent: agent.clone(), link: Some(link), report: report.into() };
        let ticket = state.persist(&agent, admission(&agent, info, owner), after, out);
        state.inner.joining.insert(link, ticket);
    }
}

/// Why an agent isn't the one that it says it is.
fn impostor(state: &State, agent: &AgentId, hello: &AgentHello) -> Option<String> {
    hello.proof.contradicts(state.inner.owners.get(agent)?)
}

/// The agent whose address one that isn't it says to have, and why it isn't the same host's.
fn usurped(state: &State, agent: &AgentId, hello: &AgentHello) -> Option<(AgentId, String)> {
    let other = state.inner.addresses.get(&hello.address).filter(|other| *other != agent)?;
    Some((other.clone(), impostor(state, other, hello)?))
}

fn admission(agent: &AgentId, info: v1::AgentInfo, owner: Option<Identity>) -> Change {
    Change::Admit(agent.clone(), info.into(), owner.map(Into::into))
}

/// It is written whose an agent is.
pub(super) fn belongs(state: &mut State, agent: &AgentId, proof: &Proof) {
    let owners = &mut state.inner.owners;
    if let Some(owner) = proof.news(owners.get(agent).map(|owner| &**owner)) {
        owners.insert(agent.clone(), owner.into());
    }
}

fn admit(state: &mut State, link: LinkId, hello: AgentHello, out: &mut Vec<Effect>) {
    let agent = state.next_agent_id();
    let change = admission(&agent, registered_info(&hello, &agent), hello.proof.news(None));
    let address = hello.address.clone();
    let after = After::Register { agent: agent.clone(), link: Some(link), hello: hello.into() };
    let ticket = state.persist(&agent, change, after, out);
    state.inner.admitting.insert(address, ticket);
    state.inner.joining.insert(link, ticket);
}

/// A registration from an address of which one is being written.
fn join_registration(
    state: &mut State,
    ticket: Ticket,
    link: LinkId,
    hello: AgentHello,
    out: &mut Vec<Effect>,
) {
    let before = match state.inner.waiting.get_mut(&ticket) {
        Some(After::Register { link: waits, hello: first, .. })
            if first.incarnation == hello.incarnation && first.proof == hello.proof =>
        {
            waits.replace(link)
        }
        Some(After::Remove { then, .. }) => then.replace(Box::new((link, hello))).map(|replaced| replaced.0),
        _ => {
            return refuse(
                link,
                "another agent at this address is being registered; try again".to_owned(),
                out,
            );
        }
    };
    take_over(state, ticket, before, link, out);
}

/// A re-registration of an agent of which a change is being written.
fn join_reregistration(state: &mut State, ticket: Ticket, link: LinkId, new: Report, out: &mut Vec<Effect>) {
    match state.inner.waiting.get_mut(&ticket) {
        Some(After::Reregister { link: waits, report, .. })
            if report.hello.incarnation == new.hello.incarnation
                && report.hello.info == new.hello.info
                && report.hello.proof == new.hello.proof =>
        {
            **report = new;
            let before = waits.replace(link);
            take_over(state, ticket, before, link, out);
        }
        _ => refuse(link, "another change of this agent is being written; try again".to_owned(), out),
    }
}

fn take_over(state: &mut State, ticket: Ticket, before: Option<LinkId>, link: LinkId, out: &mut Vec<Effect>) {
    // The same link when the agent only grew impatient.
    if let Some(before) = before.filter(|before| *before != link) {
        state.inner.joining.remove(&before);
        out.push(Effect::CloseLink { link: before });
    }
    state.inner.joining.insert(link, ticket);
}

/// A new agent is on disk.
pub(super) fn registered(
    state: &mut State,
    now: Timestamp,
    agent: AgentId,
    link: Option<LinkId>,
    hello: AgentHello,
    out: &mut Vec<Effect>,
) {
    state.inner.admitting.remove(&hello.address);
    tracing::info!(agent_id = %agent, address = %hello.address, total = %hello.total, "agent registered");
    state.tally.bump(Count::Registrations);
    arrive(state, now, &agent, link, &hello, out);
}

/// Puts a row in for an agent that had none, and answers it.
pub(super) fn arrive(
    state: &mut State,
    now: Timestamp,
    agent: &AgentId,
    link: Option<LinkId>,
    hello: &AgentHello,
    out: &mut Vec<Effect>,
) {
    state.add_agent(Agent {
        facts: facts(hello, agent).into(),
        total: hello.total.clone(),
        used: Default::default(),
        offers: Default::default(),
        link,
        active: link.is_some(),
        registered: now,
        reregistered: None,
        disconnected: None,
        pings_missed: 0,
        incarnation: hello.incarnation.clone(),
        pending_kills: Vec::new(),
    });
    if link.is_some() {
        state.to_agent(agent, answer(state, agent), out);
    } else {
        pings::disconnected(state, now, agent);
    }
    pings::begin(state, now, agent, out);
    state.publish_added_agent(agent, out);
    state.inner.allocator.hurry();
}

/// Writes down what an agent says of itself now. Offers of another total are rescinded.
pub(super) fn refresh(state: &mut State, agent: &AgentId, hello: &AgentHello, out: &mut Vec<Effect>) {
    let facts = facts(hello, agent);
    let Some(row) = state.agents.get(agent) else { return };
    let (total, address) = (row.total.clone(), row.facts.address.clone());
    if total != hello.total {
        offers::rescind_of_agent(state, agent, out);
        state.inner.touched.insert(agent.clone());
        state.inner.allocator.agent_leaves(agent, &total);
        state.inner.allocator.agent_joins(&hello.total);
    }
    if address != facts.address && state.inner.addresses.get(&address) == Some(agent) {
        state.inner.addresses.remove(&address);
    }
    state.inner.addresses.insert(facts.address.clone(), agent.clone());
    let Some(row) = state.agents.get_mut(agent) else { return };
    row.total = hello.total.clone();
    row.incarnation.clone_from(&hello.incarnation);
    if *row.facts != facts {
        row.facts = facts.into();
    }
}

/// The answer to a registration.
pub(super) fn answer(state: &State, agent: &AgentId) -> Body {
    let settings = &state.settings;
    let patience = settings.agent_ping_timeout * settings.max_agent_ping_timeouts;
    Body::Registered(link::Registered {
        agent_id: agent.to_string(),
        master_id: settings.master.to_string(),
        ping_timeout_seconds: patience.as_secs_f64(),
        protocol: link::PROTOCOL_VERSION,
    })
}

fn check(settings: &Settings, hello: &AgentHello) -> Result<(), String> {
    if !is_semver(&hello.version) {
        return Err(format!("'{}' is no version such as 1.2.3", hello.version.escape_default()));
    }
    // Mesos: agents older than 1.0.0 are refused.
    if hello.version.starts_with("0.") {
        return Err(format!(
            "version {} is older than 1.0.0; upgrade the agent",
            hello.version.escape_default()
        ));
    }
    // Mesos: an agent with a domain can't join a master without one.
    if hello.info.domain.is_some() && settings.domain.is_none() {
        return Err(
            "the agent has a domain but this master has none; start the master with --domain, or the \
                    agent without"
                .to_owned(),
        );
    }
    if hello.info.domain.is_none() && settings.require_agent_domain {
        return Err(
            "the agent has no domain, which --require_agent_domain of this master asks for; start the \
                    agent with --domain"
                .to_owned(),
        );
    }
    if hello.info.hostname.is_empty() || hello.address.is_empty() {
        return Err("the agent names no hostname or no address".to_owned());
    }
    Ok(())
}

fn is_semver(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or("");
    let parts: Vec<&str> = core.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

/// Mesos: an agent may not come back with another IP address or hostname; another port is fine.
fn moved(known: &Agent, hello: &AgentHello) -> bool {
    let ip = |address: &str| address.rsplit_once(':').map_or(address, |(ip, _)| ip).to_owned();
    known.facts.info.hostname != hello.info.hostname || ip(&known.facts.address) != ip(&hello.address)
}

fn registered_info(hello: &AgentHello, agent: &AgentId) -> v1::AgentInfo {
    v1::AgentInfo { id: Some(agent.into()), ..hello.info.clone() }
}

fn facts(hello: &AgentHello, agent: &AgentId) -> AgentFacts {
    AgentFacts {
        id: agent.clone(),
        info: registered_info(hello, agent),
        address: hello.address.clone(),
        version: hello.version.clone(),
        capabilities: hello.capabilities.clone(),
    }
}

fn refuse(link: LinkId, message: String, out: &mut Vec<Effect>) {
    tracing::warn!(link = link.0, "registration refused: {message}");
    out.push(Effect::ToAgent { link, message: Box::new(Body::Refused(link::Refused { message })) });
    out.push(Effect::CloseLink { link });
}

fn shut_down(link: LinkId, message: String, out: &mut Vec<Effect>) {
    tracing::warn!(link = link.0, "agent told to shut down: {message}");
    out.push(Effect::ToAgent { link, message: Box::new(Body::Shutdown(link::Shutdown { message })) });
    out.push(Effect::CloseLink { link });
}

impl State {
    /// Asks for a registry write of an agent; nothing else changes that agent in the registry until it is done.
    pub(super) fn persist(
        &mut self,
        agent: &AgentId,
        change: Change,
        after: After,
        out: &mut Vec<Effect>,
    ) -> Ticket {
        let ticket = self.next_ticket();
        self.inner.transitions.insert(agent.clone(), ticket);
        self.inner.waiting.insert(ticket, after);
        self.inner.touched.insert(agent.clone());
        out.push(Effect::Persist { ticket, change });
        ticket
    }

    /// A ticket that was never used.
    pub(super) fn next_ticket(&mut self) -> Ticket {
        self.inner.counters.ticket += 1;
        Ticket(self.inner.counters.ticket)
    }

    fn next_agent_id(&mut self) -> AgentId {
        loop {
            let id = AgentId::new(format!("{}-S{}", self.settings.master, self.inner.counters.agent));
            self.inner.counters.agent += 1;
            // An agent may have come back under any id.
            let known = self.agents.contains(&id)
                || self.recovered.contains(&id)
                || self.inner.transitions.contains_key(&id)
                || self.unreachable.contains_key(&id)
                || self.gone.contains_key(&id);
            if !known {
                return id;
            }
        }
    }

    /// Sends to an agent if it is connected.
    pub(super) fn to_agent(&self, agent: &AgentId, body: Body, out: &mut Vec<Effect>) {
        if let Some(link) = self.agents.get(agent).and_then(|row| row.link) {
            out.push(Effect::ToAgent { link, message: Box::new(body) });
        }
    }

    /// Whether an agent has all that is used and offered of it. Only its own report can make it use more.
    pub fn fits(&self, agent: &AgentId) -> bool {
        self.agents.get(agent).is_none_or(|row| row.total.contains(&self.taken_of(row)))
    }

    fn taken_of(&self, agent: &Agent) -> Resources {
        let mut taken = Resources::none();
        for part in agent.used.values().chain(agent.offers.values()) {
            taken.add(&part.allocated_to(None));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::is_semver;

    #[test]
    fn versions() {
        assert!(["0.1.0", "1.12.0", "1.0.0-rc1+b5"].into_iter().all(is_semver));
        assert!(["", "1", "1.0", "1.0.x", "v1.0.0", "1..0"].into_iter().all(|version| !is_semver(version)));
    }
}
