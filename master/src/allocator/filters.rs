//! Refused resources: what a framework declined it isn't offered again for a while.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::{AgentId, FrameworkId, Resources, Role, Timestamp};

/// Most filters kept for one framework, role and agent; the one that ends first goes.
const MAX_PER_AGENT: usize = 16;

/// A framework doesn't want these resources of this agent for this role before `until`.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// Who refused.
    pub framework: FrameworkId,
    /// For which role.
    pub role: Role,
    /// Of which agent.
    pub agent: AgentId,
    /// What was refused, allocated to the role.
    pub refused: Resources,
    /// End of the filter.
    pub until: Timestamp,
}

type Refusals = VecDeque<(Timestamp, Resources)>;
type Key = (FrameworkId, Role, AgentId);

/// All filters, found by framework, role and agent, and by their end.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    by_client: BTreeMap<FrameworkId, BTreeMap<Role, BTreeMap<AgentId, Refusals>>>,
    ends: BTreeSet<(Timestamp, Key)>,
    /// How many ends there are, by role.
    counts: BTreeMap<Role, usize>,
}

impl Filters {
    /// Adds a filter. One that hides no more and ends no later than another is dropped.
    pub fn add(&mut self, filter: Filter) {
        let Filter { framework, role, agent, refused, until } = filter;
        let key = (framework.clone(), role.clone(), agent.clone());
        let refusals =
            self.by_client.entry(framework).or_default().entry(role).or_default().entry(agent).or_default();
        if refusals.iter().any(|(end, have)| *end >= until && have.contains(&refused)) {
            return;
        }
        let before: Vec<Timestamp> = refusals.iter().map(|(end, _)| *end).collect();
        refusals.retain(|(end, have)| *end > until || !refused.contains(have));
        if refusals.len() >= MAX_PER_AGENT {
            refusals.pop_front();
        }
        let at = refusals.partition_point(|(end, _)| *end <= until);
        refusals.insert(at, (until, refused));
        for end in before.into_iter().filter(|end| refusals.iter().all(|(kept, _)| kept != end)) {
            Filters::drop_end(&mut self.ends, &mut self.counts, &(end, key.clone()));
        }
        let role = key.1.clone();
        if self.ends.insert((until, key)) {
            *self.counts.entry(role).or_default() += 1;
        }
    }

    fn drop_end(
        ends: &mut BTreeSet<(Timestamp, Key)>,
        counts: &mut BTreeMap<Role, usize>,
        end: &(Timestamp, Key),
    ) {
        if ends.remove(end) {
            Filters::count_down(counts, &end.1.1);
        }
    }

    fn count_down(counts: &mut BTreeMap<Role, usize>, role: &Role) {
        if let Some(count) = counts.get_mut(role) {
            *count -= 1;
            if *count == 0 {
                counts.remove(role);
            }
        }
    }

    /// Whether an offer of `part` would be hidden. Mesos: when all of it was refused; a bigger offer passes.
    pub fn hides(
        &self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        part: &Resources,
        now: Timestamp,
    ) -> bool {
        let refusals = self.by_client.get(framework).and_then(|roles| roles.get(role)?.get(agent));
        refusals.is_some_and(|all| all.iter().any(|(end, refused)| *end > now && refused.contains(part)))
    }

    /// How many stand, by role.
    pub fn by_role(&self) -> &BTreeMap<Role, usize> {
        &self.counts
    }

    /// When the next filter ends.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// Drops the filters that ended; answers whose agents.
    pub fn expire(&mut self, now: Timestamp) -> BTreeSet<AgentId> {
        let mut agents = BTreeSet::new();
        while self.ends.first().is_some_and(|(end, _)| *end <= now) {
            let Some((_, key)) = self.ends.pop_first() else { break };
            Filters::count_down(&mut self.counts, &key.1);
            self.prune(&key, now);
            agents.insert(key.2);
        }
        agents
    }

