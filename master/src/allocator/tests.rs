//! The allocator as a whole: who gets what in a round.

use super::*;
use filters::Filter;

const INTERVAL: Duration = Duration::from_secs(1);

fn at(millis: i64) -> Timestamp {
    Timestamp::from_micros(millis * 1000)
}

fn of(text: &str) -> Resources {
    model::resources::parse(text, &Role::any()).unwrap()
}

/// An allocator with agents that have what they have to give, and nothing used.
struct Cluster {
    allocator: Allocator,
    agents: BTreeMap<AgentId, Resources>,
    random: Random,
}

impl Cluster {
    fn new(agents: &[(&str, &str)]) -> Cluster {
        let mut allocator = Allocator::new(at(0), INTERVAL);
        let agents: BTreeMap<AgentId, Resources> =
            agents.iter().map(|(name, total)| (AgentId::from(*name), of(total))).collect();
        for (agent, total) in &agents {
            allocator.agent_joins(total);
            allocator.agent_gives(agent, Some(total));
        }
        Cluster { allocator, agents, random: Random::new(1) }
    }

    fn open(&mut self, framework: &str, roles: &[&str], wants: Wants) {
        let roles: Vec<Role> = roles.iter().map(|role| Role::new(role).unwrap()).collect();
        let again = self.allocator.framework_opens(&FrameworkId::from(framework), wants, roles.iter());
        if again {
            for (agent, free) in &self.agents {
                self.allocator.agent_gives(agent, Some(free));
            }
        }
    }

    /// Runs a round; what is given is no longer free.
    fn round(&mut self, now: Timestamp) -> Vec<String> {
        let agents = self.agents.clone();
        let free = |agent: &AgentId| {
            let resources = agents.get(agent)?.clone();
            Some(Free { has_gpus: resources.scalar("gpus") > Milli::ZERO, remote: false, resources })
        };
        let mut grants = self.allocator.round(now, &mut self.random, free);
        for grant in &grants {
            let free = self.agents.get_mut(&grant.agent).unwrap();
            assert!(free.try_subtract(&grant.resources.allocated_to(None)), "{grant:?} is more than {free}");
            self.allocator.agent_keeps(&grant.agent, Some(free));
        }
        grants.sort_by(|a, b| (&a.agent, &a.framework, &a.role).cmp(&(&b.agent, &b.framework, &b.role)));
        let plain = |grant: &Grant| {
            let resources = grant.resources.allocated_to(None);
            format!("{} {} {} {resources}", grant.agent, grant.framework, grant.role)
        };
        grants.iter().map(plain).collect()
    }
}

#[test]
fn who_holds_least_comes_first() {
    let mut cluster =
        Cluster::new(&[("a", "cpus:4;mem:100"), ("b", "cpus:4;mem:100"), ("c", "cpus:4;mem:100")]);
    // f holds a third of the cpus, g a sixth of the memory: the larger part of each decides.
    cluster.allocator.hold(&FrameworkId::from("f"), &of("cpus:4;mem:1").allocated_to(Some(&Role::any())));
    cluster.allocator.hold(&FrameworkId::from("g"), &of("cpus:0.5;mem:50").allocated_to(Some(&Role::any())));
    cluster.agents.retain(|name, _| name.as_str() == "a");
    cluster.open("f", &["*"], Wants::default());
    cluster.open("g", &["*"], Wants::default());
    assert_eq!(cluster.round(at(0)), ["a g * cpus:4; mem:100"]);
}

#[test]
fn equal_shares_take_turns() {
    let mut cluster = Cluster::new(&[("a", "cpus:4;mem:100")]);
    cluster.open("f", &["*"], Wants::default());
    cluster.open("g", &["*"], Wants::default());
    let mut got = Vec::new();
    for turn in 0..4 {
        got.extend(cluster.round(at(turn * 1000)));
        // It is given back at once.
        let whole = of("cpus:4;mem:100");
        let name = FrameworkId::from(got.last().unwrap().split(' ').nth(1).unwrap());
        cluster.allocator.release(&name, &whole.allocated_to(Some(&Role::any())));
        cluster.agents.insert(AgentId::from("a"), whole.clone());
        cluster.allocator.agent_gives(&AgentId::from("a"), Some(&whole));
    }
    let names: Vec<&str> = got.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(names, ["f", "g", "f", "g"]);
}

#[test]
fn what_one_may_not_have_the_next_gets() {
    let mut cluster = Cluster::new(&[("a", "cpus:1;cpus(web):2;mem:64;gpus:1"), ("b", "cpus(ads):1;mem:64")]);
    cluster.open("f", &["web"], Wants { gpus: true, ..Wants::default() });
    cluster.open("g", &["ads"], Wants::default());
    assert_eq!(
        cluster.round(at(0)),
        ["a f web cpus:1; cpus(web):2; mem:64; gpus:1", "b g ads cpus(ads):1; mem:64"]
    );
}