    /// Forgets the filters of a framework for a role.
    pub fn forget_role(&mut self, framework: &FrameworkId, role: &Role) {
        let Some(roles) = self.by_client.get_mut(framework) else { return };
        let gone = roles.remove(role);
        if roles.is_empty() {
            self.by_client.remove(framework);
        }
        self.forget_ends(framework, role, gone);
    }

    /// Forgets all filters of a framework.
    pub fn forget(&mut self, framework: &FrameworkId) {
        for (role, agents) in self.by_client.remove(framework).unwrap_or_default() {
            self.forget_ends(framework, &role, Some(agents));
        }
    }

    fn forget_ends(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        agents: Option<BTreeMap<AgentId, Refusals>>,
    ) {
        for (agent, refusals) in agents.unwrap_or_default() {
            for (end, _) in refusals {
                let key = (framework.clone(), role.clone(), agent.clone());
                Filters::drop_end(&mut self.ends, &mut self.counts, &(end, key));
            }
        }
    }

    fn prune(&mut self, (framework, role, agent): &Key, now: Timestamp) {
        let Some(roles) = self.by_client.get_mut(framework) else { return };
        let Some(agents) = roles.get_mut(role) else { return };
        let Some(refusals) = agents.get_mut(agent) else { return };
        refusals.retain(|(end, _)| *end > now);
        if refusals.is_empty() {
            agents.remove(agent);
        }
        if agents.is_empty() {
            roles.remove(role);
        }
        if roles.is_empty() {
            self.by_client.remove(framework);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn filter(agent: &str, refused: &str, until: i64) -> Filter {
        Filter {
            framework: FrameworkId::from("f"),
            role: Role::any(),
            agent: AgentId::from(agent),
            refused: of(refused),
            until: at(until),
        }
    }

    fn of(text: &str) -> Resources {
        model::resources::parse(text, &Role::any()).unwrap()
    }

    fn hides(filters: &Filters, agent: &str, part: &str, now: i64) -> bool {
        filters.hides(&FrameworkId::from("f"), &Role::any(), &AgentId::from(agent), &of(part), at(now))
    }

    #[test]
    fn smaller_offers_are_hidden_and_bigger_ones_pass() {
        let mut filters = Filters::default();
        filters.add(filter("a", "cpus:2;mem:100", 5));
        assert!(hides(&filters, "a", "cpus:2;mem:100", 4));
        assert!(hides(&filters, "a", "cpus:1", 4));
        assert!(!hides(&filters, "a", "cpus:2.001;mem:100", 4));
        assert!(!hides(&filters, "b", "cpus:1", 4));
        assert!(!hides(&filters, "a", "cpus:1", 5));
    }

    #[test]
    fn ended_filters_name_their_agents_and_leave_nothing() {
        let mut filters = Filters::default();
        filters.add(filter("a", "cpus:2", 5));
        filters.add(filter("b", "cpus:2", 7));
        filters.add(filter("b", "cpus:1", 6));
        assert_eq!(filters.next_expiry(), Some(at(5)));
        assert_eq!(filters.by_role().get(&Role::any()), Some(&2));
        assert!(filters.expire(at(4)).is_empty());
        assert_eq!(filters.expire(at(5)).into_iter().collect::<Vec<_>>(), [AgentId::from("a")]);
        assert!(hides(&filters, "b", "cpus:2", 6));
        assert_eq!(filters.expire(at(7)).len(), 1);
        assert!(filters.by_client.is_empty() && filters.ends.is_empty() && filters.counts.is_empty());
    }

    #[test]
    fn the_number_of_filters_is_bounded() {
        let mut filters = Filters::default();
        for n in 1..100 {
            filters.add(filter("a", &format!("cpus:{n};mem:{}", 200 - n), n + 10));
        }
        let refusals: usize = filters
            .by_client
            .values()
            .flat_map(|r| r.values())
            .flat_map(|a| a.values())
            .map(VecDeque::len)
            .sum();
        assert_eq!(refusals, MAX_PER_AGENT);
        filters.forget(&FrameworkId::from("f"));
        assert!(filters.by_client.is_empty() && filters.ends.is_empty() && filters.counts.is_empty());
    }
}