#[test]
fn a_second_round_looks_only_at_what_changed() {
    let mut cluster = Cluster::new(&[("a", "cpus:4"), ("b", "cpus:4")]);
    assert!(cluster.round(at(0)).is_empty());
    assert_eq!(cluster.allocator.next_batch(), None);
    cluster.open("f", &["*"], Wants::default());
    assert!(cluster.allocator.is_urgent());
    assert_eq!(cluster.round(at(10)).len(), 2);
    // A task of f on b ends.
    cluster.agents.insert(AgentId::from("b"), of("cpus:1"));
    cluster.allocator.agent_gives(&AgentId::from("b"), Some(&of("cpus:1")));
    cluster.allocator.plan_batch(at(1500));
    assert_eq!(cluster.allocator.next_batch(), Some(at(2000)));
    assert_eq!(cluster.round(at(2000)), ["b f * cpus:1"]);
    assert_eq!(cluster.allocator.next_batch(), None);
}

#[test]
fn a_round_asks_only_for_agents_that_changed() {
    let names: Vec<String> = (0..200).map(|n| format!("a{n}")).collect();
    let pairs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "cpus:4")).collect();
    let mut cluster = Cluster::new(&pairs);
    cluster.open("f", &["*"], Wants::default());
    assert_eq!(cluster.round(at(0)).len(), 200);
    for name in ["a3", "a7"] {
        cluster.allocator.agent_gives(&AgentId::from(name), Some(&of("cpus:1")));
    }
    let asked = std::cell::RefCell::new(Vec::new());
    cluster.allocator.round(at(1000), &mut cluster.random, |agent| {
        asked.borrow_mut().push(agent.to_string());
        None
    });
    asked.borrow_mut().sort();
    assert_eq!(*asked.borrow(), ["a3", "a7"]);
}

#[test]
fn refused_resources_come_back_at_the_batch_after_the_end_of_the_filter() {
    let mut cluster = Cluster::new(&[("a", "cpus:4")]);
    cluster.open("f", &["*"], Wants::default());
    cluster.allocator.refuse(Filter {
        framework: FrameworkId::from("f"),
        role: Role::any(),
        agent: AgentId::from("a"),
        refused: of("cpus:4").allocated_to(Some(&Role::any())),
        until: at(2500),
    });
    assert!(cluster.round(at(0)).is_empty());
    assert_eq!(cluster.allocator.next_batch(), Some(at(3000)));
    assert_eq!(cluster.round(at(3000)), ["a f * cpus:4"]);
}

#[test]
fn lower_minimums_are_for_who_asks_for_them() {
    let mut cluster = Cluster::new(&[("a", "cpus:0.001;disk:500"), ("b", "cpus:0.001;disk:50")]);
    cluster.open("f", &["*"], Wants::default());
    assert!(cluster.round(at(0)).is_empty());
    let minimum =
        [(Role::any(), vec![[(Arc::from("disk"), Milli::from_millis(100_000))].into_iter().collect()])];
    cluster.open("g", &["*"], Wants { minimum: minimum.into_iter().collect(), ..Wants::default() });
    assert_eq!(cluster.round(at(0)), ["a g * cpus:0.001; disk:500"]);
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Nothing is given twice, nobody gets what it may not have, and nobody who holds more gets an agent that
        /// somebody who holds less would have taken.
        #[test]
        fn rounds_are_fair(
            agents in proptest::collection::vec((1u32..9, 1u32..9), 1..12),
            held in proptest::collection::vec(0u32..20, 1..5),
            seed in any::<u64>(),
        ) {
            let named: Vec<(String, String)> = agents
                .iter()
                .enumerate()
                .map(|(n, (cpus, mem))| (format!("a{n}"), format!("cpus:{cpus};mem:{}", mem * 64)))
                .collect();
            let pairs: Vec<(&str, &str)> = named.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
            let mut cluster = Cluster::new(&pairs);
            cluster.random = Random::new(seed);
            for (n, cpus) in held.iter().enumerate() {
                let name = format!("f{n}");
                let holds = of(&format!("cpus:{cpus}")).allocated_to(Some(&Role::any()));
                cluster.allocator.hold(&FrameworkId::from(name.as_str()), &holds);
                cluster.open(&name, &["*"], Wants::default());
            }
            let grants = cluster.round(at(0));
            prop_assert_eq!(grants.len(), agents.len());
            prop_assert!(cluster.agents.values().all(Resources::is_empty));
            // The one who held most got nothing while another with less by more than the largest agent got nothing.
            let got = |n: usize| grants.iter().filter(|g| g.contains(&format!(" f{n} "))).count();
            let least = (0..held.len()).min_by_key(|n| held[*n]).unwrap();
            prop_assert!(got(least) > 0);
        }
    }
}
